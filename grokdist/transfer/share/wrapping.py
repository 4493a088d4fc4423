"""An origin in a share: the same source, asked only for what falls to this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.part import Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.share.allotment import Allotment, Health
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.shelf import Shelf
from grokdist.transfer.sources.base import Source
from grokdist.transfer.stop import Stop

_AILING = 2
_LOST = 8
_PAUSE_S = 0.5


class OwnedSource:
    """A source that brings only what this machine is to take from the origin.

    Args:
        source: the origin.
        content: the files of the share.
        allotment: what falls to this machine.
        shelf: where what it brings can be given from.
    """

    def __init__(
        self, source: Source, content: Content, allotment: Allotment, shelf: Shelf
    ) -> None:
        self._source = source
        self._content = content
        self._allotment = allotment
        self._shelf = shelf
        self._failures = 0
        self._nothing: dict[int, tuple[int, float]] = {}
        allotment.origin(self, Health.WELL)

    @property
    def name(self) -> str:
        """The origin's label."""
        return self._source.name

    @property
    def kind(self) -> SourceKind:
        """How the origin's bytes travel."""
        return self._source.kind

    @property
    def slots(self) -> int:
        """Files that the origin wants to work on at once."""
        return self._source.slots

    @property
    def peers(self) -> int | None:
        """Peers of the origin, if it is a swarm."""
        return self._source.peers

    @property
    def secondhand(self) -> bool:
        """As the origin."""
        return self._source.secondhand

    def offers(self, entry: FileEntry) -> bool:
        """True where the origin may have the file."""
        return self._source.offers(entry)

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        """What the origin would bring of that which falls to us; a chunk at most."""
        number = self._content.number(entry)
        if number is None:
            return self._source.pick(entry, missing)
        now, epoch = time.monotonic(), self._allotment.epoch
        # With 10,000 files every free connection asks for each of them again and again.
        seen, until = self._nothing.get(number, (epoch, 0.0))
        if seen == epoch and now < until:
            return None
        ours = self._allotment.may_take(number, missing)
        chosen = self._source.pick(entry, ours) if ours else None
        if chosen is None:
            self._nothing[number] = (epoch, now + _PAUSE_S)
            return None
        return chosen[0], min(chosen[1], chosen[0] + self._content.chunk)

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """Where the origin lets go of a file."""
        return self._source.lets_go(entry, at)

    def hold(self, rate: int) -> None:
        """Take no more than a rate."""
        self._source.hold(rate)

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Have the origin bring a range, which the other members see."""
        number = self._content.number(entry)
        if number is None or self._content.files[number].paths[0] != entry.path:
            # Content that the manifest has twice is given from one of its places.
            self._source.fetch(entry, segment, stop)
            return
        self._allotment.begin(number, segment.start, segment.end)
        try:
            with self._shelf.taking(number, segment):
                self._source.fetch(entry, segment, stop)
        except SourceError as error:
            self._failed(error)
            raise
        finally:
            if segment.offset > segment.start:
                self._failures = 0
                self._allotment.moving()
                self._allotment.origin(self, Health.WELL)

    def close(self) -> None:
        """Let go of the origin."""
        self._source.close()

    def _failed(self, error: SourceError) -> None:
        """Say how the origin does, so that others take over what would have been ours."""
        # One that asks us to wait says that it will serve us again.
        self._failures += error.retry_after is None or self._failures < _AILING
        if (error.path is None and error.permanent) or self._failures >= _LOST:
            self._allotment.origin(self, Health.LOST)
        elif self._failures >= _AILING or error.retry_after is not None:
            self._allotment.origin(self, Health.AILING)
