"""Connections to servers that are reached without a proxy, kept open from one GET to the next.

A model of thousands of small files is thousands of requests: what each costs is what their fetch
costs, and a general client spends four times as long on one as is needed. So the download's own
requests are spoken here. ``benchmarks/http_reader.py`` compares the ways.

A server may close a connection that it kept open at any moment, also while the next request is on
its way to it. That is nobody's fault: such a request is sent once more, on a new connection.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Mapping

from grokdist.transfer.sources.http_connection import Connection, DroppedError, shut
from grokdist.transfer.sources.http_wire import (
    NOT_HTTP,
    Head,
    HttpError,
    Server,
    chunk_size,
    get_request,
    split_url,
)
from grokdist.transfer.stop import Stop


class DirectConnections:
    """The connections of one source, made as they are needed; used from several threads.

    Args:
        most: connections kept open to each server while no request uses them.
        connect_timeout: seconds to reach a server.
        read_timeout: seconds without a byte after which a connection is given up.
    """

    def __init__(self, most: int, *, connect_timeout: float, read_timeout: float) -> None:
        self._most = most
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._lock = threading.Lock()
        self._idle: dict[Server, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    def ask(self, url: str, headers: Mapping[str, str], stop: Stop) -> DirectResponse:
        """Send a GET; redirects are not followed, and the body is left to read and to close.

        Raises:
            HttpError: no answer came, or none that is HTTP.
        """
        parts, server = split_url(url)
        request = get_request(parts, server, headers)
        kept = self._take(server)
        if kept is not None:
            with contextlib.suppress(DroppedError):
                return self._send(kept, request, server, stop)
            if stop.is_set():
                raise HttpError(NOT_HTTP)
        # RFC 9110, 9.2.2, and RFC 9112, 9.3.1, allow it for methods that change nothing.
        return self._send(self._connect(server, stop), request, server, stop)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            # What is still in use is closed by whoever uses it.
            self._most = 0
            idle, self._idle = self._idle, {}
        for each in idle.values():
            for connection in each:
                connection.close()

    def keep(self, server: Server, connection: Connection) -> None:
        """Take back a connection on which nothing is to come."""
        with self._lock:
            idle = self._idle.setdefault(server, [])
            if len(idle) < self._most:
                idle.append(connection)
                return
        connection.close()

    def _take(self, server: Server) -> Connection | None:
        """A kept connection to a server that is not seen to be closed, or to have more to say."""
        while True:
            with self._lock:
                idle = self._idle.get(server)
                if not idle:
                    return None
                connection = idle.pop()
            if connection.quiet():
                return connection
            connection.close()

    def _send(
        self, connection: Connection, request: bytes, server: Server, stop: Stop
    ) -> DirectResponse:
        try:
            head = connection.ask(request, stop)
        except BaseException:
            connection.close()
            raise
        return DirectResponse(head, connection, server, self)

    def _connect(self, server: Server, stop: Stop) -> Connection:
        scheme, host, port = server
        try:
            plain = socket.create_connection((host, port), self._connect_timeout)
        except socket.gaierror:
            raise HttpError("the host name cannot be resolved") from None
        except TimeoutError:
            raise HttpError("no connection in time") from None
        except OSError:
            raise HttpError("connection refused or host unreachable") from None
        wire = plain
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https":
                wire = self._secured(plain, host, stop)
            return Connection(wire, self._read_timeout)
        except OSError:
            # Broken already.
            wire.close()
            raise HttpError(NOT_HTTP) from None

    def _secured(self, plain: socket.socket, host: str, stop: Stop) -> ssl.SSLSocket:
        """TLS over a connection, its certificate checked."""
        wire: ssl.SSLSocket | None = None
        try:
            with self._lock:
                if self._tls is None:
                    self._tls = ssl.create_default_context()
                    self._tls.set_alpn_protocols(["http/1.1"])
            name = host.partition("%")[0].rstrip(".")
            wire = self._tls.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            with stop.waking(functools.partial(shut, wire)):
                wire.do_handshake()
        except BaseException as error:
            (wire or plain).close()
            if isinstance(error, TimeoutError):
                raise HttpError("no connection in time") from None
            if isinstance(error, ConnectionError):
                raise HttpError(NOT_HTTP) from None
            if isinstance(error, OSError | ValueError):
                raise HttpError("the TLS certificate or handshake is not valid") from None
            raise
        return wire


class DirectResponse:
    """An answer, its body not read yet; used by one thread, but for ``shutdown``.

    Attributes:
        status: its status.
        headers: its headers.
    """

    def __init__(
        self, head: Head, connection: Connection, server: Server, connections: DirectConnections
    ) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._head = head
        self._left = head.length
        self._ended = head.length == 0
        self._connection: Connection | None = connection
        self._server = server
        self._connections = connections

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes of the body: all that ``view`` holds, or what came in a moment.

        Returns:
            number of bytes; 0 at the end of the body or the connection.

        Raises:
            HttpError: the body is not framed as HTTP has it.
            OSError: the connection broke, or nothing came in time.
        """
        connection = self._connection
        if self._ended or connection is None or not view:
            return 0
        if self._head.chunked and not self._left:
            self._left = self._next_chunk(connection, begun=self._left is not None)
            if self._ended:
                return 0
        if self._left is not None:
            view = view[: self._left]
        count = connection.receive(view)
        if self._left is not None:
            self._left -= count
        self._ended = not count or (self._left == 0 and not self._head.chunked)
        return count

    def finish(self) -> None:
        """Keep the connection for the next request where the body was read to its end.

        What came behind the end would be taken for the next answer: such a connection is closed.
        """
        connection = self._connection
        if connection is None:
            return
        whole = self._left == 0 and not self._head.chunked
        if whole and self._head.keeps and connection.drained:
            self._connection = None
            self._connections.keep(self._server, connection)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def shutdown(self) -> None:
        """Wake the thread that reads; it finds the connection at its end."""
        if (connection := self._connection) is not None:
            connection.shutdown()

    def _next_chunk(self, connection: Connection, *, begun: bool) -> int:
        """Bytes of the next chunk; 0, with ``_ended`` set, behind the last one."""
        if begun and connection.line():
            raise HttpError(NOT_HTTP)
        size = chunk_size(connection.line())
        if not size:
            self._ended = True
        return size
