"""A server of which a test writes every byte: what a script yields is what a client gets.

A script is called for each request and yields bytes, or seconds to wait. ``honest`` serves files
as a good server does; the faults of the tests are scripts of their own. Connections are kept open
until a script ends with ``Hang up``.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: its target as it was sent, its headers by small names, and the range."""

    target: str
    path: str
    headers: Mapping[str, str]
    nth: int
    """How many requests for this path came before."""
    kept: int = 0
    """How many requests came over the same connection before."""

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First byte and the one behind the last."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else None


class HangUp(Exception):  # noqa: N818 - no error: what a script does
    """Raised by a script to end the connection; ``reset`` ends it without a goodbye."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


Script = Callable[[Asked], Iterator[bytes | float]]


def head(status: str = "200 OK", **headers: object) -> bytes:
    """A status line and headers; ``Content_Length=5`` becomes ``Content-Length: 5``."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def honest(files: Mapping[str, bytes], **extra: object) -> Script:
    """Serves files as a good server does, with ``extra`` headers."""

    def script(asked: Asked) -> Iterator[bytes | float]:
        data = files.get(asked.path)
        if data is None:
            yield head("404 Not Found", Content_Length=0)
            return
        wanted = asked.range
        if wanted is None:
            yield head(Content_Length=len(data), **extra)
            yield data
            return
        first, end = wanted[0], min(wanted[1] or len(data), len(data))
        if first >= end:
            yield head("416 Range Not Satisfiable", Content_Length=0)
            return
        whole = f"bytes {first}-{end - 1}/{len(data)}"
        yield head("206 Partial Content", Content_Length=end - first, Content_Range=whole, **extra)
        yield data[first:end]

    return script


@dataclass
class RawServer:
    """A running server; use it in a ``with``. ``script`` may be changed while it runs."""

    script: Script
    family: socket.AddressFamily = socket.AF_INET
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        host = "::1" if self.family is socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.create_server((host, 0), family=self.family, backlog=128)
        self.port = int(self._listener.getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if self.tls else 'http'}://{shown}:{self.port}/"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            still_open = list(self._open)
        for each in still_open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def ranges(self, path: str) -> list[tuple[int, int | None] | None]:
        """The ranges that were asked for of one file."""
        with self._lock:
            return [each.range for each in self.asked if each.path == path]

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        connection, reader = plain, None
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(connection)
            reader = connection.makefile("rb")
            kept = itertools.count()
            while (asked := self._read(reader, next(kept))) is not None:
                for each in self.script(asked):
                    if isinstance(each, bytes):
                        connection.sendall(each)
                    elif self._over.wait(each):
                        return
        except HangUp as end:
            if end.reset:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            pass  # the client hung up
        finally:
            with self._lock:
                self._open -= {plain, connection}
            if reader is not None:
                with contextlib.suppress(OSError):
                    reader.close()
            connection.close()

    def _read(self, reader: BinaryIO, kept: int) -> Asked | None:
        line = reader.readline(1 << 16).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers: dict[str, str] = {}
        while (row := reader.readline(1 << 16)) not in (b"\r\n", b""):
            name, _, value = row.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        path = re.sub(r"^https?://[^/]*", "", line[1]).partition("?")[0].lstrip("/")
        with self._lock:
            nth = sum(each.path == path for each in self.asked)
            asked = Asked(target=line[1], path=path, headers=headers, nth=nth, kept=kept)
            self.asked.append(asked)
        return asked
