"""How to take part in a swarm, in our own terms. Pure: libtorrent is not needed to say it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import SplitResult, urlsplit

from grokdist.errors import UsageError

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
        port: port to listen on; 0 for any free one, None for the usual one (on loopback: any).
            A taken one is answered by the next free.
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
    port: int | None = None
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
        if self.port is not None and not 0 <= self.port <= 65_535:
            raise UsageError(f"torrent port {self.port}; expected 0 to 65535")
        for rate in (self.max_rate, self.max_upload):
            if rate is not None and rate <= 0:
                raise UsageError(f"rate limit {rate}; expected bytes a second above 0")
        if self.proxy is not None:
            split_proxy(self.proxy)

    @classmethod
    def on_loopback(cls, *, max_rate: int | None = None, max_upload: int | None = None) -> Self:
        """Settings for a swarm inside this machine."""
        return cls(interface="127.0.0.1", port=0, max_rate=max_rate, max_upload=max_upload)

    @property
    def loopback(self) -> bool:
        """True where the swarm stays inside this machine; it then announces itself to no one."""
        return bool(self.interface) and ipaddress.ip_address(self.interface).is_loopback

    @property
    def udp(self) -> bool:
        """False where UDP (DHT, uTP, some trackers) would go past the proxy."""
        return self.proxy is None or self.loopback or self.proxy.startswith("socks5")


def proxy_of(environment: Mapping[str, str]) -> str | None:
    """The proxy for peers and trackers: ``all_proxy`` or ``ALL_PROXY``, unless ``NO_PROXY=*``."""
    for name in ("no_proxy", "NO_PROXY"):
        if environment.get(name, "").strip() == "*":
            return None
    url = environment.get("all_proxy") or environment.get("ALL_PROXY")
    return url.replace("socks://", "socks5://", 1) if url else None


def split_proxy(url: str) -> SplitResult:
    """The parts of a proxy's URL; it has a host and a port.

    Raises:
        UsageError: it is none that a torrent can go through.
    """
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
    return parts
