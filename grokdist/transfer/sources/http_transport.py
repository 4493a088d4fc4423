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
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import grokdist
from grokdist.errors import SourceError
from grokdist.transfer.sources.http_direct import DirectConnections
from grokdist.transfer.sources.http_hosts import SHARED, HostSlots
from grokdist.transfer.sources.http_proxies import Proxies
from grokdist.transfer.sources.http_wire import HttpError, split_url
from grokdist.transfer.stop import Stop

if TYPE_CHECKING:
    from grokdist.transfer.sources.http_pools import Pools

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


class HttpResponse(Protocol):
    """An answer whose body is read as it comes; used by one thread, but for ``shutdown``."""

    status: int
    headers: Mapping[str, str]

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes of the body; 0 at its end, or at the connection's.

        Raises:
            HttpError: the body is not framed as HTTP has it.
            OSError: the connection broke, or nothing came in time.
        """

    def finish(self) -> None:
        """Keep the connection for the next request where the body was read to its end."""

    def close(self) -> None:
        """Close the connection, unless it was given back."""

    def shutdown(self) -> None:
        """Wake the thread that reads; it finds the connection at its end."""


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

    response: HttpResponse
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
        self._connections = connections
        self._proxies = Proxies()
        self._direct = DirectConnections(
            connections,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
        )
        self._lock = threading.Lock()
        self._pools: Pools | None = None

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
        """Close all connections that are not in use."""
        self._direct.close()
        if self._pools is not None:
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

    def _send(self, url: str, headers: Mapping[str, str], stop: Stop) -> HttpResponse:
        try:
            if self._proxies.of(url):
                return self._through_proxy(url, headers, stop)
            return self._direct.ask(url, headers, stop)
        except HttpError as error:
            reason = f"{without_secrets(url)}: {error.reason}"
            raise self._error(reason, permanent=error.permanent) from None

    def _through_proxy(self, url: str, headers: Mapping[str, str], stop: Stop) -> HttpResponse:
        # Most have none, and need not wait for what speaks to one to be imported.
        from grokdist.transfer.sources import http_pools

        with self._lock:
            if self._pools is None:
                self._pools = http_pools.Pools(self._name, self._connections)
        return http_pools.through_proxy(self._pools, url, headers, self._settings, stop)

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
        try:
            # As it will be asked for: a name may be spelt in letters that only look otherwise.
            _, (_, host, _) = split_url(there)
        except HttpError:
            raise self._error("redirected to what is not a URL", permanent=True) from None
        if _is_own(host) and not _is_own(old.hostname):
            raise self._error(
                f"redirected to an address of this machine or network, {host}", permanent=True
            )
        return there

    def _error(self, reason: str, *, permanent: bool) -> SourceError:
        return SourceError(reason, source=self._name, permanent=permanent)


def _finish(response: HttpResponse) -> None:
    """Read a small body so that the connection can be used again; drop a large one."""
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= _SMALL_BODY:
        view = memoryview(bytearray(int(length)))
        with contextlib.suppress(HttpError, OSError):
            while response.read_into(view):
                pass
            response.finish()
            return
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
