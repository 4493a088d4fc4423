"""Files from a BitTorrent swarm, by torrent file or magnet link.

libtorrent writes to files of its own under ``.grokdist/swarm`` and checks every piece. A file
that begins here shares its data with the part, by a hard link, and is hashed behind the download;
where another source began it, or links are not to be had, the finished bytes are appended to the
part instead. So libtorrent never writes to a byte that was hashed. What is complete is given away
from its final place; pieces of what is not are noted every second and kept for the next run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.part import Segment
from grokdist.transfer.sources.base import AnyRange
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_membership import Membership, Seat
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.sources.torrent_swarm import SwarmStatus

_STEP = 8 << 20
_STEP_S = 1.0
_BLOCK = 1 << 20
_POLL_S = 0.5


class TorrentSource(AnyRange):
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

    @property
    def peers(self) -> int:  # type: ignore[override]
        """Peers connected now."""
        return self.status.peers

    def hold(self, rate: int) -> None:
        """Take no more than ``rate`` bytes a second from all peers together."""
        self._membership.hold(rate)

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """The end of what peers were asked for already."""
        return self._membership.asked_upto(entry, at)

    def fetch(self, entry: FileEntry, segment: Segment, stop: threading.Event) -> None:
        """Bring ``segment`` to its end from the swarm; see ``Source.fetch``.

        Raises:
            SourceError: no metadata, no peer, nothing arrives, or the torrent lacks the file.
            OSError: the disk refused.
        """
        if entry.path in self._delivered:
            # It would be the same bytes, and they were not accepted.
            raise self._error("the swarm's bytes were refused before", entry, permanent=True)
        seat = self._membership.take(entry, segment, stop)
        if seat is None:
            return
        storage, file = seat.storage, seat.file
        try:
            # A piece that goes beyond the segment would be written over what others bring.
            shared = seat.swarm.at_edge(file, segment.end) and segment.share(
                storage.path_of(file.index)
            )
            try:
                self._follow(seat, segment, stop, shared=shared)
            finally:
                if shared and segment.end < entry.size:
                    seat.swarm.leave_tail(file, segment.end)
                # Closing ends libtorrent, and with it all that could write.
                if not self._membership.closed:
                    seat.swarm.leave(file)
                    if shared and segment.offset < entry.size:
                        segment.part_ways()
        finally:
            self._membership.release(file)
        if segment.start == 0 and segment.offset == entry.size:
            self._delivered.add(entry.path)
            if shared:
                segment.when_named(lambda: storage.point(file.index, entry.path))

    def close(self) -> None:
        """Leave the swarm and end the session; what came of unfinished files is kept."""
        self._membership.close()

    def _follow(self, seat: Seat, segment: Segment, stop: threading.Event, *, shared: bool) -> None:
        """Hash, or append, what is complete from the start, until all is or nothing comes."""
        swarm, file = seat.swarm, seat.file
        heard = hashed = time.monotonic()
        while segment.remaining and not stop.is_set():
            if self._membership.closed:
                raise self._error("it was closed", segment.entry)
            if shared and segment.end < file.size:
                swarm.leave_tail(file, segment.end)
            here = swarm.contiguous(file, segment.offset)
            asked = swarm.want(file, here, segment.end)
            # Awake at half the window, so that it moves on before peers run out of it.
            last = asked >= segment.end and segment.end - here <= _STEP
            goal = segment.end if last else min(segment.end, here + (asked - here + 1) // 2)
            seat.pump.wait_until(
                lambda goal=goal: swarm.contiguous(file, segment.offset) >= goal,  # type: ignore[misc]
                seconds=_POLL_S,
                stop=stop,
            )
            swarm.raise_error()
            now = time.monotonic()
            here = min(swarm.contiguous(file, segment.offset), segment.end)
            come = here - segment.offset
            if here == segment.end or come >= _STEP or (come and now - hashed >= _STEP_S):
                if here < segment.end:
                    swarm.want(file, here, segment.end)
                swarm.flush()
                self._take(seat, segment, here, stop, shared=shared)
                heard = hashed = time.monotonic()
            # Counted as it comes, also of pieces that are not complete: a large one takes minutes.
            if new := swarm.newly(file):
                segment.arrived(new)
                heard = now
            elif now - heard >= self._stall:
                raise self._error(_why(swarm.status), segment.entry)

    def _take(
        self, seat: Seat, segment: Segment, upto: int, stop: threading.Event, *, shared: bool
    ) -> None:
        if shared:
            segment.begin_writeback(upto)
            segment.adopt(upto)
            return
        path = seat.storage.path_of(seat.file.index)
        with path.open("rb", buffering=0) as stream:
            stream.seek(segment.offset)
            while segment.offset < min(upto, segment.end) and not stop.is_set():
                block = stream.read(min(_BLOCK, upto - segment.offset))
                if not block:
                    raise self._error(f"{path} ends early", segment.entry)
                segment.place(block)

    def _error(self, reason: str, entry: FileEntry, *, permanent: bool = False) -> SourceError:
        return SourceError(reason, source=self.name, path=entry.path, permanent=permanent)


def _why(status: SwarmStatus) -> str:
    """Why nothing arrives, as far as one can tell."""
    banned = f", {len(status.banned)} banned for wrong pieces" if status.banned else ""
    if status.peers:
        return f"nothing arrives from {status.peers} peers{banned}"
    told = f"; a tracker says: {status.tracker_error}" if status.tracker_error else ""
    return f"no peers{banned}{told}"
