"""A source that is made when its first byte is wanted.

Making a plan asks sources only what they may have; libtorrent and the Hub's client take a second
to load and are not needed for that. A source that cannot be made fails alone.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Sequence

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.part import Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.sources.base import Source
from grokdist.transfer.stop import Stop


class LazySource:
    """Stands for a source until it is needed.

    Args:
        name: its label.
        kind: how its bytes travel.
        slots: files at once.
        files: glob patterns of the paths it may have; empty means all.
        build: makes the source.
    """

    secondhand = False

    def __init__(
        self,
        name: str,
        kind: SourceKind,
        *,
        slots: int,
        files: tuple[str, ...],
        build: Callable[[], Source],
    ) -> None:
        self.name = name
        self.kind = kind
        self.slots = slots
        self._files = files
        self._build = build
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._rate: int | None = None
        self._closed = False

    def offers(self, entry: FileEntry) -> bool:
        """True where the path matches one of the patterns."""
        return not self._files or any(
            fnmatch.fnmatchcase(entry.path, pattern) for pattern in self._files
        )

    @property
    def peers(self) -> int | None:
        """Peers connected now; see ``Source.peers``."""
        source = self._source
        return None if source is None else source.peers

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        """What the source would bring, once it is made; before that, anything."""
        source = self._source
        return missing[0] if source is None else source.pick(entry, missing)

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """Where the source can be cut; see ``Source.lets_go``."""
        source = self._source
        return at if source is None else source.lets_go(entry, at)

    def hold(self, rate: int) -> None:
        """Hold the source at a rate, now or once it is made; see ``Source.hold``."""
        with self._lock:
            self._rate, source = rate, self._source
        if source is not None:
            source.hold(rate)

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Make the source if need be and let it bring the range; see ``Source.fetch``."""
        self._made().fetch(entry, segment, stop)

    def close(self) -> None:
        """Close the source if it was made."""
        with self._lock:
            self._closed = True
            source, self._source = self._source, None
        if source is not None:
            source.close()

    def _made(self) -> Source:
        with self._lock:
            if self._closed:
                raise SourceError("closed", source=self.name, permanent=True)
            if self._source is None:
                try:
                    self._source = self._build()
                except SourceError:
                    raise
                except Exception as error:
                    raise SourceError(
                        f"cannot be used: {error}", source=self.name, permanent=True
                    ) from error
                if self._rate is not None:
                    self._source.hold(self._rate)
            return self._source
