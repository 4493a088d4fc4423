"""The body of an answer, read into a buffer of the caller with as few copies and calls as can be.

``urllib3`` hands out bodies as new ``bytes`` objects, one for each piece that the kernel has
ready. Where a body is plain (a length, no chunks, a socket of the standard library) its bytes are
taken from the socket instead, after whatever ``urllib3`` has read ahead: a whole block a call,
waited for in the kernel. All else is read through ``urllib3``.

``benchmarks/http_reader.py`` compares the ways: this one costs the least CPU time a gigabyte where
the line is the bottleneck, and no more than the others where the digest or the disk is.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import struct
import time

from urllib3.response import BaseHTTPResponse

_SLICE = 0.25
"""Seconds that a block may fill up before what is there of it is handed out."""


class Body:
    """One body, read from its start; used by one thread.

    Args:
        response: the answer, its body not read yet.
        timeout: seconds without a byte after which the connection is given up.
    """

    def __init__(self, response: BaseHTTPResponse, timeout: float) -> None:
        self._response = response
        self._timeout = timeout
        self._socket = _plain_socket(response)
        self._drained = False
        self._direct = False

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes; no more than are known to belong to the body may be asked for.

        Returns:
            number of bytes; 0 at the end of the body or the connection.

        Raises:
            OSError: the connection broke, or nothing came in time.
            urllib3.exceptions.HTTPError: the same, as ``urllib3`` says it.
        """
        got = 0
        if self._socket is None or not self._drained:
            # Empties the read-ahead of the headers too: it never holds more than its size.
            data = self._response.read1(len(view), decode_content=False)
            got = len(data)
            view[:got] = data
            self._drained = len(view) >= io.DEFAULT_BUFFER_SIZE
            if self._socket is None or not self._drained or got in (0, len(view)):
                return got
        if not self._direct:
            self._direct = True
            _prepare(self._socket)
        if got:
            # The rest of the block in the same go: a small file is one write and one hash then.
            with contextlib.suppress(OSError):
                got += _receive(self._socket, view[got:]) or 0
            return got
        idle = 0.0
        while True:
            count = _receive(self._socket, view)
            if count is not None:
                return count
            idle += _SLICE
            if idle >= self._timeout:
                raise TimeoutError(f"nothing came for {self._timeout:g} s")

    def finish(self) -> None:
        """Give the connection back; the whole body has been read."""
        if self._direct and self._socket is not None:
            self._socket.settimeout(self._timeout)
            raw = getattr(self._response, "_fp", None)
            if not isinstance(raw, http.client.HTTPResponse):
                self._response.close()
                return
            # It does not know of the bytes that went past it.
            raw.close()
        elif self._response.read1(1, decode_content=False):
            self._response.close()
            return
        self._response.release_conn()


def _plain_socket(response: BaseHTTPResponse) -> socket.socket | None:
    """The socket that carries the body and nothing but the body, if there is one."""
    if "Transfer-Encoding" in response.headers or "Content-Length" not in response.headers:
        return None
    found = getattr(response.connection, "sock", None)
    return found if isinstance(found, socket.socket) else None


def _waits_in_kernel(connection: socket.socket) -> bool:
    return not isinstance(connection, ssl.SSLSocket) and hasattr(socket, "MSG_WAITALL")


def _prepare(connection: socket.socket) -> None:
    """Have reads end after a slice of time with what has come by then."""
    if _waits_in_kernel(connection):
        connection.settimeout(None)
        micros = int(_SLICE * 1e6)
        slice_of_time = struct.pack("@ll", micros // 1_000_000, micros % 1_000_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, slice_of_time)
    else:
        connection.settimeout(_SLICE)


def _receive(connection: socket.socket, view: memoryview) -> int | None:
    """Fill ``view`` as far as a slice of time allows; None where nothing came in it."""
    if _waits_in_kernel(connection):
        try:
            return connection.recv_into(view, len(view), socket.MSG_WAITALL)
        except BlockingIOError:
            return None
    # TLS gives one record of 16 KiB a call.
    count, until = 0, time.monotonic() + _SLICE
    while count < len(view) and (not count or time.monotonic() < until):
        try:
            got = connection.recv_into(view[count:])
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
