"""One input tried and watched: what it raised, how long it took, what memory it asked for."""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.fuzz.target import Target

SLOW_S = 1.0
"""Seconds of this process's own time that one input may take."""

HUNG_S = 10
"""Seconds, twice, after which an input is given up; machines that run tests are busy."""

LARGE = 64 << 20
"""Bytes by which one input may raise the most memory that the process ever held."""

GROWN = 48 << 20
"""Bytes that the process may hold more at the end than after its first tenth."""


class HungError(BaseException):
    """An input took too long; no ``Exception``, so that no parser takes it for its own."""


@dataclass(kw_only=True)
class Watch:
    """Tries inputs on a target and counts how they ended.

    Attributes:
        target: what is fuzzed.
        keep: folder for inputs that are finds; None keeps none.
        accepted, refused: inputs that ended well.
        refusals: refusals by the error's type.
        finds: descriptions of what went wrong, by what tells two of them apart.
        slowest: seconds of the slowest input.
    """

    target: Target
    keep: Path | None = None
    accepted: int = 0
    refused: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    finds: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    _bad: int = 0
    _most: int = 0
    _alarmed: bool = False

    def __post_init__(self) -> None:
        signal.signal(signal.SIGALRM, self._alarm)
        self._most = peak()

    @property
    def inputs(self) -> int:
        """How many were tried."""
        return self.accepted + self.refused + self._bad

    def try_one(self, data: bytes) -> None:
        """Try one input."""
        self._alarmed = False
        signal.setitimer(signal.ITIMER_REAL, HUNG_S)
        start = time.process_time()
        try:
            self.target.run(data)
            self.accepted += 1
        except self.target.refusals as error:
            self.refused += 1
            self.refusals[type(error).__name__] += 1
        except (Exception, HungError) as error:
            self._bad += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._found(
                f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}",
                f"{type(error).__name__}: {error!s:.200}",
                data,
            )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        took = time.process_time() - start
        self.slowest = max(self.slowest, took)
        if took > SLOW_S:
            self._found("slow", f"{took:.1f} s for {len(data)} bytes", data)
        most = peak()
        if most > self._most:
            if most - self._most > LARGE and self.inputs > 1:
                more = (most - self._most) >> 20
                self._found("memory", f"{more} MiB for {len(data)} bytes", data)
            self._most = most

    def _alarm(self, _signal: int, _frame: FrameType | None) -> None:
        # One alarm is also what a process meets that was stopped from outside and goes on.
        if self._alarmed:
            raise HungError("gave no answer")
        self._alarmed = True
        signal.setitimer(signal.ITIMER_REAL, HUNG_S)

    def _found(self, key: str, what: str, data: bytes) -> None:
        if key in self.finds:
            return
        name = hashlib.sha256(data).hexdigest()[:16]
        self.finds[key] = f"{key}: {what} (input {name})"
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / name).write_bytes(data)


def peak() -> int:
    """The most memory that this process has held, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def held() -> int:
    """The memory that this process holds now, bytes; the most it has held where none tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize()
