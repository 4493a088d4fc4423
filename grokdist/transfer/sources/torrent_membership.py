"""Being in a swarm: session, metadata and mapping, joined when the first file is asked for."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import GrokdistError, SourceError
from grokdist.transfer.part import Segment
from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_bans import Bans
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_map import map_entries
from grokdist.transfer.sources.torrent_metadata import ask, keep, kept
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles
from grokdist.transfer.sources.torrent_resume import RESUME, read_record, write_record
from grokdist.transfer.sources.torrent_session import end_session, keep_to_proxy, open_session
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.sources.torrent_storage import SwarmStorage
from grokdist.transfer.sources.torrent_swarm import Swarm, SwarmStatus
from grokdist.transfer.tree import ModelTree

MAX_LEFT_OVER = 4 << 30
"""Bytes that libtorrent's own copies may take before the torrent is joined anew."""

LOOK_EVERY_S = 2.0
"""Seconds between two looks at how much they take."""

_POLL_S = 0.5
_SAVE_POLL_S = 0.25
_SAVE_EVERY_S = 1.0
_SAVE_PART = 10.0
_SAVE_BYTES = 8 << 20
"""Bytes a connection after which what is here is noted before its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """One file's place in a swarm that was joined."""

    pump: AlertPump
    storage: SwarmStorage
    swarm: Swarm
    file: TorrentFile


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joined:
    pump: AlertPump
    storage: SwarmStorage
    swarm: Swarm
    mapped: Mapping[str, TorrentFile]
    saver: threading.Thread


class Membership:
    """Joins one torrent's swarm on demand; safe to use from several threads.

    Args:
        invitation: the torrent.
        entries: the manifest's files.
        directory: the model directory.
        settings: how to take part.
        roots: BEP 52 roots by path, where they are known.
        stall_s: seconds to wait for metadata.
    """

    def __init__(
        self,
        invitation: Invitation,
        *,
        entries: Sequence[FileEntry],
        directory: Path,
        settings: SwarmSettings,
        roots: Mapping[str, bytes] | None,
        stall_s: float,
    ) -> None:
        self._invitation = invitation
        self._entries = tuple(entries)
        self._directory = directory
        self._settings = settings
        self._roots = roots
        self._stall = stall_s
        self._name = f"torrent:{invitation.infohash[:12]}"
        self._files = invitation.files
        self._mapped = self._map(self._files) if self._files is not None else None
        self._active: set[int] = set()
        self._lock = threading.Lock()
        self._joined: _Joined | None = None
        self._storage: SwarmStorage | None = None
        self._session: lt.session | None = None
        self._pump: AlertPump | None = None
        self._closed = threading.Event()
        self._saving = threading.Lock()
        self._looked = 0.0
        self._rate: int | None = None

    @property
    def closed(self) -> bool:
        """True once the swarm was left for good."""
        return self._closed.is_set()

    @property
    def mapped(self) -> Mapping[str, TorrentFile] | None:
        """The torrent's file for each path that it has; None while its metadata is unknown."""
        return self._mapped

    @property
    def status(self) -> SwarmStatus:
        """How the swarm is doing."""
        joined = self._joined
        return joined.swarm.status if joined is not None else SwarmStatus()

    @property
    def port(self) -> int:
        """The TCP port that peers reach us on; 0 before the swarm was joined."""
        session = self._session
        return session.listen_port() if session is not None else 0

    def take(self, entry: FileEntry, segment: Segment, stop: threading.Event) -> Seat | None:
        """Join if need be and take the entry's file; to be given back with ``release``.

        Returns:
            None when ``stop`` was set first.

        Raises:
            SourceError: no metadata, not in the torrent, or the swarm was left for good.
            OSError: the disk refused.
        """
        while not stop.is_set():
            if not self._lock.acquire(timeout=_POLL_S):
                continue
            try:
                if self._closed.is_set():
                    raise SourceError("it was closed", source=self._name)
                if self._has_room():
                    if self._joined is None:
                        self._joined = self._join(stop, entry, segment)
                    return self._seat(self._joined, entry)
            finally:
                self._lock.release()
            segment.arrived(0)
            stop.wait(_POLL_S)
        return None

    def hold(self, rate: int) -> None:
        """Take no more than ``rate`` bytes a second, also in a session that has yet to begin."""
        self._rate = rate
        session = self._session
        if session is not None:
            session.apply_settings({"download_rate_limit": rate})

    def asked_upto(self, entry: FileEntry, at: int) -> int:
        """The byte of a file from ``at`` on behind which no peer was asked for anything."""
        joined = self._joined
        file = joined.mapped.get(entry.path) if joined is not None else None
        if joined is None or file is None:
            return at
        return max(at, joined.swarm.asked_upto(file))

    def release(self, file: TorrentFile) -> None:
        """Give a file back."""
        with self._lock:
            self._active.discard(file.index)

    def close(self) -> None:
        """Leave the swarm and end the session; pieces of files that are under way are kept."""
        atexit.unregister(self.close)
        self._closed.set()
        with self._lock:
            joined, self._joined = self._joined, None
            pump, self._pump = self._pump, None
            session, self._session = self._session, None
            if joined is not None:
                with contextlib.suppress(OSError, GrokdistError):
                    self._save(joined.swarm)
                with self._saving:
                    joined.swarm.close()
            if pump is not None:
                pump.close()
            if session is not None:
                end_session(session)
            if joined is not None:
                joined.saver.join()
            # The session's threads end with its last reference, and then nothing writes.
            del joined, pump, session
            if self._storage is not None:
                with contextlib.suppress(OSError):
                    self._storage.tidy(self._names)

    def _seat(self, joined: _Joined | None, entry: FileEntry) -> Seat | None:
        if joined is None:
            return None
        file = joined.mapped.get(entry.path)
        if file is None:
            raise SourceError(
                "the torrent does not have it", source=self._name, path=entry.path, permanent=True
            )
        self._active.add(file.index)
        return Seat(pump=joined.pump, storage=joined.storage, swarm=joined.swarm, file=file)

    def _has_room(self) -> bool:
        """False while copies that nobody needs take much room and files are still coming.

        Only a torrent that is added anew can forget pieces; that is done between two files.
        """
        joined = self._joined
        # Every finished file stands in that folder, so that looking costs more with each.
        if joined is None or time.monotonic() - self._looked < LOOK_EVERY_S:
            return True
        if joined.storage.left_over(self._active) <= MAX_LEFT_OVER:
            self._looked = time.monotonic()
            return True
        if self._active:
            return False
        with self._saving:
            # What it still holds in memory would come back into the folder.
            joined.swarm.halt()
            joined.swarm.close()
            joined.storage.clear()
        self._joined = None
        return True

    def _join(self, stop: threading.Event, entry: FileEntry, segment: Segment) -> _Joined | None:
        if self._storage is None:
            self._storage = SwarmStorage(self._directory)
        if self._session is None or self._pump is None:
            # A session that is still there when the interpreter goes aborts the process.
            atexit.register(self.close)
            self._session = open_session(self._settings)
            if self._rate is not None:
                self._session.apply_settings({"download_rate_limit": self._rate})
            self._pump = AlertPump(self._session)
        peers: list[tuple[str, int]] = []
        if self._files is None:
            self._files = kept(self._directory, self._invitation)
        if self._files is None:
            found = ask(
                self._session,
                self._pump,
                self._invitation,
                self._storage.folder,
                settings=self._settings,
                stop=stop,
                seconds=self._stall,
            )
            if found is None:
                return None
            self._files, peers = found
            keep(self._directory, self._invitation, self._files.data)
        self._mapped = mapped = self._map(self._files)
        if not mapped:
            raise SourceError(
                f"the torrent {self._files.name!r} has none of the files",
                source=self._name,
                permanent=True,
            )
        bans = Bans(self._directory)
        self._session.set_ip_filter(bans.filter())
        params = self._invitation.join(self._files, peers)
        keep_to_proxy(params, self._settings)
        params.banned_peers = list(bans.peers)
        params.peers = [peer for peer in params.peers if peer not in bans.peers]
        self._go_on(params, self._files, self._storage)
        swarm = Swarm(
            self._session,
            self._pump,
            self._files,
            params,
            self._storage.folder,
            wanted=mapped.values(),
            first=(mapped[entry.path], segment.offset) if entry.path in mapped else None,
            on_ban=bans.add,
        )
        saver = threading.Thread(
            target=self._keep_saving, args=(swarm,), name="grokdist-swarm-save", daemon=True
        )
        saver.start()
        return _Joined(
            pump=self._pump, storage=self._storage, swarm=swarm, mapped=mapped, saver=saver
        )

    def _go_on(
        self, params: lt.add_torrent_params, files: TorrentFiles, storage: SwarmStorage
    ) -> None:
        """Have libtorrent begin with the pieces that an earlier process left."""
        with ModelTree(self._directory) as tree:
            found = read_record(tree, self._invitation.infohash, files.pieces)
            if found is None:
                storage.clear()
                return
            noted, holds = found
            # Nothing may be believed of files that are being changed.
            tree.remove(RESUME)
        pieces = storage.take_up(files, self._names, noted)
        if holds:
            with ModelTree(self._directory) as tree:
                write_record(tree, self._invitation.infohash, pieces)
            params.have_pieces = [bool(bit) for bit in pieces.have]
            params.unfinished_pieces = {
                index: [bool(bit) for bit in blocks] for index, blocks in pieces.unfinished.items()
            }

    def _keep_saving(self, swarm: Swarm) -> None:
        """Note what is here, every second and sooner where much comes, until the swarm is left."""
        noted = 0
        waited = 0.0
        pause = _SAVE_POLL_S
        while not self._closed.wait(pause) and not swarm.closed:
            waited += pause
            status = swarm.status
            much = _SAVE_BYTES * max(1, status.peers)
            if status.received - noted >= (much if waited < _SAVE_EVERY_S else 1):
                noted, waited = status.received, 0.0
                begun = time.monotonic()
                # A disk that refuses says so to whoever writes next.
                with contextlib.suppress(OSError, GrokdistError):
                    self._save(swarm)
                # Never more than a small share of the time goes into it.
                pause = max(_SAVE_POLL_S, min(_SAVE_PART * (time.monotonic() - begun), 5.0))

    def _save(self, swarm: Swarm) -> None:
        pieces = swarm.snapshot()
        with self._saving, ModelTree(self._directory) as tree:
            if not swarm.closed:
                write_record(tree, self._invitation.infohash, pieces)

    @property
    def _names(self) -> dict[int, str]:
        """Path in the model directory by the number of a file of the torrent."""
        return {file.index: path for path, file in (self._mapped or {}).items()}

    def _map(self, files: TorrentFiles) -> Mapping[str, TorrentFile]:
        return map_entries(files.files, self._entries, roots=self._roots)
