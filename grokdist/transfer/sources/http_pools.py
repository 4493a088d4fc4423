"""Requests over kept connections, direct ones and those through the proxy of the environment.

``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read as curl reads them; SOCKS
proxies come through PySocks. Every connection can be woken out of a handshake, a tunnel or the
wait for headers, where a server that sends a byte now and then would hold it for hours.

A server may close a connection that it kept open at any moment, also while the next request is on
its way to it. That is nobody's fault: such a request is sent once more, on a new connection.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from grokdist.errors import SourceError
from grokdist.transfer.stop import Stop

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
        self._proxies = urllib.request.getproxies()
        self._lock = threading.Lock()
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str) -> urllib3.PoolManager:
        """The pools for a URL.

        Raises:
            SourceError: the environment names a proxy that cannot be used.
        """
        proxy = self._proxy(url)
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

    def _proxy(self, url: str) -> str:
        """The proxy for a URL; empty for none."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all") or ""
        if proxy and parts.hostname and _bypassed(parts.hostname, parts.port):
            return ""
        return proxy

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
