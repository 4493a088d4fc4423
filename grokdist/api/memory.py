"""How many bytes of weights this machine can hold."""

from __future__ import annotations

import os

_SHARE = 0.9
"""What is left for weights beside activations, cache and everything else that runs."""


def host_memory() -> int:
    """Bytes of main memory that weights may take.

    ``MemAvailable`` where the kernel says it (memory-mapped files count as available), else all
    physical memory.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(int(line.split()[1]) * 1024 * _SHARE)
    except (OSError, ValueError, IndexError):
        pass
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE)
