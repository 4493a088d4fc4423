"""The metadata that magnet links led to, kept in the model directory so that nobody asks twice.

Whoever may write the directory may write it, so what is read is held against the infohash.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import libtorrent as lt

from grokdist.errors import SourceError, UnsafePathError
from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_magnet import MetadataSearch
from grokdist.transfer.sources.torrent_metainfo import TorrentFiles, read_torrent
from grokdist.transfer.sources.torrent_session import MAX_METADATA, keep_to_proxy
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.tree import STATE, ModelTree

METADATA = f"{STATE}/torrents"
"""Folder for torrents that are known of this model."""


def kept(directory: Path, invitation: Invitation) -> TorrentFiles | None:
    """Metadata that an earlier run was given, if its infohash is still the link's."""
    name = _name(invitation)
    with ModelTree(directory) as tree:
        data = tree.read_small(name, MAX_METADATA)
        if data is None:
            return None
        with contextlib.suppress(SourceError, UnsafePathError):
            files = read_torrent(data)
            if invitation.accepts(files):
                return files
        with contextlib.suppress(OSError):
            tree.remove(name)
    return None


def keep(directory: Path, invitation: Invitation, data: bytes) -> None:
    """Keep metadata for the next run."""
    with ModelTree(directory) as tree:
        tree.write_small(_name(invitation), data)


def ask(
    session: lt.session,
    pump: AlertPump,
    invitation: Invitation,
    folder: Path,
    *,
    settings: SwarmSettings,
    stop: threading.Event,
    seconds: float,
) -> tuple[TorrentFiles, list[tuple[str, int]]] | None:
    """Ask the swarm of a magnet link for its metadata.

    Args:
        session: the session.
        pump: its alerts.
        invitation: the link.
        folder: where to work, for libtorrent; nothing is written there.
        settings: the session's.
        stop: ends the search.
        seconds: how long to wait.

    Returns:
        the torrent, and peers that were found on the way; None when ``stop`` was set.

    Raises:
        SourceError: nobody gave it, or what was given cannot be used.
    """
    name = f"torrent:{invitation.infohash[:12]}"
    params = invitation.search()
    keep_to_proxy(params, settings)
    asking = MetadataSearch(session, pump, params, folder)
    with contextlib.closing(asking) as search:
        data = search.wait(stop, seconds=seconds)
        peers = search.peers()
        told = f"; a tracker says: {search.tracker_error}" if search.tracker_error else ""
    if data is None:
        if stop.is_set():
            return None
        raise SourceError(
            f"no peer gave the torrent's metadata in {seconds:.0f} s{told}",
            source=name,
            # A swarm that nobody is in is not waited for again in this run.
            permanent=True,
        )
    try:
        return read_torrent(data), peers
    except UnsafePathError as error:
        # Its author's doing; other sources are none the worse for it.
        raise SourceError(str(error), source=name, permanent=True) from error


def _name(invitation: Invitation) -> str:
    return f"{METADATA}/{invitation.infohash}.torrent"
