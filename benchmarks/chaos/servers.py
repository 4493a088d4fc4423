"""The HTTP servers of a run: honest ones at a moderate pace, and every wrong one of the tests."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Self

from benchmarks.chaos.mix import GOOD
from tests.servers.raw_server import Asked, RawServer, Script, head, honest
from tests.servers.wrong_answers import WrongAnswers

_HALF = 60_000
_BLOCK = 1 << 16
_PAUSE_S = 0.02


def paced(files: Mapping[str, bytes]) -> Script:
    """Serves as a good server does, a block at a time: moments can fall between."""
    good = honest(files)

    def script(asked: Asked) -> Iterator[bytes | float]:
        for each in good(asked):
            data = each if isinstance(each, bytes) else b""
            for place in range(0, len(data), _BLOCK):
                yield data[place : place + _BLOCK]
                if len(data) - place > _BLOCK:
                    yield _PAUSE_S

    return script


def _at_first(refusal: bytes, times: int, files: Mapping[str, bytes]) -> Script:
    good, asks = paced(files), itertools.count()

    def script(asked: Asked) -> Iterator[bytes | float]:
        if next(asks) < times:
            yield refusal
        else:
            yield from good(asked)

    return script


class Servers:
    """The servers of one run, each doing what its name says; use it in a ``with``."""

    def __init__(self, names: tuple[str, ...], files: Mapping[str, bytes]) -> None:
        self._files = files
        self._good = paced(files)
        self._open = ExitStack()
        self._wrong = WrongAnswers(files=files, half=_HALF).scripts
        self._running = [RawServer(self._script(name)) for name in names]
        self._healer = RawServer(self._good)

    def __enter__(self) -> Self:
        for each in (*self._running, self._healer):
            self._open.enter_context(each)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def urls(self) -> list[str]:
        """Where they are."""
        return [each.url for each in self._running]

    @property
    def healthy(self) -> str:
        """Where one is that is honest from the first moment on."""
        return self._healer.url

    def mend(self) -> None:
        """Make all of them honest."""
        for each in self._running:
            each.script = self._good

    def _script(self, name: str) -> Script:
        wait = head("429 Too Many Requests", Retry_After=1, Content_Length=0)
        if name == GOOD:
            return self._good
        if name == "asks to wait":
            return _at_first(wait, 2, self._files)
        if name == "always asks to wait":
            return _at_first(wait, sys.maxsize, self._files)
        if name == "busy at first":
            return _at_first(head("503 Busy", Content_Length=0), 2, self._files)
        if name == "redirects to an honest one":
            return self._redirects(RawServer(self._good))
        if name == "redirects to a liar":
            return self._redirects(RawServer(self._wrong["wrong bytes"]))
        return self._wrong[name]

    def _redirects(self, other: RawServer) -> Script:
        self._open.enter_context(other)

        def script(asked: Asked) -> Iterator[bytes | float]:
            yield head("302 Found", Location=other.url + asked.path, Content_Length=0)

        return script
