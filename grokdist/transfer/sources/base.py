"""What a source of bytes must offer to the fetch engine.

The engine owns the files: it opens the part of a file, claims a byte range of it for one source,
and asks the source to bring that segment from ``segment.offset`` to ``segment.end``. A source only
moves bytes. It neither names files, nor decides whether bytes are right: the digest does.

Two ways to bring bytes in:

- a stream (Hub, HTTPS, local) calls ``segment.append(data)`` until ``segment.remaining == 0``;
- a swarm that has libtorrent write to ``segment.path`` waits for a flush and calls
  ``segment.adopt(upto)`` as the finished beginning of the segment grows.

The end of a segment may be lowered while a source works on it: another one took the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer.part import Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.stop import Stop


class AnyRange:
    """A source that can bring any range of what it offers, and stop anywhere."""

    peers: int | None = None
    """It has none to count."""

    secondhand = False
    """It is an origin."""

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        """The first range that is missing; see ``Source.pick``."""
        return missing[0]

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """Any byte; see ``Source.lets_go``."""
        return at

    def hold(self, rate: int) -> None:
        """Nothing: the engine holds up each stream; see ``Source.hold``."""


class Source(Protocol):
    """One place that files can be fetched from; used from several threads at once.

    Attributes:
        name: unique label, e.g. ``hub:xai-org/grok-1``; the key in bytes-per-source results.
        kind: how its bytes travel.
        slots: how many files it wants to work on at once.
    """

    @property
    def name(self) -> str:
        """Unique label."""

    @property
    def kind(self) -> SourceKind:
        """How its bytes travel."""

    @property
    def slots(self) -> int:
        """Files that it wants to work on at once."""

    @property
    def peers(self) -> int | None:
        """Peers connected now; None for a source that has none."""

    @property
    def secondhand(self) -> bool:
        """True where it gives what others got, and may have nothing more to give.

        It is the first suspect where bytes are wrong, and none that others are replaced by.
        """

    def offers(self, entry: FileEntry) -> bool:
        """True where the source may have the file; asks no network.

        A source that was wrong here raises a permanent ``SourceError`` in ``fetch``.
        """

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        """Which bytes it would bring now.

        Args:
            entry: a file that it offers.
            missing: ranges that nobody brings yet, in order, at least one.

        Returns:
            one of the ranges, or a part of one; None for nothing at the moment.
        """

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """The first byte from ``at`` on at which its work on a file can be cut."""

    def hold(self, rate: int) -> None:
        """Take no more than ``rate`` bytes a second from now on.

        Said only to a swarm, whose sockets nobody else can hold up.
        """

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Bring ``segment.offset`` to ``segment.end``.

        Args:
            entry: the file.
            segment: where its bytes go.
            stop: set when the fetch is to end soon (interrupt, stall, another source wins);
                return without raising then, whatever has arrived. It is a ``threading.Event``
                that can also wake what is blocked.

        Raises:
            SourceError: it cannot go on; what arrived stays.
            DigestMismatchError: it announces or delivers bytes that cannot be right.

        A ``SourceError`` without a path says that the source as a whole failed: with
        ``permanent`` it is not asked again, otherwise it rests for a while (``retry_after``).
        With a path, only that file is concerned.
        """

    def close(self) -> None:
        """Let go of connections and sessions; may be called twice."""
