"""What a progress display knows at one moment: whole, sources and files, counted as they come.

The tally listens to a fetch or verify and answers with a ``View``, a picture of one moment that
the terminal, the log line and the event stream are all made from. Rates are moving averages over
ten seconds; bytes that were here before the stage began never count as rate.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from grokdist.transfer.progress import DISK, NoProgress, SourceCondition, SourceState

TREES = "trees"
"""A stage in which nothing but hash trees is built, of files that are verified already."""
LOAD = "load"
"""A stage in which weights come onto devices: bytes are counted, files are not."""
PROMPTS = "prompts"
"""A stage in which prompts are answered: they are counted, bytes are not."""
REMOVE = "remove"
"""A stage in which the files of a model are removed."""
COUNTED = {TREES: "files", PROMPTS: "prompts"}
"""Stages of which only the number done is known, and what is counted."""
TASKS = {
    "check": "checking",
    "fetch": "fetching",
    "verify": "verifying",
    "sign": "hashing",
    LOAD: "loading",
    PROMPTS: "answering",
    REMOVE: "removing",
    TREES: "all verified; building hash trees",
}
"""What a stage is called."""

_WINDOW_S = 10.0
_SLOT_S = 0.25
_SOON_S = 0.5


class MovingRate:
    """Bytes a second over the last ten seconds, or since the start where that is less."""

    def __init__(self, now: float) -> None:
        """Start counting at the monotonic time ``now``."""
        self._started = now
        self._slots: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, count: int) -> None:
        """Count bytes."""
        if self._slots and now - self._slots[-1][0] < _SLOT_S:
            begun, before = self._slots[-1]
            self._slots[-1] = (begun, before + count)
        else:
            self._slots.append((now, count))
        self._sum += count

    def at(self, now: float) -> float:
        """The rate at the monotonic time ``now``, bytes a second."""
        while self._slots and now - self._slots[0][0] > _WINDOW_S:
            self._sum -= self._slots.popleft()[1]
        span = min(_WINDOW_S, now - self._started)
        return self._sum / max(span, _SOON_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileView:
    """A file that is being worked on; ``size`` is 0 where it is not known."""

    path: str
    size: int
    done: int
    seconds: float
    """Since it was begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceView:
    """One source: bytes in this stage, bytes a second, and how it stands."""

    name: str
    received: int
    rate: float
    state: SourceState


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One moment of a stage.

    Attributes:
        task: ``check``, ``fetch``, ``verify``, ``load``, ``remove``, ``trees`` or ``prompts``.
        files: files (or prompts) of the stage; 0 where none are counted.
        files_done: those that are complete and right.
        size: bytes of the stage.
        done: bytes that are here, also those that were before.
        rate: bytes a second, moving average.
        eta: seconds that the rest takes at this rate; None where nothing moves.
        elapsed: seconds since the stage began.
        sources: the sources, in the order in which they were first heard of.
        active: the files that are being worked on, the longest at work first.
        trees: hash trees that are complete, and to be built; None where none are built.
    """

    task: str
    files: int
    files_done: int
    size: int
    done: int
    rate: float
    eta: float | None
    elapsed: float
    sources: tuple[SourceView, ...]
    active: tuple[FileView, ...]
    trees: tuple[int, int] | None


@dataclass(kw_only=True, slots=True)
class _File:
    size: int = 0
    done: int = 0
    begun: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class _Source:
    rate: MovingRate
    received: int = 0
    state: SourceState | None = None


class Tally(NoProgress):
    """Counts one stage after another.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._trees: tuple[int, int] | None = None
        self._task = ""
        self._over = False
        self._files = self._files_done = self._size = self._done = 0
        self._begun = clock()
        self._rate = MovingRate(self._begun)
        self._sources: dict[str, _Source] = {}
        self._open: dict[str, _File] = {}

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Start a stage; what the last one counted is forgotten."""
        with self._lock:
            self._start(task, files=files, size=size, have=have)

    def file_begun(self, path: str, *, size: int, have: int) -> None:
        """Know a file's size and what of it is here."""
        with self._lock:
            file = self._file(path)
            file.size, file.done = size, have

    def claim(self, source: str, path: str, offset: int) -> None:
        """Count ``source`` among those that work on the file."""
        with self._lock:
            workers = self._file(path).workers
            workers[source] = workers.get(source, 0) + 1
            self._source(source)

    def release(self, source: str, path: str) -> None:
        """Take it off again."""
        with self._lock:
            file = self._open.get(path)
            if file is None:
                return
            left = file.workers.get(source, 0) - 1
            if left > 0:
                file.workers[source] = left
            else:
                file.workers.pop(source, None)

    def advance(self, source: str, path: str, count: int) -> None:
        """Count bytes of the whole, of the source and of the file."""
        now = self._clock()
        with self._lock:
            self._done += count
            self._rate.add(now, count)
            brought = self._source(source)
            brought.received += count
            brought.rate.add(now, count)
            file = self._file(path)
            file.done += count
            if source == DISK:
                file.workers.setdefault(DISK, 1)

    def lost(self, path: str, count: int) -> None:
        """Take bytes off again; what the source brought stays counted with it."""
        with self._lock:
            self._done = max(0, self._done - count)
            file = self._file(path)
            file.done = max(0, file.done - count)

    def file_done(self, path: str, size: int, source: str) -> None:
        """Count a finished file."""
        with self._lock:
            self._files_done += 1
            self._open.pop(path, None)

    def source(self, name: str, state: SourceState) -> None:
        """Keep how a source stands."""
        with self._lock:
            self._source(name).state = state

    def trees(self, done: int, files: int) -> None:
        """Keep how far the trees are; once the files are done they are a stage of their own."""
        with self._lock:
            self._trees = (done, files)
            if self._over and done < files:
                self._start(TREES, files=files, size=0, have=0)
            if self._task == TREES:
                self._files_done = done

    def end(self) -> None:
        """End the stage."""
        with self._lock:
            self._over = True

    def view(self) -> View:
        """What there is to show now."""
        now = self._clock()
        with self._lock:
            rate = self._rate.at(now)
            left = max(self._size - self._done, 0)
            return View(
                task=self._task,
                files=self._files,
                files_done=min(self._files_done, self._files),
                size=self._size,
                done=min(self._done, self._size),
                rate=rate,
                eta=left / rate if rate > 0 else None,
                elapsed=now - self._begun,
                sources=tuple(
                    self._seen(name, source, now) for name, source in self._sources.items()
                ),
                active=tuple(
                    FileView(path=path, size=file.size, done=file.done, seconds=now - file.begun)
                    for path, file in self._open.items()
                    if file.workers
                ),
                trees=self._trees,
            )

    def _start(self, task: str, *, files: int, size: int, have: int) -> None:
        now = self._clock()
        self._over = False
        self._task, self._files, self._size, self._done = task, files, size, have
        self._files_done = 0
        self._begun = now
        self._rate = MovingRate(now)
        self._sources, self._open = {}, {}

    def _file(self, path: str) -> _File:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = _File(begun=self._clock())
        return file

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source(rate=MovingRate(self._clock()))
        return source

    def _seen(self, name: str, source: _Source, now: float) -> SourceView:
        working = sum(file.workers.get(name, 0) for file in self._open.values())
        state = source.state
        if state is None:
            # Nobody told: what is known is how many files it works on.
            condition = SourceCondition.WORKING if working else SourceCondition.IDLE
            state = SourceState(connections=working, condition=condition)
        received = max(source.received, state.received)
        return SourceView(name=name, received=received, rate=source.rate.at(now), state=state)
