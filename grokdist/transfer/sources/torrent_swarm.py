"""One torrent in one libtorrent session: which pieces are here, which are wanted, what went wrong.

libtorrent writes to files of its own, named by number, so that no name in a torrent ever reaches
the file system. Its alerts are read on one thread that copies what it needs at once: an alert
kept past the next ``pop_alerts()`` is freed memory. Who wants which file is left to ``torrent``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import libtorrent as lt

from grokdist.errors import SourceError
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles

_WAKE_MS = 200
_STATUS_EVERY_S = 0.5
_ALERT_TIMEOUT_S = 60.0
_PRIORITY = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class SwarmStatus:
    """How a swarm is doing.

    Attributes:
        peers: connections now.
        rate: payload bytes a second down now.
        received: payload bytes that came, good or bad.
        failed: of these, bytes in pieces whose hash was wrong.
        uploaded: payload bytes given.
        hash_failures: pieces whose hash was wrong.
        banned: addresses of peers that were banned for it.
        tracker_error: what a tracker last complained of; None if it answered since.
    """

    peers: int = 0
    rate: int = 0
    received: int = 0
    failed: int = 0
    uploaded: int = 0
    hash_failures: int = 0
    banned: tuple[str, ...] = ()
    tracker_error: str | None = None


class Swarm:
    """The torrent of one session; safe to use from several threads.

    Args:
        session: the session; the caller ends it after ``close``.
    """

    def __init__(self, session: lt.session) -> None:
        self.changed = threading.Condition()
        """Notified when a piece, an error or an answer has come."""
        self.status = SwarmStatus()
        self.progress_at = time.monotonic()
        """When good payload last came."""
        self._session = session
        self._handle: lt.torrent_handle | None = None
        self._files: TorrentFiles | None = None
        self._have = bytearray()
        self._wanted: dict[int, range] = {}
        self._raised: set[int] = set()
        self._flushes = 0
        self._priorities = 0
        self._checked = False
        self._metadata = False
        self._error: OSError | str | None = None
        self._good = 0
        self._barrier = threading.Lock()
        self._selection = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="grokdist-swarm", daemon=True)
        self._thread.start()

    def find_metadata(self, params: lt.add_torrent_params, storage: Path) -> None:
        """Start asking peers for the metadata of a magnet link; see ``metadata``."""
        params.save_path = str(storage)
        params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        params.flags |= lt.torrent_flags.default_dont_download
        self._handle = self._session.add_torrent(params)
        for peer in params.peers:
            self._handle.connect_peer(peer)

    def metadata(self) -> bytes | None:
        """The info dictionary once a peer gave it; libtorrent has checked its infohash."""
        if not self._metadata or self._handle is None:
            return None
        info = self._handle.torrent_file()
        return info.info_section() if info is not None else None

    def start(self, files: TorrentFiles, params: lt.add_torrent_params, storage: Path) -> None:
        """Join the swarm; nothing is wanted yet. A torrent that only asked for metadata goes."""
        if self._handle is not None:
            peers = [(str(peer.ip[0]), int(peer.ip[1])) for peer in self._handle.get_peer_info()]
            params.peers = [*params.peers, *peers]
            self._session.remove_torrent(self._handle)
        params.save_path = str(storage)
        params.renamed_files = {index: f"{index}" for index in range(files.count)}
        params.file_priorities = [0] * files.count
        flags = lt.torrent_flags
        params.flags &= ~(flags.paused | flags.auto_managed)
        params.flags |= flags.default_dont_download | flags.sequential_download
        self._files = files
        self._have = bytearray(files.pieces)
        self._checked = False
        self._handle = self._session.add_torrent(params)
        for peer in params.peers:
            self._handle.connect_peer(peer)
        deadline = time.monotonic() + _ALERT_TIMEOUT_S
        with self.changed:
            while not self._checked:
                self.raise_error()
                if not self.changed.wait(max(deadline - time.monotonic(), 0)):
                    raise SourceError("libtorrent did not take the torrent", source="torrent")

    def pieces_of(self, file: TorrentFile, *, start: int = 0) -> range:
        """Numbers of the pieces that hold ``file`` from byte ``start`` on."""
        assert self._files is not None
        size = self._files.piece_size
        if start >= file.size:
            return range(0)
        return range((file.offset + start) // size, (file.offset + file.size - 1) // size + 1)

    def contiguous(self, file: TorrentFile, start: int) -> int:
        """How far ``file`` is here without a gap from byte ``start`` on."""
        assert self._files is not None
        pieces = self.pieces_of(file, start=start)
        gap = self._have.find(0, pieces.start, pieces.stop) if pieces else -1
        if gap < 0:
            return file.size
        return max(start, min(file.size, gap * self._files.piece_size - file.offset))

    def want(self, file: TorrentFile, *, start: int = 0) -> None:
        """Download ``file`` from byte ``start`` on."""
        with self._selection:
            self._wanted[file.index] = self.pieces_of(file, start=start)
            self._raise_file(file.index)
            self._select()

    def leave(self, file: TorrentFile) -> None:
        """Want ``file`` no longer; what is here stays, to be given to others."""
        with self._selection:
            self._wanted.pop(file.index, None)
            self._select()

    def flush(self) -> None:
        """Return once every piece that is finished now is on disk.

        libtorrent says that a piece is finished before its last write. An alert of a flush that
        libtorrent began by itself may be on its way (it does when nothing more is wanted), so
        two are asked for and two awaited.

        Raises:
            SourceError: it takes longer than a minute.
        """
        assert self._handle is not None
        with self._barrier:
            goal = self._flushes + 2
            self._handle.flush_cache()
            self._handle.flush_cache()
            deadline = time.monotonic() + _ALERT_TIMEOUT_S
            with self.changed:
                while self._flushes < goal:
                    self.raise_error()
                    if not self.changed.wait(max(deadline - time.monotonic(), 0)):
                        raise SourceError("libtorrent did not flush its cache", source="torrent")

    def available(self, file: TorrentFile, start: int) -> bool:
        """True where some peer has the first piece of ``file`` that is missing."""
        assert self._handle is not None
        pieces = self.pieces_of(file, start=start)
        gap = self._have.find(0, pieces.start, pieces.stop) if pieces else -1
        availability = self._handle.piece_availability()
        return gap < 0 or not availability or availability[gap] > 0

    def raise_error(self) -> None:
        """Raise what libtorrent could not get over, if anything.

        Raises:
            OSError: the disk refused.
            SourceError: anything else.
        """
        if isinstance(self._error, OSError):
            raise OSError(self._error.errno, self._error.strerror)
        if self._error is not None:
            raise SourceError(self._error, source="torrent", permanent=True)

    def close(self) -> None:
        """Stop reading alerts; the session may be ended then."""
        self._ended.set()
        self._thread.join()

    def _raise_file(self, index: int) -> None:
        """Have libtorrent write the file itself, not its own file of odd pieces."""
        assert self._handle is not None
        if index in self._raised:
            return
        goal = self._priorities + 1
        self._handle.file_priority(index, _PRIORITY)
        deadline = time.monotonic() + _ALERT_TIMEOUT_S
        with self.changed:
            while self._priorities < goal:
                self.raise_error()
                if not self.changed.wait(max(deadline - time.monotonic(), 0)):
                    raise SourceError("libtorrent did not select the file", source="torrent")
        self._raised.add(index)

    def _select(self) -> None:
        """Say which pieces are wanted; raising a file has reset them."""
        assert self._handle is not None
        priorities = [0] * len(self._have)
        for pieces in self._wanted.values():
            priorities[pieces.start : pieces.stop] = [_PRIORITY] * len(pieces)
        self._handle.prioritize_pieces(priorities)
        # libtorrent 2.1.1 forgets the sequential range when pieces are wanted again, and then
        # picks at random; switching the mode off and on sets the range anew.
        self._handle.unset_flags(lt.torrent_flags.sequential_download)
        self._handle.set_flags(lt.torrent_flags.sequential_download)

    def _pump(self) -> None:
        asked = 0.0
        while not self._ended.is_set():
            if time.monotonic() - asked >= _STATUS_EVERY_S:
                asked = time.monotonic()
                self._session.post_torrent_updates(0)
            self._session.wait_for_alert(_WAKE_MS)
            with self.changed:
                for alert in self._session.pop_alerts():
                    self._on_alert(alert)
                self.changed.notify_all()

    def _on_alert(self, alert: lt.alert) -> None:
        match alert:
            case lt.piece_finished_alert():
                index = alert.piece_index
                if index < len(self._have):
                    self._have[index] = 1
            case lt.cache_flushed_alert():
                self._flushes += 1
            case lt.file_prio_alert():
                self._priorities += 1
            case lt.torrent_checked_alert():
                self._checked = True
            case lt.metadata_received_alert():
                self._metadata = True
            case lt.state_update_alert():
                self._on_status(alert.status)
            case lt.hash_failed_alert():
                self._update(hash_failures=self.status.hash_failures + 1)
            case lt.peer_ban_alert():
                self._update(banned=(*self.status.banned[-99:], _endpoint(alert.endpoint)))
            case lt.tracker_error_alert():
                self._update(tracker_error=alert.error_message() or alert.error.message())
            case lt.tracker_reply_alert():
                self._update(tracker_error=None)
            case lt.file_error_alert():
                self._on_disk_error(alert.error, alert.filename())
            case lt.torrent_error_alert():
                self._on_disk_error(alert.error, "")
            case lt.alerts_dropped_alert():
                self._recount()

    def _on_status(self, statuses: Iterable[lt.torrent_status]) -> None:
        for status in statuses:
            good = status.total_payload_download - status.total_failed_bytes
            if good > self._good:
                self.progress_at = time.monotonic()
            self._good = good
            self._update(
                peers=status.num_peers,
                rate=status.download_payload_rate,
                received=status.total_payload_download,
                failed=status.total_failed_bytes,
                uploaded=status.total_payload_upload,
            )

    def _on_disk_error(self, error: lt.error_code, name: str) -> None:
        if error.category() in (lt.system_category(), lt.generic_category()):
            self._error = OSError(error.value(), error.message())
        else:
            self._error = f"libtorrent stopped: {error.message()} {name}".rstrip()

    def _recount(self) -> None:
        """Alerts were lost: ask for the pieces instead."""
        if self._handle is not None and self._files is not None:
            pieces = self._handle.status(lt.torrent_handle.query_pieces).pieces
            for index, here in enumerate(pieces[: len(self._have)]):
                self._have[index] |= here

    def _update(self, **fields: object) -> None:
        self.status = replace(self.status, **fields)  # type: ignore[arg-type]


def _endpoint(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"
