"""A libtorrent session and nothing around it: the contests' seed, and a leech for comparison.

    python -m benchmarks.fetch.bare_libtorrent seed TORRENT FOLDER --listen 10.77.0.1:6881
    python -m benchmarks.fetch.bare_libtorrent leech TORRENT FOLDER --peer 10.77.0.1:6881 [--sha256]

With ``--sha256`` the leech asks for the pieces in order and hashes each file as soon as it is
there, a thread a core: the least that a second digest costs, with nothing synced or kept.

The settings are the fastest found on loopback. What mattered, in this order: uTP off (15 MB/s with
it, over 400 without), a seed that has checked its files before, no encryption; the rest is within
noise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import libtorrent as lt

_TIMEOUT = 600.0
_POLL_MS = 20

SETTINGS: dict[str, Any] = {
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "webtorrent_stun_server": "",
    "allow_multiple_connections_per_ip": True,
    # Whoever asks for encryption first need not call twice; the leech here does not.
    "in_enc_policy": int(lt.enc_policy.enabled),
    "allowed_enc_level": int(lt.enc_level.both),
    "out_enc_policy": int(lt.enc_policy.disabled),
    "hashing_threads": os.cpu_count() or 1,
    "aio_threads": 8,
    "send_buffer_watermark": 4 << 20,
    "max_queued_disk_bytes": 256 << 20,
    "recv_socket_buffer_size": 1 << 20,
    "send_socket_buffer_size": 1 << 20,
    "max_out_request_queue": 2000,
    "max_allowed_in_request_queue": 8000,
    "tick_interval": 100,
    "unchoke_slots_limit": 100,
    "alert_mask": int(
        lt.alert.category_t.status_notification
        | lt.alert.category_t.error_notification
        | lt.alert.category_t.file_progress_notification
    ),
    "alert_queue_size": 20_000,
}


def main() -> None:
    """Seed until ended, or leech until all is on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["seed", "leech"])
    parser.add_argument("torrent")
    parser.add_argument("folder")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--peer")
    parser.add_argument("--sha256", action="store_true", help="hash each file that is complete")
    parser.add_argument("--ready", type=Path, help="made when the seed has checked its files")
    options = parser.parse_args()
    session = lt.session(
        lt.session_params(
            cast("lt.settings_pack", {**SETTINGS, "listen_interfaces": options.listen})
        )
    )
    parameters = lt.load_torrent_file(options.torrent)
    parameters.save_path = options.folder
    parameters.flags &= ~lt.torrent_flags.auto_managed
    parameters.flags &= ~lt.torrent_flags.paused
    if options.role == "leech":
        parameters.trackers = []
        if options.sha256:
            parameters.flags |= lt.torrent_flags.sequential_download
    handle = session.add_torrent(parameters)
    if options.role == "seed":
        _seed(session, handle, options.ready)
    else:
        host, _, port = options.peer.rpartition(":")
        _leech(session, handle, (host, int(port)), Path(options.folder) if options.sha256 else None)


def _seed(session: lt.session, handle: lt.torrent_handle, ready: Path | None) -> None:
    # Not longer than the benchmark, however that ends.
    parent = os.getppid()
    while not handle.status().is_seeding and os.getppid() == parent:
        _drain(session)
    if ready is not None:
        ready.touch()
    while os.getppid() == parent:
        _drain(session)


def _leech(
    session: lt.session, handle: lt.torrent_handle, peer: tuple[str, int], hash_in: Path | None
) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while handle.status().state in (
        lt.torrent_status.checking_files,
        lt.torrent_status.checking_resume_data,
    ):
        _drain(session)
    names = cast("lt.torrent_info", handle.torrent_file()).files()
    handle.connect_peer(peer)
    seeding = flushed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while not flushed:
            for alert in _drain(session):
                if isinstance(alert, lt.file_completed_alert) and hash_in is not None:
                    pool.submit(_hash, hash_in / names.file_path(alert.index))
                flushed |= seeding and isinstance(alert, lt.cache_flushed_alert)
            if not seeding and handle.status(0).is_seeding:
                # The library says that it is done before its last write is: wait for the disk
                # threads.
                handle.flush_cache()
                seeding = True
            if time.monotonic() > deadline:
                sys.exit("not done in time")


def _hash(path: Path) -> str:
    """SHA-256 of a file, for the time that it takes: its last write may be yet to come."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _drain(session: lt.session) -> list[lt.alert]:
    session.wait_for_alert(_POLL_MS)
    return session.pop_alerts()


if __name__ == "__main__":
    main()
