"""A libtorrent session with settings that were measured to be fast, and ended on purpose.

uTP is off unless asked for: libtorrent tries it first and reaches 15 MB/s where TCP reaches
400. Rate limits hold for peers on the local network too, which libtorrent's default spares.
"""

from __future__ import annotations

import ipaddress
import os
from typing import cast

import libtorrent as lt

from grokdist.transfer.sources.torrent_settings import Encryption, SwarmSettings, split_proxy

MAX_METADATA = 32 << 20
"""Largest torrent metadata that is accepted, bytes."""

MAX_PIECES = 1 << 21

_CATEGORY = lt.alert_category
ALERTS = (
    _CATEGORY.error
    | _CATEGORY.peer
    | _CATEGORY.storage
    | _CATEGORY.tracker
    | _CATEGORY.status
    | _CATEGORY.piece_progress
)
"""What a swarm needs to be told."""

_PORT = 6881


def pack(settings: SwarmSettings) -> lt.settings_pack:
    """Settings in libtorrent's terms."""
    abroad = not settings.loopback
    address = ipaddress.ip_address(settings.interface) if settings.interface else None
    port = (_PORT if abroad else 0) if settings.port is None else settings.port
    if address is None:
        listen = f"0.0.0.0:{port},[::]:{port}"
    elif address.version == 6:
        listen = f"[{address}]:{port}"
    else:
        listen = f"{address}:{port}"
    policy = {
        Encryption.OFF: lt.enc_policy.pe_disabled,
        Encryption.PREFER: lt.enc_policy.pe_enabled,
        Encryption.REQUIRE: lt.enc_policy.pe_forced,
    }[settings.encryption]
    cores = os.cpu_count() or 2
    found: lt.settings_pack = {
        "user_agent": "grokdist",
        "peer_fingerprint": "-GD0100-",
        "listen_interfaces": listen,
        "outgoing_interfaces": settings.interface,
        "alert_mask": int(ALERTS),
        "alert_queue_size": 20_000,
        "enable_dht": settings.dht and abroad and settings.udp,
        "enable_lsd": settings.lsd and abroad,
        "enable_upnp": settings.upnp and abroad,
        "enable_natpmp": settings.upnp and abroad,
        # WebTorrent would ask a third party's STUN server for our address.
        "webtorrent_stun_server": "",
        "enable_outgoing_utp": settings.utp and settings.udp,
        "enable_incoming_utp": settings.utp and settings.udp,
        "in_enc_policy": int(policy),
        "out_enc_policy": int(policy),
        "allowed_enc_level": int(lt.enc_level.both),
        # Several peers behind one address (and every peer of a test) are peers all the same.
        "allow_multiple_connections_per_ip": True,
        # We want one file after the other: a connection that is idle now is needed again.
        "close_redundant_connections": False,
        "ignore_limits_on_local_network": False,
        # A limit is one on payload, as it is for every other source.
        "rate_limit_ip_overhead": False,
        "download_rate_limit": settings.max_rate or 0,
        "upload_rate_limit": settings.max_upload or 0,
        "hashing_threads": cores,
        "aio_threads": 4,
        "send_buffer_watermark": 4 << 20,
        "recv_socket_buffer_size": 1 << 20,
        "send_socket_buffer_size": 1 << 20,
        "max_queued_disk_bytes": 64 << 20,
        "max_out_request_queue": 2_000,
        # What is half-finished when a quicker source takes a file over comes twice.
        "prioritize_partial_pieces": True,
        "connections_limit": 200,
        "max_metadata_size": MAX_METADATA,
        "max_piece_count": MAX_PIECES,
        "urlseed_wait_retry": 1,
        # From the first piece on in file order, so that hashing keeps up.
        "initial_picker_threshold": 0,
        # Peers that one gave by hand are tried again soon.
        "min_reconnect_time": 5,
        "stop_tracker_timeout": 1,
        # Connections and rate quotas wait for a tick; the default is half a second.
        "tick_interval": 100,
    }
    if settings.proxy is not None and abroad:
        found.update(_proxy_pack(settings.proxy))
        # They would tell the network around us, past the proxy.
        found.update({"enable_lsd": False, "enable_upnp": False, "enable_natpmp": False})
    return found


def open_session(settings: SwarmSettings) -> lt.session:
    """Start a session; end it with ``end_session``."""
    return lt.session(lt.session_params(pack(settings)))


def keep_to_proxy(params: lt.add_torrent_params, settings: SwarmSettings) -> None:
    """Leave out trackers that only UDP reaches, where UDP would go past the proxy."""
    if settings.udp:
        return
    pairs = [
        (url, tier)
        for url, tier in zip(params.trackers, params.tracker_tiers, strict=True)
        if not url.startswith("udp:")
    ]
    params.trackers = [url for url, _ in pairs]
    params.tracker_tiers = [tier for _, tier in pairs]


def end_session(session: lt.session) -> None:
    """Stop every torrent of a session; its threads end when the last reference goes.

    Left to the interpreter's exit, the destructor can run after the modules it calls are gone.
    """
    session.pause()
    for handle in session.get_torrents():
        session.remove_torrent(handle)


def _proxy_pack(url: str) -> lt.settings_pack:
    parts = split_proxy(url)
    secret = parts.username is not None
    kind = {
        "socks5": lt.proxy_type_t.socks5_pw if secret else lt.proxy_type_t.socks5,
        "http": lt.proxy_type_t.http_pw if secret else lt.proxy_type_t.http,
    }[parts.scheme.removesuffix("h")]
    return cast(
        "lt.settings_pack",
        {
            "proxy_type": int(kind),
            "proxy_hostname": parts.hostname,
            "proxy_port": parts.port,
            "proxy_username": parts.username or "",
            "proxy_password": parts.password or "",
            "proxy_peer_connections": True,
            "proxy_tracker_connections": True,
            "proxy_hostnames": True,
        },
    )
