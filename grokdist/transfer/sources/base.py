"""What a source of bytes must offer to the fetch engine.

The engine owns the files: it opens a ``PartFile``, asks one source at a time to bring it from
``part.offset`` to ``entry.size``, and commits it. A source only moves bytes. It neither names
files, nor decides whether bytes are right: the digest does.

Two ways to bring bytes in:

- a stream (Hub, HTTPS, local) calls ``part.append(data)`` until ``part.remaining == 0``;
- a swarm calls ``part.begin_swarm()``, lets libtorrent write to the path that it returns, reports
  payload by ``part.arrived(count)``, waits for a flush and calls ``part.hash_swarm(upto)`` as the
  finished prefix grows, and returns once ``part.remaining == 0`` and libtorrent has let go of the
  file. When it gives up it does the same (nothing may write to the file any more) and raises; the
  engine calls ``part.adopt_swarm()`` in both cases.
"""

from __future__ import annotations

from typing import Protocol

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer.part import PartFile
from grokdist.transfer.stop import Stop


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

    def offers(self, entry: FileEntry) -> bool:
        """True where the source may have the file; asks no network.

        A source that was wrong here raises a permanent ``SourceError`` in ``fetch``.
        """

    def fetch(self, entry: FileEntry, part: PartFile, stop: Stop) -> None:
        """Bring ``part`` from ``part.offset`` to ``entry.size``.

        Args:
            entry: the file.
            part: where its bytes go.
            stop: set when the fetch is to end soon (interrupt, stall, another source wins);
                return without raising then, whatever has arrived. It is a ``threading.Event``
                that can also wake what is blocked.

        Raises:
            SourceError: it cannot go on; what arrived stays in the part.
            DigestMismatchError: it announces or delivers bytes that cannot be right.

        A ``SourceError`` without a path says that the source as a whole failed: with
        ``permanent`` it is not asked again, otherwise it rests for a while (``retry_after``).
        With a path, only that file is concerned.
        """

    def close(self) -> None:
        """Let go of connections and sessions; may be called twice."""
