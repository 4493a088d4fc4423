"""What this machine can do at all, measured beside the contests: hashing, memory, disk."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20
_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Rates in MB/s (10^6 bytes).

    Attributes:
        hash_one: SHA-256 from memory, one core.
        hash_all: the same, a thread a core.
        copy: one memory copy.
        write: writing to a file with fsync at its end.
    """

    hash_one: float
    hash_all: float
    copy: float
    write: float

    @property
    def hash_cores(self) -> float:
        """Cores times one core, which sharing of memory and clocks keeps ``hash_all`` below."""
        return self.hash_one * (os.cpu_count() or 1)


def measure_ceilings(home: Path, *, write: int) -> Ceilings:
    """Measure all of them, in some two seconds and the time to write ``write`` bytes."""
    block = bytes(_BLOCK)
    target = bytearray(_BLOCK)

    def copy() -> None:
        for _ in range(64):
            target[:] = block

    def digest() -> None:
        hasher = hashlib.sha256(usedforsecurity=False)
        for _ in range(64):
            hasher.update(block)

    return Ceilings(
        hash_one=_rate(digest, 1),
        hash_all=_rate(digest, os.cpu_count() or 1),
        copy=_rate(copy, 1),
        write=_write(home / "ceiling", write),
    )


def evict(folders: Iterable[Path]) -> None:
    """Drop the files below some folders from the page cache, without asking for root."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(fd)


def _rate(work: Callable[[], None], threads: int) -> float:
    done: list[int] = []
    begun = time.monotonic()

    def run() -> None:
        while time.monotonic() - begun < _SECONDS:
            work()
            done.append(64 * _BLOCK)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(sum(done) / (time.monotonic() - begun) / 1e6, 1)


def _write(path: Path, size: int) -> float:
    block = os.urandom(_BLOCK)
    begun = time.monotonic()
    with path.open("wb", buffering=0) as file:
        for _ in range(max(size // _BLOCK, 1)):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.monotonic() - begun
    path.unlink()
    return round(max(size, _BLOCK) / seconds / 1e6, 1)
