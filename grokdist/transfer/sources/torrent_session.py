"""A libtorrent session with settings that were measured to be fast, and ended on purpose.

uTP is off unless asked for: libtorrent tries it first and reaches 15 MB/s where TCP reaches
400. Rate limits hold for peers on the local network too, which libtorrent's default spares.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, cast
from urllib.parse import urlsplit

import libtorrent as lt

from grokdist.errors import UsageError

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

_PROXY_SCHEMES = ("socks5", "socks5h", "http")


class Encryption(StrEnum):
    """Whether connections to peers are obfuscated (RC4; no secrecy, and half the rate)."""

    OFF = "off"
    PREFER = "prefer"
    """Accept either, offer plain text first: what most clients do."""
    REQUIRE = "require"


@dataclass(frozen=True, kw_only=True, slots=True)
class SwarmSettings:
    """How to take part in a swarm.

    Attributes:
        interface: IP address to listen on; empty for all, IPv4 and IPv6.
        port: port to listen on; 0 for any free one. A taken one is answered by the next free.
        dht: find peers by the distributed hash table.
        lsd: find peers on the local network.
        upnp: ask the router for a port (UPnP and NAT-PMP).
        utp: also use uTP, which passes some routers that TCP does not.
        encryption: obfuscation of connections.
        max_rate: bytes a second down, all peers together; None for no limit.
        max_upload: bytes a second up; None for no limit.
        proxy: ``socks5://[user:password@]host:port`` or ``http://...`` for peers and trackers.
    """

    interface: str = ""
    port: int = 6881
    dht: bool = True
    lsd: bool = True
    upnp: bool = True
    utp: bool = False
    encryption: Encryption = Encryption.PREFER
    max_rate: int | None = None
    max_upload: int | None = None
    proxy: str | None = None

    def __post_init__(self) -> None:
        if self.interface:
            try:
                ipaddress.ip_address(self.interface)
            except ValueError:
                raise UsageError(
                    f"torrent interface {self.interface!r} is not an IP address"
                ) from None
        if not 0 <= self.port <= 65_535:
            raise UsageError(f"torrent port {self.port}; expected 0 to 65535")
        for rate in (self.max_rate, self.max_upload):
            if rate is not None and rate <= 0:
                raise UsageError(f"rate limit {rate}; expected bytes a second above 0")
        if self.proxy is not None:
            _proxy_pack(self.proxy)

    @classmethod
    def on_loopback(cls, *, max_rate: int | None = None, max_upload: int | None = None) -> Self:
        """Settings for a swarm inside this machine."""
        return cls(interface="127.0.0.1", port=0, max_rate=max_rate, max_upload=max_upload)

    @property
    def loopback(self) -> bool:
        """True where the swarm stays inside this machine; it then announces itself to no one."""
        return bool(self.interface) and ipaddress.ip_address(self.interface).is_loopback

    def pack(self) -> lt.settings_pack:
        """These settings in libtorrent's terms."""
        abroad = not self.loopback
        address = ipaddress.ip_address(self.interface) if self.interface else None
        if address is None:
            listen = f"0.0.0.0:{self.port},[::]:{self.port}"
        elif address.version == 6:
            listen = f"[{address}]:{self.port}"
        else:
            listen = f"{address}:{self.port}"
        policy = {
            Encryption.OFF: lt.enc_policy.pe_disabled,
            Encryption.PREFER: lt.enc_policy.pe_enabled,
            Encryption.REQUIRE: lt.enc_policy.pe_forced,
        }[self.encryption]
        cores = os.cpu_count() or 2
        pack: lt.settings_pack = {
            "user_agent": "grokdist",
            "peer_fingerprint": "-GD0100-",
            "listen_interfaces": listen,
            "alert_mask": int(ALERTS),
            "alert_queue_size": 20_000,
            "enable_dht": self.dht and abroad,
            "enable_lsd": self.lsd and abroad,
            "enable_upnp": self.upnp and abroad,
            "enable_natpmp": self.upnp and abroad,
            # WebTorrent would ask a third party's STUN server for our address.
            "webtorrent_stun_server": "",
            "enable_outgoing_utp": self.utp,
            "enable_incoming_utp": self.utp,
            "in_enc_policy": int(policy),
            "out_enc_policy": int(policy),
            "allowed_enc_level": int(lt.enc_level.both),
            # Several peers behind one address (and every peer of a test) are peers all the same.
            "allow_multiple_connections_per_ip": True,
            # We want one file after the other: a connection that is idle now is needed again.
            "close_redundant_connections": False,
            "ignore_limits_on_local_network": False,
            "download_rate_limit": self.max_rate or 0,
            "upload_rate_limit": self.max_upload or 0,
            "hashing_threads": cores,
            "aio_threads": 4,
            "send_buffer_watermark": 4 << 20,
            "recv_socket_buffer_size": 1 << 20,
            "send_socket_buffer_size": 1 << 20,
            "max_queued_disk_bytes": 256 << 20,
            "max_out_request_queue": 2_000,
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
        if self.proxy is not None:
            pack.update(_proxy_pack(self.proxy))
        return pack


def open_session(settings: SwarmSettings) -> lt.session:
    """Start a session; end it with ``end_session``."""
    return lt.session(lt.session_params(settings.pack()))


def end_session(session: lt.session) -> None:
    """Stop every torrent of a session; its threads end when the last reference goes.

    Left to the interpreter's exit, the destructor can run after the modules it calls are gone.
    """
    session.pause()
    for handle in session.get_torrents():
        session.remove_torrent(handle)


def _proxy_pack(url: str) -> lt.settings_pack:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in _PROXY_SCHEMES or not parts.hostname or not port:
        raise UsageError(
            f"proxy {parts.scheme}://{parts.hostname or ''} does not do for a torrent;"
            " expected socks5://host:port or http://host:port"
        )
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
            "proxy_port": port,
            "proxy_username": parts.username or "",
            "proxy_password": parts.password or "",
            "proxy_peer_connections": True,
            "proxy_tracker_connections": True,
            "proxy_hostnames": True,
        },
    )
