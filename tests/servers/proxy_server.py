"""Real proxies on loopback: HTTP with CONNECT, and SOCKS5 with and without a login.

They send everything to one server, whatever name was asked for, and note what they were asked:
so that a test sees which names a client resolved itself and which it left to the proxy.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import re
import socket
import struct
import threading
from types import TracebackType
from typing import BinaryIO, Self


class ProxyServer:
    """A proxy in front of one server; use it in a ``with``.

    Args:
        target: port of the server on 127.0.0.1 that all connections lead to.
        login: ``user:password`` that is asked for; None for no login.
    """

    def __init__(self, target: int, login: str | None = None) -> None:
        self.asked: list[str] = []
        """What was asked for: request lines, or SOCKS addresses as ``host:port``."""
        self._target, self._login = target, login
        self._over = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            with client, client.makefile("rwb", buffering=0) as stream:
                self.speak(client, stream)  # type: ignore[arg-type]
        except (OSError, ValueError, struct.error):
            pass  # a client that hung up or spoke something else
        finally:
            self._open.discard(client)

    def speak(self, client: socket.socket, stream: BinaryIO) -> None:
        """The protocol; ends when the connection does."""
        raise TypeError("one of the two below")

    def relay(self, client: socket.socket, first: bytes = b"") -> None:
        """Carry bytes both ways until both sides have ended."""
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            self._open.add(server)
            server.sendall(first)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join(30)
            self._open.discard(server)


class HttpProxy(ProxyServer):
    """Forwards plain requests and opens tunnels."""

    def speak(self, client: socket.socket, stream: BinaryIO) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.read(1)
            if not byte:
                return
            head += byte
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        self.asked.append(line)
        if self._login is not None:
            wanted = base64.b64encode(self._login.encode()).decode()
            if f"proxy-authorization: basic {wanted}".lower() not in head.decode().lower():
                stream.write(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n")
                return
        if line.startswith("CONNECT "):
            stream.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            self.relay(client)
        else:
            self.relay(client, re.sub(rb"(?i)proxy-authorization:[^\r]*\r\n", b"", head))


class SocksProxy(ProxyServer):
    """SOCKS5 (RFC 1928), with the login of RFC 1929."""

    def speak(self, client: socket.socket, stream: BinaryIO) -> None:
        version, count = stream.read(2)
        methods = stream.read(count)
        method = 0 if self._login is None else 2
        if version != 5 or method not in methods:
            stream.write(b"\x05\xff")
            return
        stream.write(bytes([5, method]))
        if self._login is not None:
            stream.read(1)
            user = stream.read(stream.read(1)[0]).decode()
            password = stream.read(stream.read(1)[0]).decode()
            right = f"{user}:{password}" == self._login
            stream.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return
        kind = stream.read(4)[3]
        if kind == 3:
            host = stream.read(stream.read(1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(stream.read(4 if kind == 1 else 16)))
        (port,) = struct.unpack(">H", stream.read(2))
        self.asked.append(f"{host}:{port}")
        stream.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        self.relay(client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
