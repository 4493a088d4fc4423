"""Which proxy of the environment stands between this machine and a URL.

``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read as curl reads them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import urllib.request
from urllib.parse import urlsplit


class Proxies:
    """The proxies that the environment names at this moment."""

    def __init__(self) -> None:
        self._by_scheme = urllib.request.getproxies()

    def of(self, url: str) -> str:
        """The proxy for a URL; empty for none."""
        if not self._by_scheme:
            return ""
        parts = urlsplit(url)
        proxy = self._by_scheme.get(parts.scheme) or self._by_scheme.get("all") or ""
        if proxy and parts.hostname and _bypassed(parts.hostname, parts.port):
            return ""
        return proxy


def _bypassed(host: str, port: int | None) -> bool:
    """True where ``NO_PROXY`` names the host: itself, its domain, or its network."""
    shown = f"[{host}]" if ":" in host else host
    if any(map(urllib.request.proxy_bypass, (host, shown, f"{shown}:{port or ''}"))):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for each in named.split(","):
        with contextlib.suppress(ValueError):
            if "/" in each and address in ipaddress.ip_network(each.strip(), strict=False):
                return True
    return False
