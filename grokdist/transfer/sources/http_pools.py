"""Requests through the proxy of the environment, and the few that need more than a GET.

SOCKS proxies come through PySocks. Every connection can be woken out of a handshake, a tunnel or
the wait for headers, where a server that sends a byte now and then would hold it for hours.

A server may close a connection that it kept open at any moment, also while the next request is on
its way to it. That is nobody's fault: such a request is sent once more, on a new connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from grokdist.errors import SourceError
from grokdist.transfer.sources.http_proxies import Proxies
from grokdist.transfer.sources.http_wire import NOT_HTTP, HttpError
from grokdist.transfer.stop import Stop

if TYPE_CHECKING:
    from grokdist.transfer.sources.http_transport import HttpSettings

_DROPPED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How it shows that the other side closed a connection: ``http.client`` raises the first where
the answer has no byte, TLS the others."""


@dataclass(kw_only=True, slots=True)
class _Request:
    """The request that a thread sends, for the connection that carries it.

    Attributes:
        stop: ends what the connection waits for.
        fresh: True where no kept connection may carry it.
        dropped: set by a kept connection that broke before an answer began.
    """

    stop: Stop
    fresh: bool
    dropped: bool = False


class _OfThread(threading.local):
    request: _Request | None = None


_of_thread = _OfThread()


class Pools:
    """The pools of one source, made as they are needed; used from several threads.

    Args:
        name: the source's name, for errors.
        connections: connections kept open to each server.
    """

    def __init__(self, name: str, connections: int) -> None:
        self._name = name
        self._connections = connections
        self._proxies = Proxies()
        self._lock = threading.Lock()
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str) -> urllib3.PoolManager:
        """The pools for a URL.

        Raises:
            SourceError: the environment names a proxy that cannot be used.
        """
        proxy = self._proxies.of(url)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._make(proxy)
            return self._pools[proxy]

    def ask(
        self, url: str, headers: Mapping[str, str], timeout: urllib3.Timeout, stop: Stop
    ) -> BaseHTTPResponse:
        """Send a GET; redirects are not followed, and the body is left to read and to close.

        Args:
            url: where.
            headers: what to send.
            timeout: seconds to connect, and between two bytes.
            stop: ends the waiting for a connection or an answer.

        Raises:
            SourceError: the environment names a proxy that cannot be used.
            HTTPError, OSError, ValueError: no answer came, or none that is HTTP.
        """
        request = _Request(stop=stop, fresh=False)
        try:
            return self._send(request, url, headers, timeout)
        except (HTTPError, OSError):
            if not request.dropped or stop.is_set():
                raise
        # RFC 9110, 9.2.2, and RFC 9112, 9.3.1, allow it for methods that change nothing.
        return self._send(_Request(stop=stop, fresh=True), url, headers, timeout)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _send(
        self, request: _Request, url: str, headers: Mapping[str, str], timeout: urllib3.Timeout
    ) -> BaseHTTPResponse:
        pool = self.get(url)
        _of_thread.request = request
        try:
            return pool.request(
                "GET",
                url,
                headers=dict(headers),
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )
        finally:
            _of_thread.request = None

    def _make(self, proxy: str) -> urllib3.PoolManager:
        sizes = {"num_pools": 16, "maxsize": self._connections}
        try:
            manager = _manager(proxy, sizes)
        except (urllib3.exceptions.HTTPError, ValueError, ImportError) as error:
            # The proxy's own text may hold a password.
            raise SourceError(
                f"the proxy that the environment names cannot be used ({type(error).__name__});"
                " expected http://, https://, socks5:// or socks5h://HOST:PORT",
                source=self._name,
                permanent=True,
            ) from None
        manager.pool_classes_by_scheme = {
            scheme: _wakeable(kind) for scheme, kind in manager.pool_classes_by_scheme.items()
        }
        return manager


def through_proxy(
    pools: Pools, url: str, headers: Mapping[str, str], settings: HttpSettings, stop: Stop
) -> PooledResponse:
    """Send a GET by ``pools``, and word what goes wrong as for a direct one.

    Raises:
        SourceError: the environment names a proxy that cannot be used.
        HttpError: no answer came, or none that is HTTP.
    """
    timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
    try:
        return PooledResponse(pools.ask(url, headers, timeout, stop))
    except (HTTPError, OSError, ValueError) as error:
        # urllib3's own text may hold the URL with its query; the type says enough.
        raise HttpError(spoken(error), permanent=isinstance(error, ValueError)) from None


class PooledResponse:
    """An answer that came through a pool, read as one that came directly is.

    Attributes:
        status: its status.
        headers: its headers.
    """

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes of the body; 0 at its end.

        Raises:
            HttpError: the body is not framed as HTTP has it, the connection broke, or nothing
                came in time.
        """
        try:
            data = self._raw.read1(len(view), decode_content=False)
        except (HTTPError, ValueError) as error:
            raise HttpError(spoken(error)) from None
        view[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Keep the connection for the next request where the body was read to its end."""
        # To see the end of chunks would be to wait for it.
        if "Content-Length" in self.headers and "Transfer-Encoding" not in self.headers:
            with contextlib.suppress(HTTPError, OSError, ValueError):
                if not self._raw.read1(1, decode_content=False):
                    self._raw.release_conn()
                    return
        self._raw.close()

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        self._raw.close()

    def shutdown(self) -> None:
        """Wake the thread that reads; it finds the connection at its end."""
        self._raw.shutdown()


def spoken(error: Exception) -> str:
    """What went wrong, in words that hold neither addresses in memory nor URLs."""
    kind = type(error).__name__
    return {
        "NewConnectionError": "connection refused or host unreachable",
        "NameResolutionError": "the host name cannot be resolved",
        "ConnectTimeoutError": "no connection in time",
        "ReadTimeoutError": "no answer in time",
        "ProtocolError": NOT_HTTP,
        "SSLError": "the TLS certificate or handshake is not valid",
        "ProxyError": "the proxy cannot be reached, or refuses",
        "LocationParseError": "the URL is not valid",
        "InvalidHeader": "the answer contradicts itself",
    }.get(kind, kind)


def proxy_fault(proxy: str) -> str:
    """Why a proxy's URL cannot be used, without what may be secret in it; empty where it can."""
    try:
        _manager(proxy, {"num_pools": 1})
        if urlsplit(proxy if "://" in proxy else f"http://{proxy}").port == 0:
            return "its port is 0"
    except ImportError:
        return "PySocks is not installed"
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        return (
            f"it is no proxy's URL ({type(error).__name__}); expected http://, https://, socks5://"
            " or socks5h://HOST:PORT"
        )
    return ""


def _manager(proxy: str, sizes: dict[str, Any]) -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(**sizes)
    scheme, found, rest = proxy.partition("://")
    if not found:
        scheme, rest = "http", proxy
    parts = urlsplit(f"{scheme}://{rest}")
    if not parts.hostname:
        raise ValueError("no host")
    if scheme.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager

        scheme = "socks5" if scheme == "socks" else scheme
        return SOCKSProxyManager(f"{scheme}://{rest}", **sizes)
    headers = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    return urllib3.ProxyManager(f"{scheme}://{rest}", proxy_headers=headers, **sizes)


class _Wakeable:
    """What a connection does while others wait for it, with the thread's request at hand."""

    sock: socket.socket | None
    _kept = False
    """True once it carried an answer."""

    @property
    def is_connected(self) -> bool:
        """False makes the pool connect anew before the next request."""
        request = _of_thread.request
        if request is not None and request.fresh:
            return False
        return bool(super().is_connected)  # type: ignore[misc]

    def connect(self) -> None:
        """Connect, with the handshakes of tunnel and TLS."""
        self._kept = False
        with self._woken():
            super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **options: Any) -> None:
        """Send the request."""
        with self._noticing():
            super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        """Read the status line and the headers."""
        with self._noticing(), self._woken():
            response = super().getresponse()  # type: ignore[misc]
        self._kept = True
        return response

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        """Tell the request where it was sent to a connection that was kept for too long."""
        try:
            yield
        except _DROPPED:
            if self._kept and _of_thread.request is not None:
                _of_thread.request.dropped = True
            raise

    def _woken(self) -> contextlib.AbstractContextManager[None]:
        request = _of_thread.request
        return contextlib.nullcontext() if request is None else request.stop.waking(self._shut)

    def _shut(self) -> None:
        if self.sock is not None:
            self.sock.shutdown(socket.SHUT_RDWR)


def _wakeable(kind: Any) -> Any:
    """The pool class whose connections are wakeable."""
    connection = type("WakeableConnection", (_Wakeable, kind.ConnectionCls), {})
    return type("WakeablePool", (kind,), {"ConnectionCls": connection})
