"""What an answer must be before a byte of its body is taken.

Checked are the status, the encoding, the length, the range and whether it is still the same file
as in an earlier answer. Whether the bytes are right is decided by their digest alone.
"""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, SourceError
from grokdist.transfer.sources.http_transport import Answer, HttpResponse

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_RATE_LIMIT = re.compile(r"(?:^|[;,\s])t=(\d{1,9})(?:$|[;,\s])")
_TRY_AGAIN = frozenset({408, 425, 429})
_WHOLE = frozenset({429, 502, 503, 504})
_LONGEST_WAIT = 86_400.0
_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a server refused, and what that means for the source.

    Attributes:
        reason: for people, with what may help.
        permanent: asking again cannot help.
        whole: it concerns the source, not only the file.
    """

    reason: str
    permanent: bool
    whole: bool = False


Explain = Callable[[Answer], Refusal | None]


class AnswerCheck:
    """Checks the answers of one source.

    Args:
        name: the source's name, for errors.
        explain: words for the refusals of a particular service; None leaves it to the status.
    """

    def __init__(self, name: str, explain: Explain | None) -> None:
        self._name = name
        self._explain = explain
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    def accept(self, answer: Answer, entry: FileEntry, offset: int) -> tuple[int, int]:
        """Check a successful answer to a request for the bytes from ``offset`` on.

        Returns:
            bytes to skip and bytes that may be taken after them.

        Raises:
            SourceError: it is not what was asked for.
            DigestMismatchError: it announces a file of another size.
        """
        response = answer.response
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise self._error(entry, f"sent the file encoded as {encoding[:40]!r}", permanent=True)
        length = self._length(response, entry)
        if response.status == 200:
            if length is not None and length != entry.size:
                raise self._other_size(entry, length)
            kind = response.headers.get("Content-Type", "").lower()
            if length is None and kind.startswith("text/html"):
                raise self._error(entry, "sent a web page in place of the file", permanent=True)
            self._same_file(answer, entry)
            return offset, entry.size - offset
        first, last, total = self._range(response, entry)
        if total is not None and total != entry.size:
            raise self._other_size(entry, total)
        count = last - first + 1
        if first != offset or last >= entry.size or count < 1 or length not in (None, count):
            raise self._error(
                entry, f"answered bytes {first}-{last} of a request for {offset}-", permanent=True
            )
        self._same_file(answer, entry)
        return 0, count

    def refused(self, answer: Answer, entry: FileEntry) -> SourceError:
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
        )

    def _same_file(self, answer: Answer, entry: FileEntry) -> None:
        """Complain, once, where an earlier answer was of another version of the file.

        No ``If-Range`` is sent: to a changed file it would get all of it, and to servers behind
        one name that give each their own tags, too. The tag of the answer says the same.
        """
        tag = _validator(answer)
        if tag is None:
            return
        key = entry.path, urlsplit(answer.url).netloc
        with self._lock:
            tags = self._seen.get(key, ())
            if tag not in tags:
                self._seen[key] = (*tags, tag)[-4:]
            self._seen.move_to_end(key)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        # A server that gives a new tag each time is told apart from a file that changed.
        if len(tags) == 1 and tag not in tags:
            raise self._error(entry, "the file changed at the source while it was being fetched")

    def _length(self, response: HttpResponse, entry: FileEntry) -> int | None:
        text = response.headers.get("Content-Length")
        if text is None or "Transfer-Encoding" in response.headers:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._error(entry, f"sent the length {text[:40]!r}", permanent=True)
        return int(text)

    def _range(self, response: HttpResponse, entry: FileEntry) -> tuple[int, int, int | None]:
        text = response.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(text.strip())
        if match is None:
            raise self._error(
                entry, f"answered a range without saying which ({text[:60]!r})", permanent=True
            )
        total = None if match[3] == "*" else int(match[3])
        return int(match[1]), int(match[2]), total

    def _other_size(self, entry: FileEntry, size: int) -> DigestMismatchError:
        return DigestMismatchError(
            f"{self._name}: {entry.path} has another size; expected {entry.size} bytes,"
            f" got {size} bytes",
            path=entry.path,
            expected=f"{entry.size} bytes",
            got=f"{size} bytes",
        )

    def _error(self, entry: FileEntry, reason: str, *, permanent: bool = False) -> SourceError:
        return SourceError(reason, source=self._name, path=entry.path, permanent=permanent)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks us to wait.

    ``Retry-After`` is a number or a date (RFC 9110, 10.2.3); without it, the Hub's ``RateLimit``
    says when its window ends (``"api";r=0;t=55``, draft-ietf-httpapi-ratelimit-headers).
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        window = _RATE_LIMIT.search(headers.get("RateLimit", "")[:1000])
        return min(float(window[1]), _LONGEST_WAIT) if window else None
    return min(max(0.0, moment - time.time()), _LONGEST_WAIT)


def _validator(answer: Answer) -> str | None:
    """What tells one version of a file from another: a strong tag, else a date."""
    headers = answer.response.headers
    tag = headers.get("ETag", "").strip()
    if tag and not tag.startswith("W/"):
        return tag[:200]
    return headers.get("Last-Modified", "").strip()[:200] or None
