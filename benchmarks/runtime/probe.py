"""What every measured process needs: its threads, its clock and its memory.

Standard library only, since the peer's interpreter has nothing of this project.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of this process.

    Attributes:
        peak: Most that was resident at any time, with the pages of mapped files.
        private: Resident now and its own: without pages of mapped files, which the system can
            drop; ``None`` where the system does not tell.
        mapped: Resident pages of mapped files.
    """

    peak: int
    private: int | None
    mapped: int | None


def use_threads(count: int) -> None:
    """Keeps this process and its threads on so many cores, where the system can.

    To be called before a library starts its threads: these look at the cores they may use.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def memory() -> Memory:
    """What this process takes now."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = (line.split() for line in status.read_text("ascii").splitlines())
        sizes = {line[0]: int(line[1]) * 1024 for line in lines if line[-1] == "kB"}
        own = sizes["RssAnon:"] + sizes["RssShmem:"]
        return Memory(peak=sizes["VmHWM:"], private=own, mapped=sizes["RssFile:"])
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Memory(peak=peak, private=None, mapped=None)
