"""One file over HTTP, from the byte where its part stands to its end.

Ranges are asked for and what is answered is checked before a byte is taken: status, the range,
the length, the encoding. A server that ignores ranges is read past what is here already. At most
the file's own length is ever read. Whether the bytes are right is decided by their digest.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, SourceError
from grokdist.transfer.part import PartFile
from grokdist.transfer.sources.http_transport import Answer, HttpSettings, HttpTransport
from grokdist.transfer.stop import Stop

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_TRY_AGAIN = frozenset({408, 425, 429})
_WHOLE = frozenset({429, 502, 503, 504})
_LONGEST_WAIT = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a server refused, and what that means for the source.

    Attributes:
        reason: for people.
        permanent: asking again cannot help.
        whole: it concerns the source, not only the file.
        hint: what may help.
    """

    reason: str
    permanent: bool
    whole: bool = False
    hint: str | None = None


Explain = Callable[[Answer], Refusal | None]
Inspect = Callable[[FileEntry, Answer], None]


class HttpStream:
    """Brings files of one source over HTTP.

    Args:
        name: the source's name, for errors.
        connections: connections kept open.
        settings: bounds.
        explain: words for the refusals of a particular service; None leaves it to the status.
        inspect: looks at the answer before the body is read, and may raise.
    """

    def __init__(
        self,
        name: str,
        connections: int,
        settings: HttpSettings,
        *,
        explain: Explain | None = None,
        inspect: Inspect | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._transport = HttpTransport(name, connections, settings)
        self._explain = explain
        self._inspect = inspect

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def fetch(
        self, url: str, headers: Mapping[str, str], entry: FileEntry, part: PartFile, stop: Stop
    ) -> None:
        """Bring ``part`` to its end, in as many requests as the server makes of it.

        Raises:
            SourceError: the server cannot be reached, refuses, or answers what it was not asked.
            DigestMismatchError: the answer announces other bytes than the manifest names.
        """
        while part.remaining and not stop.is_set():
            ranged = {"Range": f"bytes={part.offset}-"} if part.offset else {}
            answer = self._transport.get(url, {**headers, **ranged})
            clean = False
            try:
                skip, count = self._accept(answer, entry, part.offset)
                clean = self._read(answer.response, entry, part, skip, count, stop)
            finally:
                if clean:
                    answer.response.release_conn()
                else:
                    answer.response.close()

    def _accept(self, answer: Answer, entry: FileEntry, offset: int) -> tuple[int, int]:
        """Check an answer; returns bytes to skip and bytes to take after them."""
        response = answer.response
        if response.status not in (200, 206):
            raise self._refused(answer, entry)
        if self._inspect is not None:
            self._inspect(entry, answer)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise self._error(entry, f"sent the file encoded as {encoding[:40]!r}")
        length = self._length(response, entry)
        if response.status == 200:
            if length is not None and length != entry.size:
                raise self._other_size(entry, length)
            return offset, entry.size - offset
        first, last, total = self._range(response, entry)
        if total is not None and total != entry.size:
            raise self._other_size(entry, total)
        count = last - first + 1
        if first != offset or last >= entry.size or count < 1 or length not in (None, count):
            raise self._error(
                entry, f"answered bytes {first}-{last} of a request for {offset}-", permanent=True
            )
        return 0, count

    def _other_size(self, entry: FileEntry, size: int) -> DigestMismatchError:
        return DigestMismatchError(
            f"{self._name}: {entry.path} has another size; expected {entry.size} bytes,"
            f" got {size} bytes",
            path=entry.path,
            expected=f"{entry.size} bytes",
            got=f"{size} bytes",
        )

    def _range(self, response: BaseHTTPResponse, entry: FileEntry) -> tuple[int, int, int | None]:
        text = response.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(text.strip())
        if match is None:
            raise self._error(
                entry, f"answered a range without saying which ({text[:60]!r})", permanent=True
            )
        total = None if match[3] == "*" else int(match[3])
        return int(match[1]), int(match[2]), total

    def _length(self, response: BaseHTTPResponse, entry: FileEntry) -> int | None:
        text = response.headers.get("Content-Length")
        if text is None or "chunked" in response.headers.get("Transfer-Encoding", "").lower():
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._error(entry, f"sent the length {text[:40]!r}", permanent=True)
        return int(text)

    def _read(
        self,
        response: BaseHTTPResponse,
        entry: FileEntry,
        part: PartFile,
        skip: int,
        count: int,
        stop: Stop,
    ) -> bool:
        """Take ``count`` bytes after ``skip``; True where the connection can be used again."""
        # A thread that waits in recv() sees no event: shutting the socket down wakes it.
        with stop.waking(lambda: _shut(response)):
            while (skip or count) and not stop.is_set():
                wanted = min(self._settings.block, skip or count)
                try:
                    data = _read_some(response, wanted)
                except (HTTPError, OSError, ValueError) as error:
                    if stop.is_set():
                        return False
                    at = f"{part.offset} of {entry.size} bytes"
                    raise self._error(entry, f"the connection broke at {at}") from error
                if stop.is_set():
                    return False
                if not data:
                    raise self._error(entry, f"ended at {part.offset} of {entry.size} bytes")
                if skip:
                    skip -= len(data)
                    part.on_bytes(0)
                else:
                    count -= len(data)
                    part.append(data)
        return not stop.is_set() and _at_end(response)

    def _refused(self, answer: Answer, entry: FileEntry) -> SourceError:
        """The error for a status that carries no file."""
        status = answer.response.status
        refusal = self._explain(answer) if self._explain is not None else None
        if refusal is None:
            again = status in _TRY_AGAIN or status >= 500
            words = {
                401: "asks for a login",
                403: "forbids it",
                404: "has not got it",
                410: "has not got it any more",
                416: "has fewer bytes of it than the manifest says",
                429: "asks us to slow down",
            }.get(status, "refused")
            refusal = Refusal(
                reason=f"{words} (HTTP {status})", permanent=not again, whole=status in _WHOLE
            )
        return SourceError(
            refusal.reason,
            source=self._name,
            path=None if refusal.whole else entry.path,
            permanent=refusal.permanent,
            retry_after=retry_after(answer.response.headers),
            hint=refusal.hint,
        )

    def _error(self, entry: FileEntry, reason: str, *, permanent: bool = False) -> SourceError:
        return SourceError(reason, source=self._name, path=entry.path, permanent=permanent)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3): a number or a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0.0, moment - time.time()), _LONGEST_WAIT)


def _read_some(response: BaseHTTPResponse, wanted: int) -> bytes:
    """What has arrived, at most ``wanted`` bytes; empty at the end."""
    data: bytes = response.read1(wanted, decode_content=False)
    return data


def _at_end(response: BaseHTTPResponse) -> bool:
    """True where the body is known to be over, so that the connection is free for the next."""
    if response.headers.get("Content-Length") is None:
        return False
    try:
        return not _read_some(response, 1)
    except (HTTPError, OSError, ValueError):
        return False


def _shut(response: BaseHTTPResponse) -> None:
    response.shutdown()
