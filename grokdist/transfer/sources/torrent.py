"""Files from a BitTorrent swarm, by torrent file or magnet link.

libtorrent writes to files of its own under ``.grokdist/swarm`` and checks every piece. A file
that begins here shares its data with the part, by a hard link, and is hashed behind the download;
where another source began it, or links are not to be had, the finished bytes are appended to the
part instead. So libtorrent never writes to a byte that was hashed. What is complete is given away
from its final place; the copies of what is not are removed at the end, or when they grow large.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.part import PartFile
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_membership import Membership, Seat
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.sources.torrent_swarm import SwarmStatus

_STEP = 16 << 20
_STEP_S = 1.0
_BLOCK = 1 << 20
_POLL_S = 0.5


class TorrentSource:
    """A swarm as a source of files. Nothing is opened before the first ``fetch``.

    Args:
        torrent: a magnet link, or the path of a ``.torrent`` file.
        entries: the manifest's files.
        directory: the model directory; the swarm's files are kept in its ``.grokdist``.
        settings: how to take part in the swarm.
        peers: (host, port) pairs to call.
        trackers: announce URLs beside those of the torrent.
        anchor: v1 infohash that the publisher published; the torrent must have it. None where
            the user chose the torrent, or there is none.
        roots: BEP 52 roots (32 bytes) by path, where they are known.
        slots: files to work on at once.
        stall_s: seconds without metadata, or without a byte of a file, after which it is given
            to other sources.

    Raises:
        SourceError: the torrent file or magnet link cannot be read.
        TrustError: the infohash is not ``anchor``.
        UnsafePathError: the torrent names unsafe paths.
    """

    kind = SourceKind.TORRENT

    def __init__(
        self,
        torrent: str | Path,
        *,
        entries: Sequence[FileEntry],
        directory: Path,
        settings: SwarmSettings | None = None,
        peers: Sequence[tuple[str, int]] = (),
        trackers: Sequence[str] = (),
        anchor: str | None = None,
        roots: Mapping[str, bytes] | None = None,
        slots: int = 4,
        stall_s: float = 45.0,
    ) -> None:
        invitation = Invitation(torrent, peers=peers, trackers=trackers, anchor=anchor)
        self.name = f"torrent:{invitation.infohash[:12]}"
        self.slots = slots
        self._paths = {entry.path for entry in entries}
        self._stall = stall_s
        self._delivered: set[str] = set()
        self._membership = Membership(
            invitation,
            entries=entries,
            directory=directory,
            settings=settings or SwarmSettings(),
            roots=roots,
            stall_s=stall_s,
        )

    @property
    def status(self) -> SwarmStatus:
        """How the swarm is doing: peers, rate, payload, bad pieces, bans."""
        return self._membership.status

    @property
    def port(self) -> int:
        """The TCP port that peers reach us on; 0 before the first ``fetch``."""
        return self._membership.port

    def offers(self, entry: FileEntry) -> bool:
        """True where the torrent has the file, or its metadata has yet to come."""
        mapped = self._membership.mapped
        return entry.path in (self._paths if mapped is None else mapped)

    def fetch(self, entry: FileEntry, part: PartFile, stop: threading.Event) -> None:
        """Bring ``part`` to its end from the swarm; see ``Source.fetch``.

        Raises:
            SourceError: no metadata, no peer, nothing arrives, or the torrent lacks the file.
            OSError: the disk refused.
        """
        if entry.path in self._delivered:
            # It would be the same bytes, and they were not accepted.
            raise self._error("the swarm's bytes were refused before", entry, permanent=True)
        seat = self._membership.take(entry, part, stop)
        if seat is None:
            return
        storage, file = seat.storage, seat.file
        try:
            shared = part.offset == 0 and storage.share(file.index, part)
            if not shared:
                part.adopt_swarm()
            try:
                self._follow(seat, part, stop, shared=shared)
            finally:
                # Closing ends libtorrent, and with it all that could write.
                if not self._membership.closed:
                    seat.swarm.leave(file)
                    if shared and part.remaining:
                        storage.part_ways(file.index, part)
        finally:
            self._membership.release(file)
        if not part.remaining:
            self._delivered.add(entry.path)
            if shared:
                part.on_commit = lambda: storage.point(file.index, entry.path)

    def close(self) -> None:
        """Leave the swarm, end the session and remove libtorrent's files."""
        self._membership.close()

    def _follow(self, seat: Seat, part: PartFile, stop: threading.Event, *, shared: bool) -> None:
        """Hash, or append, what is complete from the start, until all is or nothing comes."""
        swarm, file = seat.swarm, seat.file
        received = 0
        heard = hashed = time.monotonic()
        while part.remaining and not stop.is_set():
            if self._membership.closed:
                raise self._error("it was closed", part.entry)
            here = swarm.contiguous(file, part.offset)
            # Awake at half the window, so that it moves on before peers run out of it.
            goal = here + (swarm.want(file, here) - here + 1) // 2
            seat.pump.wait_until(
                lambda goal=goal: swarm.contiguous(file, part.offset) >= goal,  # type: ignore[misc]
                seconds=_POLL_S,
                stop=stop,
            )
            swarm.raise_error()
            now = time.monotonic()
            here = swarm.contiguous(file, part.offset)
            come = here - part.offset
            if here == file.size or come >= _STEP or (come and now - hashed >= _STEP_S):
                swarm.want(file, here)
                swarm.flush()
                self._take(seat, part, here, stop, shared=shared)
                heard = hashed = time.monotonic()
            elif (count := swarm.received(file)) != received:
                received, heard = count, now
                # A large piece can take minutes; the engine is to know that it is on its way.
                part.arrived(0)
            elif now - heard >= self._stall:
                raise self._error(_why(swarm.status), part.entry)

    def _take(
        self, seat: Seat, part: PartFile, upto: int, stop: threading.Event, *, shared: bool
    ) -> None:
        if shared:
            before = part.offset
            part.hash_swarm(upto)
            part.arrived(part.offset - before)
            return
        path = seat.storage.path_of(seat.file.index)
        with path.open("rb", buffering=0) as stream:
            stream.seek(part.offset)
            while part.offset < upto and not stop.is_set():
                block = stream.read(min(_BLOCK, upto - part.offset))
                if not block:
                    raise self._error(f"{path} ends early", part.entry)
                part.append(block)

    def _error(self, reason: str, entry: FileEntry, *, permanent: bool = False) -> SourceError:
        return SourceError(reason, source=self.name, path=entry.path, permanent=permanent)


def _why(status: SwarmStatus) -> str:
    """Why nothing arrives, as far as one can tell."""
    banned = f", {len(status.banned)} banned for wrong pieces" if status.banned else ""
    if status.peers:
        return f"nothing arrives from {status.peers} peers{banned}"
    told = f"; a tracker says: {status.tracker_error}" if status.tracker_error else ""
    return f"no peers{banned}{told}"
