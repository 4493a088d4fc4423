"""A plain HTTPS mirror: a base URL under which the files lie by their paths."""

from __future__ import annotations

import fnmatch
from urllib.parse import quote, urlsplit

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import UsageError
from grokdist.transfer.part import Segment
from grokdist.transfer.sources.base import AnyRange
from grokdist.transfer.sources.http_stream import HttpStream
from grokdist.transfer.sources.http_transport import HttpSettings
from grokdist.transfer.stop import Stop


class HttpsSource(AnyRange):
    """Files under a base URL.

    Args:
        base: URL; a missing final slash is added. ``http`` is accepted: the digests, not the
            transport, say whether bytes are right.
        files: glob patterns of the paths it holds; empty means all.
        slots: files at once.
        settings: bounds of requests.

    Raises:
        UsageError: the URL is not http(s), has no host, or holds a password.
    """

    kind = SourceKind.HTTPS

    def __init__(
        self,
        base: str,
        *,
        files: tuple[str, ...] = (),
        slots: int = 4,
        settings: HttpSettings | None = None,
    ) -> None:
        self._base = checked_base(base)
        self._files = files
        self.slots = slots
        self.name = f"https:{self._base}"
        self._stream = HttpStream(self.name, slots, settings or HttpSettings())

    def offers(self, entry: FileEntry) -> bool:
        """True where the path matches one of the patterns."""
        return not self._files or any(
            fnmatch.fnmatchcase(entry.path, pattern) for pattern in self._files
        )

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Bring a range to its end; see ``Source.fetch``."""
        self._stream.fetch(self._base + quote(entry.path), {}, entry, segment, stop)

    def close(self) -> None:
        """Close the connections."""
        self._stream.close()


def checked_base(url: str) -> str:
    """A base URL that ends in a slash.

    Raises:
        UsageError: it is not one that files can be fetched from.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url!r} is not a base URL; expected https://HOST/PATH/")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"the base URL at {host} holds a user, query or fragment; expected https://HOST/PATH/"
        )
    return url if url.endswith("/") else f"{url}/"
