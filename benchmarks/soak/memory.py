"""What a process holds over time, as the kernel counts it, and whether that grows."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ALLOWED_SHARE = 0.05
"""Memory may rise by so much of itself after the warm-up, by a line through all samples.

Less than the spread of one sample. A leak of one kilobyte a request shows within minutes.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a process: seconds since the first look, bytes resident, threads, open files."""

    at: float
    resident: int
    threads: int
    files: int


class Watch:
    """Looks at a process at intervals, in a thread, until the ``with`` ends."""

    def __init__(self, pid: int, *, every_s: float) -> None:
        self.samples: list[Sample] = []
        self._folder = Path("/proc") / str(pid)
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        begun = time.monotonic()
        while not self._ended.is_set():
            try:
                self.samples.append(look(self._folder, time.monotonic() - begun))
            except (OSError, LookupError):  # it ended
                return
            self._ended.wait(self._every_s)


def look(folder: Path, at: float) -> Sample:
    """One sample of a process.

    Args:
        folder: its folder below ``/proc``.
        at: the moment to note.

    Raises:
        OSError, LookupError: the process is gone.
    """
    status = (folder / "status").read_text("utf-8")
    found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    return Sample(
        at=at,
        resident=int(found["VmRSS"]) * 1024,
        threads=int(found["Threads"]),
        files=sum(1 for _ in (folder / "fd").iterdir()),
    )


def peak(pid: int) -> int:
    """The most bytes that a living process ever held; 0 once it is gone."""
    try:
        status = (Path("/proc") / str(pid) / "status").read_text("utf-8")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def rise(samples: Sequence[Sample]) -> float:
    """Bytes by which the least-squares line through the samples rises from the first to the last.

    Raises:
        ValueError: there are fewer than two moments.
    """
    mean_at = sum(each.at for each in samples) / max(1, len(samples))
    spread = sum((each.at - mean_at) ** 2 for each in samples)
    if spread == 0:
        raise ValueError(f"{len(samples)} samples; expected two at different moments")
    slope = sum((each.at - mean_at) * each.resident for each in samples) / spread
    return slope * (samples[-1].at - samples[0].at)


def has_grown(samples: Sequence[Sample]) -> bool:
    """Whether the rise is more than ``ALLOWED_SHARE`` of what was held at first."""
    return rise(samples) > ALLOWED_SHARE * samples[0].resident
