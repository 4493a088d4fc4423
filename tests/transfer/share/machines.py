"""Machines of a small cluster, each a session and a fetch in a thread of this process."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.plan import make_plan
from grokdist.transfer.progress import NoProgress, Together
from grokdist.transfer.share.session import ShareSession
from grokdist.transfer.share.settings import ShareSettings
from grokdist.transfer.sources.base import Source
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.hub_server import HubServer, wait_until
from tests.transfer.models import HASTY, QUICK_HTTP, content, request_for

MIB = 1 << 20
PATIENCE = replace(HASTY, idle=2.0, stall=5.0)


def payload() -> dict[str, bytes]:
    """Two files of several chunks and a number of small ones, 19 MB."""
    files = {
        "ckpt-0/tensor00000_000": content("big", 9 * MIB + 7),
        "ckpt-0/tensor00001_000": content("other", 5 * MIB),
    }
    for place in range(2, 18):
        files[f"ckpt-0/tensor{place:05}_000"] = content(f"small {place}", 300_000 + place)
    files["LICENSE.txt"] = b"do as you like\n"
    return files


def settings(**changes: Any) -> ShareSettings:
    """Settings that keep to this machine and are in a hurry."""
    fields: dict[str, Any] = {
        "bind": "127.0.0.1",
        "port": 0,
        "multicast": False,
        "settle": 0.5,
        "silence": 1.0,
        "steal_after": 0.4,
        "stuck": 3.0,
        "linger": 5.0,
        "slots": 3,
    }
    return ShareSettings(**(fields | changes))


@dataclass
class Moving:
    """A segment that is where the test says."""

    start: int
    offset: int
    end: int


class Notes(NoProgress):
    """What a person would have been told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.lines)


class Machine:
    """One machine; ``go`` starts its fetch, ``wait`` returns what came of it."""

    def __init__(
        self,
        directory: Path,
        files: Mapping[str, bytes],
        *sources: Source,
        include: Sequence[str] = (),
        **changes: Any,
    ) -> None:
        self.directory = directory
        self.notes = Notes()
        self.request = request = request_for(files, directory, include=tuple(include))
        self.session = ShareSession(
            request.trusted.manifest, directory, settings(**changes), note=self.notes.note
        )
        self.address = ("127.0.0.1", self.session.port)
        self._plan = make_plan(request, self.session.wrap(sources))
        self._result: FetchResult | None = None
        self._error: BaseException | None = None
        self._stay = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def go(self) -> Machine:
        """Begin at once."""
        self.listen()
        self.start()
        return self

    def start(self) -> None:
        """Begin to fetch, with ``listen`` called before."""
        self._thread.start()

    def wait(self, seconds: float = 60.0) -> FetchResult:
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"the fetch did not end: {self.notes.lines}")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def listen(self) -> None:
        """Answer, and fetch nothing."""
        self.session.begin(self._plan)

    def interrupt(self, seconds: float = 20.0) -> None:
        """End the fetch as an interrupt does, and wait until it has."""
        self.end(seconds)
        assert isinstance(self._error, KeyboardInterrupt)

    def end(self, seconds: float = 20.0) -> None:
        """End the fetch, if it still goes on."""
        if self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
            )
            self._thread.join(seconds)

    def vanish(self) -> None:
        """Answer nobody any more, as after a crash; the fetch itself is left to its fate."""
        self.session.close()

    def _run(self) -> None:
        try:
            progress = Together(self.notes, self.session.listener)
            self._result = fetch(self._plan, progress, patience=PATIENCE)
            self.session.finish()
        except BaseException as error:
            self._error = error


@contextlib.contextmanager
def cluster(machines: Sequence[Machine]) -> Iterator[Sequence[Machine]]:
    """Close all machines in the end, whatever happens."""
    try:
        yield machines
    finally:
        for machine in machines:
            machine.session.close()
        for machine in machines:
            # One that vanished goes on without ever hearing of anybody.
            machine.end()


def go_together(machines: Sequence[Machine]) -> None:
    """Have all find one another, and then all begin."""
    for machine in machines:
        machine.listen()
    for machine in machines:
        wait_until(lambda each=machine: len(each.session.members.live) == len(machines) - 1)
    for machine in machines:
        machine.start()


def mirror(server: HubServer) -> HttpsSource:
    return HttpsSource(server.mirror, settings=QUICK_HTTP)


def origin_bytes(server: HubServer) -> int:
    """Payload that left the origin."""
    return sum(each.sent for each in server.log)
