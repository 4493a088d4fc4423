"""The preloaded library that kills, fills, slows and sets the clock: built, and set up."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


@dataclass(frozen=True, kw_only=True)
class Shim:
    """What happens to one process; steps count from 1, and 0 means never.

    Attributes:
        kill_at: SIGKILL before this step.
        torn: write half of what that step writes first.
        fail_at: from this step on, what needs room on the disk fails.
        fail_with: how it fails.
        pause_s: how much longer every step takes.
        clock: the wall clock jumps about, in an order that this number gives.
    """

    kill_at: int = 0
    torn: bool = False
    fail_at: int = 0
    fail_with: int = errno.ENOSPC
    pause_s: float = 0.0
    clock: int = 0

    def environment(self, library: Path, count: Path | None = None) -> dict[str, str]:
        """The variables that set a process up; the number of its steps goes to ``count``."""
        values = {
            "CHAOS_KILL_AT": self.kill_at,
            "CHAOS_TORN": int(self.torn),
            "CHAOS_FAIL_AT": self.fail_at,
            "CHAOS_ERRNO": self.fail_with,
            "CHAOS_PAUSE_US": round(self.pause_s * 1e6),
            "CHAOS_CLOCK": self.clock,
        }
        told = {name: str(value) for name, value in values.items() if value}
        counted = {} if count is None else {"CHAOS_COUNT": str(count)}
        return {"LD_PRELOAD": str(library)} | told | counted


def missing() -> str:
    """Why the library cannot be used on this machine; empty where it can."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if compiler() else "needs a C compiler"


def compiler() -> str | None:
    """The C compiler of this machine."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """Compile the library into a folder; returns its path."""
    found = compiler()
    if found is None:
        raise FileNotFoundError("there is no C compiler")
    library = folder.resolve() / "shim.so"
    command = [found, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(SOURCE), "-ldl"], check=True, env=os.environ)
    return library
