"""HTTP requests that are safe to send: bounded, proxied as asked, credentials kept at home.

Redirects are followed here and not by the library, because each hop is checked: only http and
https, never from https down to http, never from the open network to this machine's own
addresses, a bounded number of them, and no credentials to another origin. What the bytes mean is
left to ``http_stream``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

import grokdist
from grokdist.errors import SourceError
from grokdist.transfer.sources.http_hosts import SHARED, HostSlots
from grokdist.transfer.sources.http_pools import Pools
from grokdist.transfer.stop import Stop

USER_AGENT = f"grokdist/{grokdist.__version__}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_SMALL_BODY = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings:
    """Bounds of HTTP requests.

    Attributes:
        connect_timeout: seconds to reach a server.
        read_timeout: seconds without a byte after which a connection is given up.
        redirects: hops that are followed.
        block: bytes read at once, at most.
        host_connections: connections in use at once to one host, all sources of this process
            together.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    redirects: int = 5
    block: int = 1 << 20
    host_connections: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A final answer, its body not read yet; it holds a slot of its host until it is let go.

    Attributes:
        response: the response.
        first: headers of the first hop's response.
        redirected: True where another URL than the one asked for answered.
        url: the URL that answered.
        sent: the headers that were sent to it.
        let_go: gives the slot back.
    """

    response: BaseHTTPResponse
    first: Mapping[str, str]
    redirected: bool
    url: str
    sent: Mapping[str, str]
    let_go: Callable[[], object]


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
        hosts: slots of the hosts; by default those of this process.
    """

    def __init__(
        self,
        name: str,
        connections: int,
        settings: HttpSettings,
        *,
        hosts: HostSlots = SHARED,
    ) -> None:
        self._name = name
        self._settings = settings
        self._hosts = hosts
        self._pools = Pools(name, connections)

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        stop: Stop,
        alive: Callable[[], object] = lambda: None,
    ) -> Answer | None:
        """Send a GET and follow redirects; the body is left to the caller to read and close.

        Args:
            url: where.
            headers: what to send besides our own headers.
            stop: ends the waiting for a slot, a connection or an answer.
            alive: called while waiting in line for a slot of the host.

        Returns:
            the answer; None once ``stop`` is set.

        Raises:
            SourceError: no answer came, or a redirect is not one to follow.
        """
        first: Mapping[str, str] | None = None
        here = url
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        for _ in range(self._settings.redirects + 1):
            answer = None if stop.is_set() else self._hop(here, sent, stop, alive)
            if answer is None:
                return None
            response = answer.response
            if first is None:
                first = response.headers
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return Answer(
                    response=response,
                    first=first,
                    redirected=here != url,
                    url=here,
                    sent=sent,
                    let_go=answer.let_go,
                )
            try:
                with stop.waking(response.shutdown):
                    _finish(response)
            finally:
                answer.let_go()
            there = self._target(here, target)
            if _origin(urlsplit(there)) != _origin(urlsplit(here)):
                sent = {
                    key: value for key, value in sent.items() if key.lower() not in _SECRET_HEADERS
                }
            here = there
        raise self._error(f"more than {self._settings.redirects} redirects", permanent=True)

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()

    def _hop(
        self, url: str, headers: Mapping[str, str], stop: Stop, alive: Callable[[], object]
    ) -> Answer | None:
        """One request, with a slot of its host; None once ``stop`` is set."""
        host = (urlsplit(url).hostname or "").rstrip(".")
        if not self._hosts.take(host, self._settings.host_connections, stop, alive):
            return None
        try:
            response = self._send(url, headers, stop)
        except BaseException as error:
            self._hosts.give(host)
            if stop.is_set() and isinstance(error, SourceError):
                return None
            raise
        return Answer(
            response=response,
            first=response.headers,
            redirected=False,
            url=url,
            sent=headers,
            let_go=lambda: self._hosts.give(host),
        )

    def _send(self, url: str, headers: Mapping[str, str], stop: Stop) -> BaseHTTPResponse:
        settings = self._settings
        timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        try:
            return self._pools.ask(url, headers, timeout, stop)
        except (HTTPError, OSError, ValueError) as error:
            # urllib3's own text may hold the URL with its query; the type says enough.
            reason = f"{without_secrets(url)}: {spoken(error)}"
            raise self._error(reason, permanent=isinstance(error, ValueError)) from None

    def _target(self, here: str, location: str) -> str:
        """Where a redirect leads, if it may be followed."""
        try:
            there = urljoin(here, location)
            old, new = urlsplit(here), urlsplit(there)
            _ = new.port
        except ValueError:
            raise self._error("redirected to what is not a URL", permanent=True) from None
        if new.scheme not in ("http", "https"):
            raise self._error(f"redirected to {new.scheme[:20]}:, expected https", permanent=True)
        if old.scheme == "https" and new.scheme == "http":
            raise self._error(f"redirected from https to {without_secrets(there)}", permanent=True)
        if _is_own(new.hostname) and not _is_own(old.hostname):
            raise self._error(
                f"redirected to an address of this machine or network, {new.hostname}",
                permanent=True,
            )
        return there

    def _error(self, reason: str, *, permanent: bool) -> SourceError:
        return SourceError(reason, source=self._name, permanent=permanent)


def _finish(response: BaseHTTPResponse) -> None:
    """Read a small body so that the connection can be used again; drop a large one."""
    length = response.headers.get("Content-Length", "")
    try:
        if length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= _SMALL_BODY:
            response.read(_SMALL_BODY, decode_content=False)
            response.release_conn()
            return
    except (HTTPError, OSError):
        pass
    response.close()


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def _is_own(host: str | None) -> bool:
    """True for this machine and its private networks, as far as the name itself shows it."""
    name = (host or "").rstrip(".").partition("%")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(name)
    if address is None:
        # Resolvers also take 127.1, 0x7f000001 and 2130706433 for addresses.
        with contextlib.suppress(OSError, UnicodeError):
            address = ipaddress.IPv4Address(socket.inet_aton(name))
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address is not None and not address.is_global


def spoken(error: Exception) -> str:
    """What went wrong, in words that hold neither addresses in memory nor URLs."""
    kind = type(error).__name__
    return {
        "NewConnectionError": "connection refused or host unreachable",
        "NameResolutionError": "the host name cannot be resolved",
        "ConnectTimeoutError": "no connection in time",
        "ReadTimeoutError": "no answer in time",
        "ProtocolError": "the connection broke, or the answer is not HTTP",
        "SSLError": "the TLS certificate or handshake is not valid",
        "ProxyError": "the proxy cannot be reached, or refuses",
        "LocationParseError": "the URL is not valid",
        "InvalidHeader": "the answer contradicts itself",
    }.get(kind, kind)
