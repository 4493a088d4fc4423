"""Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, nothing if quiet."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from grokdist.cli.format import bytes_text, duration_text
from grokdist.cli.output import Output
from grokdist.transfer.progress import DISK, NoProgress, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_LINE_EVERY_S = 10.0
_NOTES_KEPT = 1000
_TASKS = {"check": "checking", "fetch": "fetching", "verify": "verifying"}


@contextlib.contextmanager
def showing(out: Output) -> Iterator[Progress]:
    """The listener for the ``with``; takes its bar away also when the work inside fails."""
    progress = progress_for(out)
    try:
        yield progress
    finally:
        progress.end()


def progress_for(out: Output) -> Progress:
    """The listener that fits where stderr goes."""
    if out.quiet:
        return NoProgress()
    return BarProgress(out) if out.interactive else LineProgress(out)


class _Notes:
    """Which notes were said: four connections that meet one trouble need to say it once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, message: str) -> bool:
        """True the first time; forgets once there are too many to keep."""
        if message in self._said:
            return False
        if len(self._said) >= _NOTES_KEPT:
            self._said.clear()
        self._said.add(message)
        return True


class LineProgress(NoProgress):
    """One line every ten seconds, for logs and pipes."""

    def __init__(self, out: Output) -> None:
        """Report through ``out``."""
        self._out = out
        self._lock = threading.Lock()
        self._size = self._done = self._files = self._files_done = self._moved = 0
        self._task = ""
        self._started = self._said = time.monotonic()
        self._by_source: dict[str, int] = {}
        self._notes = _Notes()

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Start a stage."""
        with self._lock:
            self._task = _TASKS.get(task, task)
            self._files, self._size, self._done = files, size, have
            self._files_done = self._moved = 0
            self._by_source = {}
            self._started = self._said = time.monotonic()

    def claim(self, source: str, path: str, offset: int) -> None:
        """Tell which source works on a file, when verbose."""
        if source != DISK:
            self._out.detail(f"{source}: {path}" + (f" from byte {offset}" if offset else ""))

    def advance(self, source: str, path: str, count: int) -> None:
        """Count bytes; say a line if the last one is long ago."""
        with self._lock:
            self._done += count
            self._moved += count
            self._by_source[source] = self._by_source.get(source, 0) + count
            now = time.monotonic()
            if now - self._said < _LINE_EVERY_S:
                return
            self._said = now
            line = self._line(now)
        self._out.note(line)

    def file_done(self, path: str, size: int, source: str) -> None:
        """Count a finished file."""
        with self._lock:
            self._files_done += 1

    def note(self, message: str) -> None:
        """Pass on what the engine has to say."""
        if self._notes.new(message):
            self._out.note(message)

    def end(self) -> None:
        """End the stage."""

    def _line(self, now: float) -> str:
        rate = self._moved / max(now - self._started, 1e-9)
        left = max(self._size - self._done, 0)
        parts = [
            f"{self._task} {self._files_done}/{self._files} files",
            f"{bytes_text(self._done)} of {bytes_text(self._size)}",
            f"{bytes_text(int(rate))}/s",
        ]
        if rate > 0:
            parts.append(f"{duration_text(left / rate)} left")
        parts += [f"{name} {bytes_text(count)}" for name, count in self._by_source.items()]
        return ", ".join(parts)


class BarProgress(NoProgress):
    """One bar a stage: bytes, rate, time left, and what each source brought."""

    def __init__(self, out: Output) -> None:
        """Report through ``out``; rich is imported here, where it is needed."""
        self._out = out
        self._bar: Bar | None = None
        self._task_id: TaskID | None = None
        self._lock = threading.Lock()
        self._by_source: dict[str, int] = {}
        self._files = self._files_done = 0
        self._notes = _Notes()

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Show a new bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.end()
        self._by_source = {}
        self._files, self._files_done = files, 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task_id = self._bar.add_task(
            _TASKS.get(task, task), total=size, completed=have, detail=self._detail()
        )
        self._bar.start()

    def claim(self, source: str, path: str, offset: int) -> None:
        """Nothing: the bar shows sources by their bytes."""

    def advance(self, source: str, path: str, count: int) -> None:
        """Move the bar."""
        if self._bar is None or self._task_id is None:
            return
        with self._lock:
            self._by_source[source] = self._by_source.get(source, 0) + count
            detail = self._detail()
        self._bar.update(self._task_id, advance=count, detail=detail)

    def file_done(self, path: str, size: int, source: str) -> None:
        """Count a finished file."""
        with self._lock:
            self._files_done += 1

    def note(self, message: str) -> None:
        """Print above the bar."""
        if not self._notes.new(message):
            return
        if self._bar is not None:
            self._bar.console.print(message, markup=False, highlight=False)
        else:
            self._out.note(message)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _detail(self) -> str:
        sources = [
            f"{name} {bytes_text(count)}" for name, count in self._by_source.items() if name != DISK
        ]
        return ", ".join([f"{self._files_done}/{self._files} files", *sources])
