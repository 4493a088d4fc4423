"""One torrent in one libtorrent session: which pieces are here, which are wanted, what went wrong.

libtorrent writes to files of its own, named by number, so that no name in a torrent ever reaches
the file system. Who wants which file, and what becomes of it, is left to ``torrent``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import libtorrent as lt

from grokdist.errors import SourceError
from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles
from grokdist.transfer.sources.torrent_resume import BLOCK, Pieces

_ALERT_TIMEOUT_S = 60.0
_CHECK_TIMEOUT_S = 1_800.0
_PROGRESS_EVERY_S = 0.5
_PRIORITY = 4
_BLOCK_FINISHED = 3
"""libtorrent's ``block_info::finished``: written to its file."""

# Enough for libtorrent to have several seconds' requests with each peer.
_WINDOW_S = 3.0
_WINDOW_MIN = 2 << 20
_WINDOW_MAX = 64 << 20
_WINDOW_PIECES = 4


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
        pump: its alerts.
        files: the torrent.
        params: its parameters, peers and trackers included.
        folder: where libtorrent writes to, a file a number.
        wanted: the files that may be asked for.
        first: the file that is wanted first, and from which byte on. Without it nothing is wanted
            at first, and a seed that is called meanwhile hangs up for good: we seem to be one too.
        on_ban: told of each peer that is banned, on the thread that reads alerts.

    Raises:
        OSError: the disk refused.
        SourceError: libtorrent refused the torrent.
    """

    def __init__(
        self,
        session: lt.session,
        pump: AlertPump,
        files: TorrentFiles,
        params: lt.add_torrent_params,
        folder: Path,
        wanted: Iterable[TorrentFile],
        first: tuple[TorrentFile, int] | None = None,
        on_ban: Callable[[tuple[str, int]], None] = lambda _: None,
    ) -> None:
        self.status = SwarmStatus()
        self.closed = False
        """True once the swarm was left."""
        self._tell_ban = on_ban
        self._session = session
        self._pump = pump
        self._folder = folder
        self._files = files
        self._have = bytearray(files.pieces)
        self._windows: dict[int, range] = {}
        self._wanting: dict[int, int] = {}
        self._cut: dict[int, int] = {}
        self._progress: list[int] = [0] * files.count
        self._progress_at = 0.0
        self._by_index = {file.index: file for file in files.files}
        self._flushes = 0
        self._asking = itertools.count()
        self._flushed = -1
        self._checked = self._halted = False
        self._error: OSError | str | None = None
        self._barrier = threading.Lock()
        self._selection = threading.Lock()
        flags = lt.torrent_flags
        params.save_path = str(folder)
        params.renamed_files = {index: f"{index}" for index in range(files.count)}
        # Which pieces are wanted is said piece by piece: each change of a file's priority would
        # make all its pieces wanted for a moment, and those of its neighbours.
        indexes = {file.index for file in wanted}
        params.file_priorities = [
            _PRIORITY if index in indexes else 0 for index in range(files.count)
        ]
        priorities = [0] * files.pieces
        if first is not None:
            pieces = self.pieces_of(first[0], start=first[1])[:_WINDOW_PIECES]
            self._windows[first[0].index] = pieces
            self._wanting = dict.fromkeys(pieces, 1)
            priorities[pieces.start : pieces.stop] = [_PRIORITY] * len(pieces)
        params.piece_priorities = priorities
        # What an earlier process brought is not new; what comes while libtorrent begins is.
        self._told = self._left(params)
        params.flags &= ~(flags.paused | flags.auto_managed)
        params.flags |= flags.default_dont_download
        with pump.lock:
            # No alert may come before its handle is known.
            self._handle = session.add_torrent(params)
            pump.listen(self._on_alert)
        try:
            for peer in params.peers:
                self._handle.connect_peer(peer)
            self._await(lambda: self._checked, "take the torrent", seconds=_CHECK_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def pieces_of(self, file: TorrentFile, *, start: int = 0) -> range:
        """Numbers of the pieces that hold ``file`` from byte ``start`` on."""
        size = self._files.piece_size
        if start >= file.size:
            return range(0)
        return range((file.offset + start) // size, (file.offset + file.size - 1) // size + 1)

    def at_edge(self, file: TorrentFile, end: int) -> bool:
        """True where no piece goes from before byte ``end`` of ``file`` to behind it."""
        return end >= file.size or (file.offset + end) % self._files.piece_size == 0

    def contiguous(self, file: TorrentFile, start: int) -> int:
        """How far ``file`` is here without a gap from byte ``start`` on."""
        pieces = self.pieces_of(file, start=start)
        gap = self._have.find(0, pieces.start, pieces.stop) if pieces else -1
        if gap < 0:
            return file.size
        return max(start, min(file.size, gap * self._files.piece_size - file.offset))

    def want(self, file: TorrentFile, start: int, end: int) -> int:
        """Download ``file`` from byte ``start`` up to ``end``, but not far ahead of ``start``.

        To be called again as the beginning of the file gets complete. A bounded window keeps the
        file nearly contiguous, so that it can be hashed as it comes and little is lost when the
        process dies, and lets several files come at once.

        Returns:
            the byte at which the window ends.

        Raises:
            SourceError: its first piece holds bytes that another source writes.
        """
        size = self._files.piece_size
        pieces = self.pieces_of(file, start=start)
        if pieces and not self._have[pieces.start]:
            self._require_own(file, pieces.start)
        last = (file.offset + end - 1) // size + 1 if end > start else pieces.start
        with self._selection:
            # What comes is divided among the files at work.
            rate = self.status.rate / max(len(self._windows), 1)
            ahead = min(max(int(rate * _WINDOW_S), _WINDOW_MIN), _WINDOW_MAX)
            stop = min(last, pieces.start + max(ahead // size, _WINDOW_PIECES))
            before = self._windows.get(file.index, range(0))
            # A window that shrank would drop pieces that are on their way.
            window = range(pieces.start, max(stop, min(before.stop, pieces.stop)))
            self._select(file, window)
        return min(file.size, window.stop * size - file.offset)

    def leave_tail(self, file: TorrentFile, cut: int) -> None:
        """Know that others write the bytes of ``file`` from ``cut`` on, to the same file.

        In a v1 torrent a piece goes over into the next file, so that asking for the beginning of
        that one would have libtorrent write to the end of this one.
        """
        self._cut[file.index] = min(cut, self._cut.get(file.index, cut))

    def _require_own(self, file: TorrentFile, piece: int) -> None:
        begin = piece * self._files.piece_size
        for index, cut in self._cut.items():
            other = self._by_index[index]
            high = min(other.size, begin + self._files.piece_size - other.offset)
            if other.index != file.index and cut < high and begin - other.offset < other.size:
                raise SourceError(
                    "it shares a piece with a file that others bring",
                    source="torrent",
                    path=file.path,
                    permanent=True,
                )

    def asked_upto(self, file: TorrentFile) -> int:
        """The byte of ``file`` at which its window ends; 0 without one."""
        with self._selection:
            window = self._windows.get(file.index)
        if window is None:
            return 0
        return min(file.size, window.stop * self._files.piece_size - file.offset)

    def leave(self, file: TorrentFile) -> None:
        """Want ``file`` no longer; what is here stays, to be given to others."""
        with self._selection:
            self._select(file, range(0))
            self._windows.pop(file.index, None)

    def received(self, file: TorrentFile) -> int:
        """Bytes of ``file`` that have come; of pieces that are not complete, half a second ago."""
        now = time.monotonic()
        if now - self._progress_at >= _PROGRESS_EVERY_S:
            # It is of all files together: asking for each of many would take most of the time.
            self._progress_at = now
            self._progress = self._handle.file_progress()
        return max(self._progress[file.index], self._complete(file, self._have))

    def newly(self, file: TorrentFile) -> int:
        """Bytes of ``file`` that came in this run and were not told before.

        A piece that was asked for with a neighbour brings bytes of a file nobody works on yet.
        """
        count = self.received(file)
        new = count - self._told[file.index]
        self._told[file.index] = count
        return max(new, 0)

    def _left(self, params: lt.add_torrent_params) -> list[int]:
        """Bytes of each file that an earlier process left, by the file's number."""
        left = [0] * self._files.count
        if not params.have_pieces:
            return left
        have = bytes(params.have_pieces)
        for file in self._files.files:
            left[file.index] = self._complete(file, have)
            for piece in self.pieces_of(file):
                begin = piece * self._files.piece_size - file.offset
                for place, here in enumerate(params.unfinished_pieces.get(piece, ())):
                    start = begin + place * BLOCK
                    if here:
                        left[file.index] += max(0, min(start + BLOCK, file.size) - max(start, 0))
        return left

    def _complete(self, file: TorrentFile, have: bytes | bytearray) -> int:
        """Bytes of ``file`` in complete pieces."""
        size = self._files.piece_size
        pieces = self.pieces_of(file)
        count = have.count(1, pieces.start, pieces.stop) * size
        if pieces and have[pieces.start]:
            count -= file.offset - pieces.start * size
        if pieces and have[pieces.stop - 1]:
            count -= pieces.stop * size - file.offset - file.size
        return count

    def flush(self) -> None:
        """Return once every piece that is finished now is on disk.

        libtorrent says that a piece is finished before its last write. An alert of a flush that
        libtorrent began by itself may be on its way (it does when nothing more is wanted), so
        two are asked for and two awaited.

        Raises:
            SourceError: it takes longer than a minute.
        """
        asked = next(self._asking)
        with self._barrier:
            if self._flushed >= asked:
                # One that began after we asked has ended while we waited for our turn.
                return
            covers = next(self._asking)
            goal = self._flushes + 2
            self._handle.flush_cache()
            self._handle.flush_cache()
            self._await(lambda: self._flushes >= goal, "flush its cache")
            self._flushed = covers

    def snapshot(self) -> Pieces:
        """What is on disk, whole pieces and parts of them.

        Raises:
            SourceError: the flush takes longer than a minute.
            OSError: the disk refused.
        """
        have = bytes(self._have)
        self.flush()
        # A block counts as being written until it is on disk, which without a flush is late.
        unfinished = {
            each["piece_index"]: bytes(
                block["state"] == _BLOCK_FINISHED for block in each["blocks"]
            )
            for each in self._handle.get_download_queue()
        }
        if self.status.hash_failures:
            # Who sent which block is known to nobody after us: a lie would look like others'.
            unfinished = {}
        return Pieces(
            have=have,
            unfinished={index: blocks for index, blocks in unfinished.items() if any(blocks)},
        )

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

    def halt(self) -> None:
        """Hang up on every peer, and return once nothing more will be written.

        Raises:
            OSError: the disk refused.
            SourceError: it takes longer than a minute.
        """
        self._handle.pause()
        self._await(lambda: self._halted, "stop")

    def close(self) -> None:
        """Leave the swarm; libtorrent lets go of the files, soon or when its session ends."""
        self.closed = True
        self._pump.leave(self._on_alert)
        with contextlib.suppress(RuntimeError):
            self._session.remove_torrent(self._handle)

    def _select(self, file: TorrentFile, window: range) -> None:
        """Want the pieces of ``window`` for ``file``, and no others but those that others want.

        libtorrent is told of those that are not here and change: each time it is told anything
        it looks at every piece of every peer.
        """
        before = self._windows.get(file.index, range(0))
        self._windows[file.index] = window
        change: list[tuple[int, int]] = []
        for piece in window:
            if piece not in before:
                count = self._wanting[piece] = self._wanting.get(piece, 0) + 1
                if count == 1 and not self._have[piece]:
                    change.append((piece, _PRIORITY))
        for piece in before:
            if piece not in window:
                self._wanting[piece] -= 1
                if not self._wanting[piece]:
                    del self._wanting[piece]
                    if not self._have[piece]:
                        change.append((piece, 0))
        if change:
            self._handle.prioritize_pieces(change)

    def _await(
        self, ready: Callable[[], bool], what: str, *, seconds: float = _ALERT_TIMEOUT_S
    ) -> None:
        done = self._pump.wait_until(lambda: ready() or self._error is not None, seconds=seconds)
        self.raise_error()
        if not done:
            raise SourceError(f"libtorrent did not {what}", source="torrent")

    def _on_alert(self, alert: lt.alert) -> None:
        if isinstance(alert, lt.torrent_alert) and alert.handle != self._handle:
            # Of the torrent that asked for this one's metadata.
            return
        match alert:
            case lt.piece_finished_alert():
                index = alert.piece_index
                if index < len(self._have):
                    self._have[index] = 1
            case lt.cache_flushed_alert():
                self._flushes += 1
            case lt.torrent_checked_alert():
                # What an earlier process left, as far as libtorrent took it.
                self._recount()
                self._checked = True
            case lt.torrent_paused_alert():
                self._halted = True
            case lt.state_update_alert():
                self._on_status(alert.status)
            case lt.hash_failed_alert():
                self._update(hash_failures=self.status.hash_failures + 1)
            case lt.peer_ban_alert():
                self._on_ban(alert.endpoint)
            case lt.tracker_error_alert():
                self._update(tracker_error=alert.failure_reason() or alert.error.message())
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
            if status.handle == self._handle:
                self._update(
                    peers=status.num_peers,
                    rate=status.download_payload_rate,
                    received=status.total_payload_download,
                    failed=status.total_failed_bytes,
                    uploaded=status.total_payload_upload,
                )

    def _on_ban(self, endpoint: tuple[str, int]) -> None:
        peer = _endpoint(endpoint)
        if peer not in self.status.banned:
            self._update(banned=(*self.status.banned[-99:], peer))
            self._tell_ban((endpoint[0], endpoint[1]))

    def _on_disk_error(self, error: lt.error_code, name: str) -> None:
        if error.category() in (lt.system_category(), lt.generic_category()):
            self._error = OSError(error.value(), error.message())
        elif (refused := _refused(self._folder)) is not None:
            # A piece that could not be written fails its check, and that may be told first.
            self._error = refused
        else:
            self._error = f"libtorrent stopped: {error.message()} {name}".rstrip()

    def _recount(self) -> None:
        """Alerts were lost: ask for the pieces instead."""
        pieces = self._handle.status(lt.torrent_handle.query_pieces).pieces
        for index, here in enumerate(pieces[: len(self._have)]):
            self._have[index] |= here

    def _update(self, **fields: object) -> None:
        self.status = replace(self.status, **fields)  # type: ignore[arg-type]


def _endpoint(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"


def _refused(folder: Path) -> OSError | None:
    """What the disk says to one more block; None where it takes it."""
    probe = folder / "probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(BLOCK))
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        return error
    return None
