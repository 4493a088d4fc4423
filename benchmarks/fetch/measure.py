"""Runs one command and measures it: wall time, CPU of all its processes, peak memory.

The command gets a process group of its own and this process adopts its orphans, so that what
children used is counted even where the command does not wait for them. Servers that never end
(the BitTorrent clients) are done when a marker file appears.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SUBREAPER = 36
_POLL = 0.01
_SAMPLE = 0.05
_GRACE = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_HIGH_WATER = re.compile(r"VmHWM:\s*(\d+)")


class RunError(Exception):
    """A measured command failed or ran out of time.

    Attributes:
        output: the end of what it printed.
    """

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measured run.

    Attributes:
        seconds: wall time from the start of the process to its end or its marker.
        user: CPU seconds in user mode, all processes.
        system: CPU seconds in the kernel, all processes.
        peak: most bytes resident, summed over the processes that lived at one time.
        first: seconds until ``watch`` was true; None where it was not asked.
        said: seconds until ``says`` was printed; None where it was not asked.
        output: what the command printed.
    """

    seconds: float
    user: float
    system: float
    peak: int
    first: float | None
    said: float | None
    output: str


def adopt_orphans() -> None:
    """Make this process the parent of children whose own parent has died (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def measure(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    marker: Path | None = None,
    watch: Callable[[], bool] | None = None,
    says: str | None = None,
    timeout: float = 600.0,
) -> Sample:
    """Run ``command`` to its end.

    Args:
        command: program and arguments.
        log: where its output goes; overwritten.
        environment: added to this process's.
        marker: the command is done when this file is there, and is then ended.
        watch: asked every 10 ms until true; its time is ``Sample.first``.
        says: looked for in the output every 10 ms; its time is ``Sample.said``.
        timeout: seconds until it is given up.

    Raises:
        RunError: exit status not 0, or out of time.
    """
    with log.open("wb") as sink:
        begun = time.monotonic()
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    status: int | None = None
    first: float | None = None
    said: float | None = None
    user = system = 0.0
    with _Memory(process.pid) as memory:
        try:
            while status is None:
                now = time.monotonic() - begun
                if watch is not None and first is None and watch():
                    first = now
                if says is not None and said is None and says in log.read_text("utf-8", "replace"):
                    said = now
                ended, code, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    status = os.waitstatus_to_exitcode(code)
                    user, system = usage.ru_utime, usage.ru_stime
                elif marker is not None and marker.exists():
                    status = 0
                    user, system = _used(process.pid)
                elif now > timeout:
                    raise RunError(f"not done after {timeout:.0f} s", _tail(log))
                else:
                    time.sleep(_POLL)
            seconds = time.monotonic() - begun
        finally:
            more_user, more_system = _end(process.pid, ended=marker is None and status is not None)
            process.returncode = status if status is not None else -1
    if marker is None:
        user, system = user + more_user, system + more_system
    if status:
        raise RunError(f"{command[0]} ended with {status}", _tail(log))
    return Sample(
        seconds=seconds,
        user=user,
        system=system,
        peak=memory.peak,
        first=first,
        said=said,
        output=log.read_text("utf-8", "replace"),
    )


class _Memory:
    """Samples the resident memory of a process and its children in a thread."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_SAMPLE):
            self.peak = max(self.peak, sum(_most_resident(each) for each in family(self._pid)))


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found, left = [], [pid]
    while left:
        here = left.pop()
        found.append(here)
        for task in _tasks(here):
            with contextlib.suppress(OSError):
                left += [int(each) for each in (task / "children").read_text().split()]
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _most_resident(pid: int) -> int:
    # Not from wait4: its figure starts with the memory of the process that forked.
    try:
        match = _HIGH_WATER.search(Path(f"/proc/{pid}/status").read_text("utf-8", "replace"))
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def _used(pid: int) -> tuple[float, float]:
    """CPU seconds, user and system, of a running process, its children dead and alive."""
    user = system = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return user / _TICKS, system / _TICKS


def _end(group: int, *, ended: bool) -> tuple[float, float]:
    """End what is left of a process group and reap it; returns its CPU seconds."""
    user = system = 0.0
    deadline = time.monotonic() + _GRACE
    asked = signal.SIGTERM
    while True:
        try:
            pid, _, usage = os.wait4(-group, os.WNOHANG)
        except ChildProcessError:
            return user, system
        if pid:
            user, system = user + usage.ru_utime, system + usage.ru_stime
            continue
        # A child that finishes its work after the command is let finish it: it is counted.
        if not ended or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, asked)
            if time.monotonic() > deadline:
                asked = signal.SIGKILL
        time.sleep(_POLL)


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]
