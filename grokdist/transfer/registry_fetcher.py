"""How a followed registry's files come: over HTTP, bounded in bytes and time, from one place.

Fills python-tuf's fetcher seam with this project's own connection pools (proxies, and a
connection that can be woken out of any wait). What the bytes mean is python-tuf's to judge.

Bounds: a file has at most the bytes its metadata names and never more than ``max_bytes``, whoever
signed for more; it is there after ``deadline`` seconds or not at all, however steadily it
trickles; a redirect leads to the same scheme, host and port or nowhere. No credentials are sent.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import IO
from urllib.parse import urljoin, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from grokdist.catalog.registry_failure import RedirectError
from grokdist.errors import SourceError
from grokdist.transfer.sources.http_pools import Pools, spoken
from grokdist.transfer.sources.http_transport import USER_AGENT, without_secrets
from grokdist.transfer.stop import Stop

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_BLOCK = 1 << 16
_HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchBounds:
    """Bounds on one file.

    Attributes:
        max_bytes: never more than this.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds without a byte.
        deadline: seconds for the whole file.
        redirects: hops that are followed.
        tries: how often a server that cannot be reached is asked.
        pause: seconds before the second try; doubled with every other.
    """

    max_bytes: int = 16 << 20
    connect_timeout: float = 10.0
    read_timeout: float = 15.0
    deadline: float = 60.0
    redirects: int = 3
    tries: int = 3
    pause: float = 0.25


class RegistryFetcher(FetcherInterface):
    """Fetches the files of one registry.

    Attributes:
        last: the URL that was asked for last, for what goes wrong.
    """

    def __init__(self, name: str, bounds: FetchBounds | None = None) -> None:
        """A fetcher for the registry called ``name``."""
        self.last = ""
        self._bounds = bounds or FetchBounds()
        self._pools = Pools(name, 1)
        self._blocks: Generator[bytes, None, None] | None = None

    def close(self) -> None:
        """Close all connections."""
        self._pools.close()

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As the base class has it; no signed length lifts our own bound."""
        try:
            with super().download_file(url, min(max_length, self._bounds.max_bytes)) as file:
                yield file
        finally:
            # The base class leaves what is too long in the middle, and the error that says so
            # would keep its connection for as long as somebody keeps the error.
            if self._blocks is not None:
                self._blocks.close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last = url
        self._blocks = self._read(url)
        return self._blocks

    def _read(self, url: str) -> Generator[bytes, None, None]:
        stop = Stop()
        timer = threading.Timer(self._bounds.deadline, stop.set)
        timer.daemon = True
        timer.start()
        response: BaseHTTPResponse | None = None
        try:
            response = self._open(url, stop)
            with stop.waking(response.shutdown):
                while block := response.read1(_BLOCK, decode_content=False):
                    yield block
            if stop.is_set():
                raise SlowRetrievalError(self._too_slow())
        except (HTTPError, OSError, ValueError) as error:
            if stop.is_set():
                raise SlowRetrievalError(self._too_slow()) from error
            raise DownloadError(spoken(error)) from error
        finally:
            timer.cancel()
            if response is not None:
                response.close()

    def _open(self, url: str, stop: Stop) -> BaseHTTPResponse:
        """The answer that is the file, after redirects, with its body not read yet."""
        here = url
        for _ in range(self._bounds.redirects + 1):
            response = self._ask(here, stop)
            if response.status == 200:
                return response
            target = response.headers.get("Location")
            response.close()
            if response.status not in _REDIRECTS or target is None:
                raise DownloadHTTPError(f"the server answers {response.status}", response.status)
            there = urljoin(here, target)
            if _origin(there) != _origin(url):
                raise RedirectError(without_secrets(there))
            here = there
        raise RedirectError(without_secrets(here))

    def _ask(self, url: str, stop: Stop) -> BaseHTTPResponse:
        """One request, sent again where the server cannot be reached or is busy."""
        bounds = self._bounds
        timeout = urllib3.Timeout(connect=bounds.connect_timeout, read=bounds.read_timeout)
        for attempt in range(bounds.tries):
            last_try = attempt + 1 == bounds.tries
            try:
                response = self._pools.ask(url, _HEADERS, timeout, stop)
                if response.status not in _TRY_AGAIN or last_try:
                    return response
                response.close()
            except SourceError as error:
                raise DownloadError(error.reason) from error
            except (HTTPError, OSError) as error:
                if stop.is_set():
                    raise SlowRetrievalError(self._too_slow()) from error
                if last_try:
                    raise DownloadError(spoken(error)) from error
            if stop.wait(bounds.pause * 2**attempt):
                raise SlowRetrievalError(self._too_slow())
        raise DownloadError("the server cannot be reached")

    def _too_slow(self) -> str:
        return f"it was not there whole after {self._bounds.deadline:g} s"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, parts.hostname, parts.port or default
    except ValueError:
        return "", None, None
