"""One connection that answers come over, read with as few copies and calls as can be.

A plain socket waits in the kernel, for a whole block a call, and what came with the head of an
answer is the only part of its body that is copied.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time

from grokdist.transfer.sources.http_wire import (
    HEAD_END,
    MOST_HEAD,
    NOT_HTTP,
    Head,
    HttpError,
    parse_head,
)
from grokdist.transfer.stop import Stop

_SLICE = 0.25
"""Seconds that a block may fill up before what is there of it is handed out."""

_AHEAD = 1 << 14
_LONGEST_LINE = 4096
_MOST_INTERIM = 16


class DroppedError(HttpError):
    """A kept connection broke before an answer began."""


class Connection:
    """A connected socket; used by one thread at a time, but for ``shutdown``.

    Args:
        wire: the socket, plain or TLS.
        timeout: seconds without a byte after which it is given up.
    """

    def __init__(self, wire: socket.socket, timeout: float) -> None:
        self._wire = wire
        self._timeout = timeout
        self._kept = False
        self._ahead = memoryview(bytearray(_AHEAD))
        self._at = self._upto = 0
        # TLS may have to read several times for one byte; only plain sockets wait in the kernel.
        self._in_kernel = not isinstance(wire, ssl.SSLSocket) and hasattr(socket, "MSG_WAITALL")
        if self._in_kernel:
            wire.settimeout(None)
            moment = struct.pack("@ll", 0, int(_SLICE * 1e6))
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, moment)
            longest = struct.pack("@ll", int(timeout) + 1, 0)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)
        else:
            wire.settimeout(_SLICE)

    @property
    def drained(self) -> bool:
        """True where no byte was read that nobody took."""
        return self._at == self._upto

    def quiet(self) -> bool:
        """True where nothing came meanwhile, the end of the connection included."""
        if isinstance(self._wire, ssl.SSLSocket) and self._wire.pending():
            return False
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        return not poll.poll(0)

    def ask(self, request: bytes, stop: Stop) -> Head:
        """Send a request and read the head of its answer."""
        self._at = self._upto = 0
        with stop.waking(self.shutdown):
            try:
                self._wire.sendall(request)
                head = self._final_head()
            except TimeoutError:
                raise HttpError("no answer in time") from None
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                unanswered = self._kept and not self._upto
                raise (DroppedError if unanswered else HttpError)(NOT_HTTP) from None
            except OSError:
                raise HttpError(NOT_HTTP) from None
        self._kept = True
        return head

    def receive(self, view: memoryview) -> int:
        """Fill ``view``, or what of it comes in a moment; waits for the first byte.

        Raises:
            OSError: the connection broke, or nothing came in time.
        """
        count = min(len(view), self._upto - self._at)
        if count:
            view[:count] = self._ahead[self._at : self._at + count]
            self._at += count
            # The rest of the block in the same go: a small file is one write and one hash then.
            if count < len(view):
                with contextlib.suppress(OSError):
                    count += self._fill(view[count:]) or 0
            return count
        idle = 0.0
        while (got := self._fill(view)) is None:
            idle += _SLICE
            if idle >= self._timeout:
                raise TimeoutError(f"nothing came for {self._timeout:g} s")
        return got

    def line(self) -> bytes:
        """The next line of a chunked body, without its end.

        Raises:
            HttpError: it is too long, or the connection ended in it.
            OSError: the connection broke, or nothing came in time.
        """
        line = bytearray()
        byte = memoryview(bytearray(1))
        while not line.endswith(b"\n"):
            if len(line) > _LONGEST_LINE or not self._next_byte(byte):
                raise HttpError(NOT_HTTP)
            line += byte
        return bytes(line).rstrip(b"\r\n")

    def shutdown(self) -> None:
        """Wake whoever waits for the connection."""
        shut(self._wire)

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self._wire.close()

    def _final_head(self) -> Head:
        """The head of the answer, behind those that only say that it will come."""
        for _ in range(_MOST_INTERIM):
            head = parse_head(self._read_head())
            if head.status >= 200:
                return head
        raise HttpError(NOT_HTTP)

    def _read_head(self) -> bytes:
        """The bytes up to the empty line that ends a head; what follows them stays ahead."""
        data = bytearray(self._ahead[self._at : self._upto])
        self._at = self._upto = 0
        while (end := HEAD_END.search(data)) is None:
            if len(data) > MOST_HEAD:
                raise HttpError(NOT_HTTP)
            got = self._wait_for_some()
            if not got:
                raise ConnectionResetError
            self._upto = got
            data += self._ahead[:got]
        rest = len(data) - end.end()
        if rest > self._upto:
            # More than one head came at once: what follows the first is older than one read.
            self._ahead[:rest] = data[end.end() :]
            self._upto = rest
        self._at = self._upto - rest
        return bytes(data[: end.start()])

    def _wait_for_some(self) -> int:
        """Read what there is into ``_ahead``; waits for it."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._wire.recv_into(self._ahead)
            except (BlockingIOError, TimeoutError):
                if time.monotonic() >= deadline:
                    raise TimeoutError from None

    def _next_byte(self, byte: memoryview) -> int:
        if self._at == self._upto:
            self._at = 0
            self._upto = 0
            self._upto = self._wait_for_some()
        count = min(1, self._upto - self._at)
        byte[:count] = self._ahead[self._at : self._at + count]
        self._at += count
        return count

    def _fill(self, view: memoryview) -> int | None:
        """Fill ``view`` as far as a moment allows; None where nothing came in it."""
        if self._in_kernel:
            try:
                return self._wire.recv_into(view, len(view), socket.MSG_WAITALL)
            except BlockingIOError:
                return None
        # TLS gives one record of 16 KiB a call.
        count, until = 0, time.monotonic() + _SLICE
        while count < len(view) and (not count or time.monotonic() < until):
            try:
                got = self._wire.recv_into(view[count:])
            except TimeoutError:
                return count or None
            except OSError:
                if count:
                    return count
                raise
            if not got:
                break
            count += got
        return count


def shut(wire: socket.socket) -> None:
    """End a connection under whoever waits for it."""
    with contextlib.suppress(OSError):
        # Not TLS's own, which takes the layer away from under the thread that reads.
        socket.socket.shutdown(wire, socket.SHUT_RDWR)
