"""Serves this machine's part of a share to the other members.

A small HTTP/1.1 server of two documents: the status, and byte ranges of files by their SHA-256.
There is nothing else to ask for: no listing, no paths, no way to write. Every request is bounded
in size and time, and so is the number of connections, of one address and of all together. Unless
the user named an address to listen on, only addresses of private networks are answered.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from grokdist.errors import StoreError
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.settings import PORT, ShareSettings
from grokdist.transfer.share.shelf import Shelf
from grokdist.transfer.share.status import Address

MEMBER_HEADER = "grokdist-member"
_MOST_HEAD = 8192
_HEAD_S = 10.0
_KEEP_S = 60.0
_SEND_S = 20.0
_SLOWEST = 64 << 10
_BLOCK = 4 << 20
_LONGEST_WAIT = 30.0
_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")
_MEMBER = re.compile(r"([0-9a-f]{32}) (\d{1,5})")
_REASONS = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class _RefusedError(Exception):
    """A request that is answered with a status alone."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(kw_only=True, slots=True)
class Served:
    """What the server has done.

    Attributes:
        bytes: payload bytes sent.
        uploads: requests for bytes being served.
        asked: monotonic time of the last request for bytes.
    """

    bytes: int = 0
    uploads: int = 0
    asked: float = field(default_factory=time.monotonic)


class ShareServer:
    """The server of one share; it runs from ``start`` to ``close``.

    Args:
        content: the files of the share.
        shelf: what can be given of them.
        describe: makes the status document from (cursor, seconds to wait, address that asks).
        greet: told of the id and address of a member that asked.
        settings: bounds, the address to listen on, and the key.

    Raises:
        StoreError: the address cannot be listened on.
    """

    def __init__(
        self,
        content: Content,
        shelf: Shelf,
        *,
        describe: Callable[[int, float, str], bytes],
        greet: Callable[[str, Address], None],
        settings: ShareSettings,
    ) -> None:
        self._content = content
        self._shelf = shelf
        self._describe = describe
        self._greet = greet
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[socket.socket, str] = {}
        self._from: Counter[str] = Counter()
        self._closing = threading.Event()
        self.served = Served()
        self._socket = _listen(settings)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="grokdist-share", daemon=True)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        with self._lock:
            return len(self._open)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop, ending all connections."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError:
                if self._closing.wait(0.05):
                    return
                continue
            host = plain_host(address[0])
            with self._lock:
                settings = self._settings
                full = (
                    len(self._open) >= settings.connections
                    or self._from[host] >= settings.per_address
                )
                if not full and self._admits(host):
                    self._open[connection] = host
                    self._from[host] += 1
                    threading.Thread(
                        target=self._talk, args=(connection, host), daemon=True
                    ).start()
                    continue
            _turn_away(connection, 503 if full else 403)

    def _admits(self, host: str) -> bool:
        return self._settings.bind is not None or is_near(host)

    def _talk(self, connection: socket.socket, host: str) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            while not self._closing.is_set():
                head, rest = _read_head(connection, rest)
                if head is None:
                    return
                try:
                    self._answer(connection, _parse(head), host)
                except _RefusedError as refused:
                    _send_head(connection, refused.status, 0)
                    # What follows a request that was not understood is not understood either.
                    if refused.status in (400, 405, 431):
                        return
        except (OSError, ValueError):
            return
        finally:
            with self._lock:
                del self._open[connection]
                self._from[host] -= 1
            connection.close()

    def _answer(self, connection: socket.socket, request: _Request, host: str) -> None:
        prefix, _, name = request.path.rpartition("/")
        ranged = request.headers.get("range", "")
        key = self._settings.key
        if key is not None:
            target = f"{request.path}?{request.query}" if request.query else request.path
            if not key.admits(request.headers.get("authorization", ""), target, ranged):
                raise _RefusedError(401)
        if prefix != f"/grokdist/1/{self._content.share_id}":
            raise _RefusedError(404)
        match = _MEMBER.fullmatch(request.headers.get(MEMBER_HEADER, ""))
        if match is not None and 0 < int(match[2]) < 65536:
            self._greet(match[1], (host, int(match[2])))
        if name == "status":
            query = dict(parse_qsl(request.query, max_num_fields=4))
            since, wait = query.get("since", "0"), query.get("wait", "0")
            if not (since.isdecimal() and wait.isdecimal() and len(since) < 19 and len(wait) < 6):
                raise _RefusedError(400)
            body = self._describe(int(since), min(int(wait) / 1000, _LONGEST_WAIT), host)
            _send_head(connection, 200, len(body), "Content-Type: application/json\r\n")
            connection.sendall(body)
            return
        self._send_range(connection, name, ranged)

    def _send_range(self, connection: socket.socket, name: str, ranged: str) -> None:
        number = self._content.by_sha256.get(name)
        match = _RANGE.fullmatch(ranged)
        if number is None:
            raise _RefusedError(404)
        if match is None:
            raise _RefusedError(400)
        start, end = int(match[1]), int(match[2]) + 1
        size = self._content.files[number].size
        fd = self._shelf.open(number, start, end) if start < end <= size else None
        if fd is None:
            raise _RefusedError(416)
        with self._lock:
            self.served.asked = time.monotonic()
            self.served.uploads += 1
        try:
            _send_head(
                connection,
                206,
                end - start,
                f"Content-Range: bytes {start}-{end - 1}/{size}\r\n",
            )
            self._send_file(connection, fd, start, end)
        finally:
            os.close(fd)
            with self._lock:
                self.served.uploads -= 1
                self.served.asked = time.monotonic()

    def _send_file(self, connection: socket.socket, fd: int, start: int, end: int) -> None:
        """Send bytes from the page cache to the socket, at no less than a least rate."""
        deadline = time.monotonic() + _SEND_S + (end - start) / _SLOWEST
        connection.settimeout(_SEND_S)
        while start < end:
            try:
                sent = os.sendfile(connection.fileno(), fd, start, min(_BLOCK, end - start))
            except BlockingIOError:
                # A socket with a timeout does not block in the kernel.
                if not _writable(connection, _SEND_S):
                    raise TimeoutError from None
                continue
            if sent == 0 or time.monotonic() > deadline or self._closing.is_set():
                raise ConnectionError
            start += sent
            with self._lock:
                self.served.bytes += sent


def is_near(host: str) -> bool:
    """True for this machine and for addresses that the open network does not route."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def plain_host(host: str) -> str:
    """An address as ``accept`` gives it, without an IPv6 scope or the IPv4-in-IPv6 form."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _listen(settings: ShareSettings) -> socket.socket:
    """A listening socket: on the address that was named, or on all of IPv6 and IPv4."""
    if settings.port is None:
        with contextlib.suppress(OSError):
            return _listen_on(settings.bind, PORT)
    port = settings.port or 0
    try:
        return _listen_on(settings.bind, port)
    except (OSError, OverflowError) as error:
        raise StoreError(
            f"cannot listen on {settings.bind or 'any address'} port {port}: {error}",
            hint="choose another with --share-listen and --share-bind",
        ) from error


def _listen_on(host: str | None, port: int) -> socket.socket:
    if host is None and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128
            )
        except OSError as error:
            # IPv6 may be compiled in and yet be switched off.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    family = socket.AF_INET6 if ":" in (host or "") else socket.AF_INET
    return socket.create_server((host or "", port), family=family, backlog=128)


def _read_head(connection: socket.socket, rest: bytes) -> tuple[bytes | None, bytes]:
    """The head of the next request; None where the other side went away or took too long."""
    data = rest
    deadline = time.monotonic() + (_HEAD_S if data else _KEEP_S)
    while (place := data.find(b"\r\n\r\n")) < 0 and len(data) <= _MOST_HEAD:
        left = deadline - time.monotonic()
        if left <= 0:
            return None, b""
        connection.settimeout(left)
        more = connection.recv(4096)
        if not more:
            return None, b""
        if not data:
            # The first byte starts the clock for the rest of the head, however slow it drips.
            deadline = time.monotonic() + _HEAD_S
        data += more
    if not 0 <= place <= _MOST_HEAD:
        _turn_away(connection, 431)
        return None, b""
    return data[:place], data[place + 4 :]


def _parse(head: bytes) -> _Request:
    lines = head.decode("ascii", "replace").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _RefusedError(400)
    if words[0] != "GET":
        raise _RefusedError(405)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise _RefusedError(400)
        headers[name.lower()] = value.strip()
    if "content-length" in headers or "transfer-encoding" in headers:
        raise _RefusedError(400)
    path, _, query = words[1].partition("?")
    return _Request(path=path, query=query, headers=headers)


def _send_head(connection: socket.socket, status: int, length: int, more: str = "") -> None:
    connection.settimeout(_SEND_S)
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: {length}\r\n{more}\r\n"
    connection.sendall(head.encode())


def _turn_away(connection: socket.socket, status: int) -> None:
    """Answer with a status, as far as that goes without waiting, and hang up."""
    with contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: 0\r\n\r\n".encode()
        )
    connection.close()


def _writable(connection: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
