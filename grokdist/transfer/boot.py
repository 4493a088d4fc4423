"""Which run of the machine this is.

What a killed process wrote is still in the page cache of the same run. After a power cut only
what was synced is sure to be on the disk, and the run is another one.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_id() -> str:
    """An identifier that changes with every start of the machine; empty where there is none.

    An empty one equals nothing: what was not synced is then not trusted.
    """
    with contextlib.suppress(OSError):
        return _LINUX.read_text().strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(  # noqa: S603 - a fixed command
                command, capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
    return ""
