"""Byte ranges of files over HTTP, into the places where they belong.

One request brings what is left of one range; an answer that brings less is gone on with by the
next. A server that ignores ranges is read past what is not wanted. Where a download address was
reached by redirects it is used again for the next range of the file, until it is refused.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import SourceError
from grokdist.transfer.read_buffer import ReadBuffers
from grokdist.transfer.sources.http_answer import AnswerCheck, Explain
from grokdist.transfer.sources.http_transport import (
    Answer,
    HttpResponse,
    HttpSettings,
    HttpTransport,
)
from grokdist.transfer.sources.http_wire import HttpError
from grokdist.transfer.stop import Stop

_FIRST_BLOCK = 1 << 16
_LEAST_BLOCK = 1 << 13
_REST = 4
"""What is left comes with the last block where it is less than this part of one: a file just larger
than a block is then one read, one write and one hash."""
_QUICK, _SLOW = 0.02, 0.1
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_TARGETS = 256

Inspect = Callable[[FileEntry, Answer], None]


class Landing(Protocol):
    """Where the bytes of one range go."""

    @property
    def offset(self) -> int:
        """The next byte of the file to bring."""

    @property
    def remaining(self) -> int:
        """Bytes to bring from there on; others may lower it at any time."""

    def append(self, data: memoryview) -> None:
        """Take the next bytes; the memory is used again once this returns."""

    def arrived(self, count: int) -> None:
        """With 0, take a sign of life."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """Where the redirects of a file led, and what to send there."""

    url: str
    headers: Mapping[str, str]
    first: Mapping[str, str]


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
        self._check = AnswerCheck(name, explain)
        self._inspect = inspect
        self._lock = threading.Lock()
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        self._buffers = ReadBuffers(settings.block + settings.block // _REST)
        self._pace = threading.local()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def fetch(
        self, url: str, headers: Mapping[str, str], entry: FileEntry, to: Landing, stop: Stop
    ) -> None:
        """Bring a range to its end, in as many requests as the server makes of it.

        Raises:
            SourceError: the server cannot be reached, refuses, or answers what it was not asked.
            DigestMismatchError: the answer announces other bytes than the manifest names.
        """
        while to.remaining and not stop.is_set():
            answer = self._ask(url, headers, entry, to, stop)
            if answer is None:
                return
            clean = False
            try:
                if answer.response.status not in (200, 206):
                    raise self._check.refused(answer, entry)
                if self._inspect is not None:
                    self._inspect(entry, answer)
                skip, count = self._check.accept(answer, entry, to.offset)
                clean = self._take(answer.response, entry, to, skip, count, stop)
            finally:
                if not clean:
                    answer.response.close()
                answer.let_go()

    def _ask(
        self, url: str, headers: Mapping[str, str], entry: FileEntry, to: Landing, stop: Stop
    ) -> Answer | None:
        """Ask for what is left of the range, where redirects led before or from the start."""
        ranged: dict[str, str] = {}
        begin, end = to.offset, to.offset + to.remaining
        if begin or end < entry.size:
            ranged = {"Range": f"bytes={begin}-{end - 1}"}
        with self._lock:
            target = self._targets.get(url)
        if target is not None:
            answer = self._get(target.url, {**target.headers, **ranged}, to, stop, url)
            if answer is None:
                return None
            if answer.response.status not in _EXPIRED:
                return replace(answer, first=target.first, redirected=True)
            self._forget(url)
            answer.response.close()
            answer.let_go()
        answer = self._get(url, {**headers, **ranged}, to, stop, url)
        if answer is not None and answer.redirected and answer.response.status in (200, 206):
            self._remember(url, answer)
        return answer

    def _get(
        self, where: str, headers: Mapping[str, str], to: Landing, stop: Stop, url: str
    ) -> Answer | None:
        try:
            return self._transport.get(where, headers, stop, lambda: to.arrived(0))
        except SourceError:
            self._forget(url)
            raise

    def _remember(self, url: str, answer: Answer) -> None:
        kept = {key: value for key, value in answer.sent.items() if key != "Range"}
        with self._lock:
            self._targets[url] = _Target(url=answer.url, headers=kept, first=answer.first)
            while len(self._targets) > _TARGETS:
                self._targets.popitem(last=False)

    def _forget(self, url: str) -> None:
        with self._lock:
            self._targets.pop(url, None)

    def _take(
        self,
        response: HttpResponse,
        entry: FileEntry,
        to: Landing,
        skip: int,
        count: int,
        stop: Stop,
    ) -> bool:
        """Take ``count`` bytes after ``skip``; True where the connection is given back."""
        block: int = getattr(self._pace, "block", _FIRST_BLOCK)
        # A thread that waits in recv() sees no event: shutting the socket down wakes it.
        with stop.waking(response.shutdown), self._buffers.lent() as buffer:
            while (wanted := skip or min(count, to.remaining)) and not stop.is_set():
                size = wanted if wanted <= block + block // _REST else block
                try:
                    got = response.read_into(buffer[:size])
                except (HttpError, OSError) as error:
                    if stop.is_set():
                        return False
                    raise self._broke(entry, to, "the connection broke") from error
                if stop.is_set():
                    return False
                if not got:
                    raise self._broke(entry, to, "ended")
                if skip:
                    skip -= got
                    to.arrived(0)
                    continue
                count -= got
                begun = time.monotonic()
                to.append(buffer[:got])
                # Under a limit, or on a slow disk, small steps: no bursts, and others get theirs.
                spent = time.monotonic() - begun
                if spent > _SLOW:
                    block = max(_LEAST_BLOCK, block // 2)
                elif spent < _QUICK:
                    block = min(self._settings.block, block * 2)
                self._pace.block = block
        if count or skip or stop.is_set():
            return False
        response.finish()
        return True

    def _broke(self, entry: FileEntry, to: Landing, what: str) -> SourceError:
        at = f"{what} at {to.offset} of {entry.size} bytes"
        return SourceError(at, source=self._name, path=entry.path)
