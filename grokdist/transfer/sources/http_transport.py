"""HTTP requests that are safe to send: bounded, proxied as asked, credentials kept at home.

Redirects are followed here and not by the library, because each hop is checked: only http and
https, never from https down to http, never from the open network to this machine's own
addresses, a bounded number of them, and no credentials to another origin. What the bytes mean is
left to ``http_stream``.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

import grokdist
from grokdist.errors import SourceError

USER_AGENT = f"grokdist/{grokdist.__version__}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_SMALL_BODY = 1 << 16
_Pool = urllib3.PoolManager


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings:
    """Bounds of HTTP requests.

    Attributes:
        connect_timeout: seconds to reach a server.
        read_timeout: seconds without a byte after which a connection is given up.
        redirects: hops that are followed.
        block: bytes read at once.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    redirects: int = 5
    block: int = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A final answer, its body not read yet.

    Attributes:
        response: the response.
        first: headers of the first hop's response.
        redirected: True where another URL than the one asked for answered.
    """

    response: BaseHTTPResponse
    first: Mapping[str, str]
    redirected: bool


def without_secrets(url: str) -> str:
    """The URL for messages: no user, no password, no query (signed URLs carry keys there)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


class HttpTransport:
    """Connections to the servers of one source, kept open and used from several threads.

    Args:
        name: the source's name, for errors.
        connections: connections kept open to each server.
        settings: bounds.
    """

    def __init__(self, name: str, connections: int, settings: HttpSettings) -> None:
        self._name = name
        self._connections = connections
        self._settings = settings
        self._proxies = urllib.request.getproxies()
        self._pools: dict[str, _Pool] = {}

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send a GET and follow redirects; the body is left to the caller to read and close.

        Raises:
            SourceError: no answer came, or a redirect is not one to follow.
        """
        first: Mapping[str, str] | None = None
        here = url
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        for _ in range(self._settings.redirects + 1):
            response = self._send(here, sent)
            if first is None:
                first = response.headers
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return Answer(response=response, first=first, redirected=here != url)
            _finish(response)
            there = urljoin(here, target)
            self._check_hop(here, there)
            if _origin(urlsplit(there)) != _origin(urlsplit(here)):
                sent = {
                    key: value for key, value in sent.items() if key.lower() not in _SECRET_HEADERS
                }
            here = there
        raise self._error(f"more than {self._settings.redirects} redirects", permanent=True)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _send(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        settings = self._settings
        timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        try:
            return self._pool(url).request(
                "GET",
                url,
                headers=dict(headers),
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )
        except (HTTPError, ValueError) as error:
            # urllib3's own text may hold the URL with its query; the type says enough.
            reason = f"{without_secrets(url)}: {_spoken(error)}"
            raise self._error(reason, permanent=isinstance(error, ValueError)) from None

    def _pool(self, url: str) -> _Pool:
        """The pool for a URL: direct, or through the proxy that the environment names."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy and parts.hostname and urllib.request.proxy_bypass(parts.hostname):
            proxy = None
        key = proxy or ""
        if key not in self._pools:
            self._pools[key] = self._make_pool(proxy)
        return self._pools[key]

    def _make_pool(self, proxy: str | None) -> _Pool:
        if proxy is None:
            return urllib3.PoolManager(num_pools=16, maxsize=self._connections)
        if proxy.startswith("socks"):
            try:
                from urllib3.contrib.socks import SOCKSProxyManager
            except ImportError:
                raise self._error(
                    "the environment names a SOCKS proxy, but PySocks is not installed",
                    permanent=True,
                ) from None
            return SOCKSProxyManager(proxy, num_pools=16, maxsize=self._connections)
        return urllib3.ProxyManager(
            proxy if "://" in proxy else f"http://{proxy}",
            num_pools=16,
            maxsize=self._connections,
        )

    def _check_hop(self, here: str, there: str) -> None:
        old, new = urlsplit(here), urlsplit(there)
        if new.scheme not in ("http", "https"):
            raise self._error(f"redirected to {new.scheme}:, expected https", permanent=True)
        if old.scheme == "https" and new.scheme == "http":
            raise self._error(f"redirected from https to {without_secrets(there)}", permanent=True)
        if _is_own(new.hostname) and not _is_own(old.hostname):
            raise self._error(
                f"redirected to an address of this machine or network, {new.hostname}",
                permanent=True,
            )

    def _error(self, reason: str, *, permanent: bool) -> SourceError:
        return SourceError(reason, source=self._name, permanent=permanent)


def _finish(response: BaseHTTPResponse) -> None:
    """Read a small body so that the connection can be used again; drop a large one."""
    length = response.headers.get("Content-Length", "")
    try:
        if length.isascii() and length.isdigit() and int(length) <= _SMALL_BODY:
            response.read(_SMALL_BODY, decode_content=False)
            response.release_conn()
            return
    except HTTPError:
        pass
    response.close()


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def _is_own(host: str | None) -> bool:
    """True for this machine and its private networks, as far as the name itself shows it."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_link_local


def _spoken(error: Exception) -> str:
    """What went wrong, in words that hold neither addresses in memory nor URLs."""
    kind = type(error).__name__
    return {
        "NewConnectionError": "connection refused or host unreachable",
        "NameResolutionError": "the host name cannot be resolved",
        "ConnectTimeoutError": "no connection in time",
        "ReadTimeoutError": "no answer in time",
        "ProtocolError": "the connection broke",
        "SSLError": "the TLS certificate or handshake is not valid",
        "ProxyError": "the proxy cannot be reached",
        "LocationParseError": "the URL is not valid",
    }.get(kind, kind)
