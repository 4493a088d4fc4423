"""Share files that are here with a swarm, until told to stop or enough was given.

The files are checked against the torrent first, all of them, unless the caller knows that they
are right: libtorrent's own way to trust its disk, ``seed_mode``, hashes each piece when it is first
asked for, at half the rate. Which files belong to which model is left to the caller.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import libtorrent as lt

from grokdist.errors import DigestMismatchError, SourceError
from grokdist.transfer.sources.torrent_metainfo import read_torrent
from grokdist.transfer.sources.torrent_session import end_session, keep_to_proxy, open_session
from grokdist.transfer.sources.torrent_settings import SwarmSettings

_POLL_S = 0.05
_LISTEN_TIMEOUT_S = 5.0

_CHECKING = (
    lt.torrent_status.states.checking_files,
    lt.torrent_status.states.checking_resume_data,
)


class SeedStoppedError(SourceError):
    """The check of the files was ended from outside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedStatus:
    """How a seed is doing.

    Attributes:
        uploaded: payload bytes given since the start.
        size: bytes of the torrent's files, padding left out.
        exchanged: bytes that a whole copy takes between peers: with some padding, for many
            torrents.
        peers: connections now.
        upload_rate: bytes a second now.
        seconds: since the check was done.
    """

    uploaded: int
    size: int
    exchanged: int
    peers: int
    upload_rate: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Bytes given for each byte that a whole copy takes."""
        return self.uploaded / self.exchanged if self.exchanged else 0.0


class Seeder:
    """A seed in a session of its own; use it in a ``with`` or call ``close``.

    Args:
        torrent: content of a ``.torrent`` file.
        directory: where its files are, the torrent's root folder left out.
        settings: interface, port, limits.
        trackers: announce URLs beside those of the torrent.
        peers: (address, port) pairs to connect to.
        paths: where a file is instead, relative to ``directory``, by its path in the torrent.
        checked: the files are known to be the torrent's: only their sizes are looked at.
        stop: ends the first check early.
        on_checked: told how many bytes were checked, as the check goes on.

    Raises:
        SourceError: the torrent cannot be read, nothing can be listened on, or ``stop`` was set.
        UnsafePathError: a path in the torrent is not plain.
        DigestMismatchError: a file is missing or is not what the torrent names.
    """

    def __init__(
        self,
        torrent: bytes,
        directory: Path,
        *,
        settings: SwarmSettings | None = None,
        trackers: Sequence[str] = (),
        peers: Sequence[tuple[str, int]] = (),
        paths: Mapping[str, str] | None = None,
        checked: bool = False,
        stop: threading.Event | None = None,
        on_checked: Callable[[int], None] | None = None,
    ) -> None:
        self._files = read_torrent(torrent)
        self._directory = directory.absolute()
        params = self._files.params()
        params.save_path = str(self._directory)
        elsewhere = paths or {}
        params.renamed_files = {
            file.index: str(self._directory / elsewhere.get(file.path, file.path))
            for file in self._files.files
        }
        params.trackers = [*params.trackers, *trackers]
        params.tracker_tiers = [*params.tracker_tiers, *(0 for _ in trackers)]
        params.peers = list(peers)
        flags = lt.torrent_flags
        params.flags &= ~(flags.paused | flags.auto_managed)
        # What stands on disk is given away, never written to.
        params.flags |= flags.upload_mode
        if checked:
            self._require_sizes(elsewhere)
            params.have_pieces = [True] * self._files.pieces
        # A session that is still there when the interpreter goes may abort the process.
        atexit.register(self.close)
        settings = settings or SwarmSettings()
        keep_to_proxy(params, settings)
        session = open_session(settings)
        self._session: lt.session | None = session
        try:
            self._port = _listen(session)
            self._handle = session.add_torrent(params)
            self._check(stop or threading.Event(), on_checked or _ignore)
        except BaseException:
            self.close()
            raise
        self._since = time.monotonic()

    @property
    def port(self) -> int:
        """The TCP port that peers reach it on."""
        return self._port

    @property
    def magnet(self) -> str:
        """A magnet link of the torrent, trackers included."""
        return lt.make_magnet_uri(self._handle)

    def status(self) -> SeedStatus:
        """What was given so far."""
        status = self._handle.status(0)
        if status.errc.value():
            raise SourceError(f"cannot read the files: {status.errc.message()}", source="seed")
        return SeedStatus(
            uploaded=status.total_payload_upload,
            size=self._files.size,
            exchanged=self._files.exchanged,
            peers=status.num_peers,
            upload_rate=status.upload_payload_rate,
            seconds=time.monotonic() - self._since,
        )

    def wait(
        self,
        stop: threading.Event,
        *,
        ratio: float | None = None,
        seconds: float | None = None,
        poll_s: float = 0.2,
        on_status: Callable[[SeedStatus], None] | None = None,
    ) -> SeedStatus:
        """Share until ``stop`` is set, or ``ratio`` or ``seconds`` is reached.

        Args:
            stop: ends it.
            ratio: bytes to give for each byte that a whole copy takes.
            seconds: how long to share.
            poll_s: seconds between two looks at how it is going.
            on_status: told at each of them.

        Returns:
            the status at that moment.

        Raises:
            SourceError: the files cannot be read any more.
        """
        while True:
            status = self.status()
            if on_status is not None:
                on_status(status)
            if stop.wait(0):
                return status
            if ratio is not None and status.ratio >= ratio:
                return status
            if seconds is not None and status.seconds >= seconds:
                return status
            stop.wait(poll_s)

    def close(self) -> None:
        """Leave the swarm and end the session; harmless when done before."""
        atexit.unregister(self.close)
        session, self._session = self._session, None
        if session is not None:
            end_session(session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_sizes(self, elsewhere: Mapping[str, str]) -> None:
        for file in self._files.files:
            path = self._directory / elsewhere.get(file.path, file.path)
            try:
                size = path.stat().st_size
            except OSError as error:
                raise SourceError(f"cannot read {path}: {error.strerror}", source="seed") from error
            if size != file.size:
                raise DigestMismatchError(
                    f"{path} has {size} bytes; expected {file.size}", path=file.path
                )

    def _check(self, stop: threading.Event, on_checked: Callable[[int], None]) -> None:
        """Wait until libtorrent has hashed every file."""
        while (status := self._handle.status(0)).state in _CHECKING or status.moving_storage:
            if status.errc.value():
                break
            on_checked(int(status.progress * self._files.size))
            if stop.wait(_POLL_S):
                raise SeedStoppedError("stopped before the files were checked", source="seed")
        if status.errc.value():
            raise SourceError(f"cannot read the files: {status.errc.message()}", source="seed")
        if not status.is_seeding:
            raise DigestMismatchError(
                f"{status.total_wanted - status.total_wanted_done} bytes in pieces that are"
                f" missing or wrong below {self._directory}; expected every file of"
                f" {self._files.name}",
                hint="run `grokdist verify` on the directory",
            )


def _ignore(_: int) -> None:
    """No one listens."""


def _listen(session: lt.session) -> int:
    deadline = time.monotonic() + _LISTEN_TIMEOUT_S
    while not session.is_listening():
        if time.monotonic() > deadline:
            raise SourceError("cannot listen for peers; expected a free port", source="seed")
        time.sleep(_POLL_S)
    return session.listen_port()
