"""Turn a magnet link into torrent metadata, with the help of peers.

libtorrent accepts metadata only if its hash is the infohash of the link, so that nobody has to
trust the peer that sent it.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import libtorrent as lt

from grokdist.errors import SourceError
from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_metainfo import wrap_info

MAX_MAGNET = 64 << 10


def parse_magnet(uri: str) -> lt.add_torrent_params:
    """Read a magnet link.

    Raises:
        SourceError: it is malformed, too long, or names no torrent.
    """
    if len(uri) > MAX_MAGNET:
        raise SourceError(f"magnet link of {len(uri)} characters", source="torrent", permanent=True)
    try:
        return lt.parse_magnet_uri(uri)
    except (RuntimeError, ValueError) as error:
        raise SourceError(
            f"cannot read the magnet link {uri[:100]!r}: {error}", source="torrent", permanent=True
        ) from error


class MetadataSearch:
    """Asks a swarm for the metadata of one magnet link; use it in a ``with``.

    Args:
        session: the session.
        pump: its alerts.
        params: the parsed magnet link, peers and trackers included.
        folder: where to work, for libtorrent; nothing is written there.
    """

    def __init__(
        self,
        session: lt.session,
        pump: AlertPump,
        params: lt.add_torrent_params,
        folder: Path,
    ) -> None:
        flags = lt.torrent_flags
        params.save_path = str(folder)
        params.flags &= ~(flags.paused | flags.auto_managed)
        params.flags |= flags.default_dont_download
        self.tracker_error: str | None = None
        """What a tracker last complained of."""
        self._session = session
        self._pump = pump
        self._found = False
        pump.listen(self._on_alert)
        self._handle = session.add_torrent(params)
        for peer in params.peers:
            self._handle.connect_peer(peer)

    def wait(self, stop: threading.Event, *, seconds: float) -> bytes | None:
        """Wait for the metadata.

        Returns:
            ``.torrent`` content, or None when ``stop`` was set or the time was over.
        """
        if not self._pump.wait_until(lambda: self._found, seconds=seconds, stop=stop):
            return None
        info = self._handle.torrent_file()
        return None if info is None else wrap_info(info.info_section())

    def peers(self) -> list[tuple[str, int]]:
        """Peers that were found on the way and can be called."""
        flags = lt.peer_info
        return [
            (peer.ip[0], peer.ip[1])
            for peer in self._handle.get_peer_info()
            if peer.flags & flags.local_connection
        ]

    def close(self) -> None:
        """Leave the swarm."""
        self._pump.leave(self._on_alert)
        with contextlib.suppress(RuntimeError):
            self._session.remove_torrent(self._handle)

    def _on_alert(self, alert: lt.alert) -> None:
        match alert:
            case lt.metadata_received_alert():
                self._found = True
            case lt.tracker_error_alert():
                self.tracker_error = alert.failure_reason() or alert.error.message()
