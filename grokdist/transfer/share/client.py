"""Asks one member for its status and for bytes.

No proxy and no redirect is followed: a member is on this network.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Generator, Iterator

from grokdist.errors import SourceError
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.keys import ShareKey
from grokdist.transfer.share.server import MEMBER_HEADER
from grokdist.transfer.share.status import MAX_STATUS, Address, Status, parse_status
from grokdist.transfer.stop import Stop

_BLOCK = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_KEEP = 4


class BusyError(SourceError):
    """A member has too much to do just now."""


class MemberClient:
    """Connections to one member, kept open; used from several threads.

    Args:
        address: where it listens.
        content: the files of the share.
        introduction: our own id and port, by which it can call back.
        key: the key, if the share has one.
        timeout: seconds without a byte after which a connection is given up.
    """

    def __init__(
        self,
        address: Address,
        content: Content,
        *,
        introduction: str,
        key: ShareKey | None,
        timeout: float,
    ) -> None:
        host, port = address
        self.name = f"share:[{host}]:{port}" if ":" in host else f"share:{host}:{port}"
        self._address = address
        self._content = content
        self._introduction = introduction
        self._key = key
        self._timeout = timeout
        self._lock = threading.Lock()
        self._free: list[http.client.HTTPConnection] = []
        self._closed = False

    def status(self, since: int, wait: float, stop: Stop) -> Status:
        """What the member says of itself; waits up to ``wait`` seconds for news since ``since``.

        Raises:
            SourceError: it does not answer, or answers nonsense.
        """
        with self._asked(f"status?since={since}&wait={int(wait * 1000)}", "", wait, stop) as answer:
            if answer.status != 200:
                raise self._error(f"refused its status (HTTP {answer.status})")
            length = answer.length
            if length is None or length > MAX_STATUS:
                raise self._error("sent a status of unknown or excessive length")
            data = bytearray()
            deadline = time.monotonic() + self._timeout
            while len(data) < length and (more := answer.read1(length - len(data))):
                data += more
                if time.monotonic() > deadline:
                    raise self._error("drips its status")
            answer.read()
        if len(data) != length:
            raise self._error("broke off its status")
        return parse_status(bytes(data), self._content)

    def read(self, number: int, start: int, end: int, stop: Stop) -> Generator[bytes, None, None]:
        """The bytes of a file from ``start`` to ``end``, as they come.

        Raises:
            BusyError: it serves too many others.
            SourceError: it has not got them, or breaks off.
        """
        file = self._content.files[number]
        ranged = f"bytes={start}-{end - 1}"
        with self._asked(file.sha256, ranged, 0.0, stop) as answer:
            if answer.status == 503:
                raise BusyError("is busy", source=self.name)
            if answer.status != 206:
                raise self._error(f"refused bytes (HTTP {answer.status})")
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if match is None or tuple(map(int, match.groups())) != (start, end - 1, file.size):
                raise self._error("answered another range than was asked for")
            if answer.length != end - start:
                raise self._error("answered another length than was asked for")
            while start < end:
                # What is there, and no more: who waits for a full block waits for a drip.
                data = answer.read1(min(_BLOCK, end - start))
                if not data:
                    raise self._error("broke off")
                start += len(data)
                yield data
            # At the end of the body this reads nothing and frees the connection.
            answer.read()

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    @contextlib.contextmanager
    def _asked(
        self, name: str, ranged: str, wait: float, stop: Stop
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request; its connection is kept if the answer was read to its end."""
        target = f"/grokdist/1/{self._content.share_id}/{name}"
        headers = {MEMBER_HEADER: self._introduction}
        if ranged:
            headers["Range"] = ranged
        if self._key is not None:
            headers["Authorization"] = self._key.authorize(target, ranged)
        kept = self._take()
        connection = kept or self._connection()
        clean = False
        with stop.waking(lambda: _shut(connection)):
            try:
                answer = self._send(connection, target, headers, wait)
                if answer is None and kept is not None and not stop.is_set():
                    # It was closed by the other side while it lay idle.
                    connection = self._connection()
                    answer = self._send(connection, target, headers, wait)
                if answer is None:
                    raise self._error("hung up")
                yield answer
                clean = answer.isclosed() and not answer.will_close
            except TimeoutError:
                raise self._error("does not answer in time") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._error(f"the connection broke ({type(error).__name__})") from error
            finally:
                if clean and not stop.is_set():
                    self._keep(connection)
                else:
                    connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        target: str,
        headers: dict[str, str],
        wait: float,
    ) -> http.client.HTTPResponse | None:
        """The answer; None where the connection turns out to be closed."""
        try:
            if connection.sock is None:
                # It sets TCP_NODELAY itself.
                connection.connect()
            _limit(connection, self._timeout + wait)
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            _limit(connection, self._timeout)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            connection.close()
            return None
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address
        return http.client.HTTPConnection(host, port, timeout=self._timeout, blocksize=_BLOCK)

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._free) < _KEEP:
                self._free.append(connection)
                return
        connection.close()

    def _error(self, reason: str) -> SourceError:
        return SourceError(reason, source=self.name)


def _limit(connection: http.client.HTTPConnection, seconds: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _shut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        connection.sock.shutdown(socket.SHUT_RDWR)
