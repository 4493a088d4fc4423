"""The least that reading or hashing a folder costs: threads with one buffer each.

A contestant of the verify contests, and the ceiling that they are held against.

    python -m benchmarks.fetch.plain_hasher FOLDER [--read-only] [--threads N]
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_BLOCK = 1 << 20
_of_thread = threading.local()


def main() -> None:
    """Read every file below a folder, and hash it unless told not to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(options.threads, initializer=_begin) as pool:
        for _ in pool.map(lambda path: _read(path, options.read_only), paths):
            pass


def _begin() -> None:
    """Give a thread its buffer, for all of its files."""
    # Begins on a page, which is faster; see ``grokdist.transfer.read_buffer``.
    memory = mmap.mmap(-1, _BLOCK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _of_thread.buffer = memoryview(memory)


def _read(path: Path, read_only: bool) -> None:
    buffer: memoryview = _of_thread.buffer
    hasher = hashlib.sha256(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            if not read_only:
                hasher.update(buffer[:count])


if __name__ == "__main__":
    main()
