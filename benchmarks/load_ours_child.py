"""One timed load for ``benchmarks/load.py``: ours, or a plain read of the same files.

Arguments: contender, model directory, its bytes, and 1 to read from the disk. Prints JSON.
"""

from __future__ import annotations

import gc
import json
import math
import mmap
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 8 << 20
_WARMINGS = 8


def warm_memory(nbytes: int) -> None:
    """Touches memory and gives it back, until a virtual machine has it at hand.

    A hypervisor takes freed memory away after a while; getting it again is not loading. It is at
    hand when touching it takes as long as it did before.
    """
    before = math.inf
    for _ in range(_WARMINGS):
        start = time.perf_counter()
        memory = mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        np.frombuffer(memory, np.uint8)[::4096] = 1
        del memory
        seconds = time.perf_counter() - start
        if seconds > 0.9 * before:
            return
        before = seconds


def prepare_files(files: list[Path], *, cold: bool) -> None:
    """Puts the files into the page cache, or out of it."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            if cold:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                continue
            while file.readinto(_SCRATCH):
                pass


_SCRATCH = bytearray(_CHUNK)


def plain_read(files: list[Path]) -> Any:
    """As many threads as cores read the files into one piece of fresh memory, in huge pages."""
    jobs, place = [], 0
    for path in files:
        size = path.stat().st_size
        jobs += [(path, start, place + start) for start in range(0, size, _CHUNK)]
        place += size
    memory = mmap.mmap(-1, place, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(memory)

    def read(job: tuple[Path, int, int]) -> None:
        path, start, to = job
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            count = min(_CHUNK, path.stat().st_size - start)
            if file.readinto(view[to : to + count]) != count:
                raise OSError(f"{path} ended early")

    with ThreadPoolExecutor(max(4, os.cpu_count() or 1)) as pool:
        list(pool.map(read, jobs))
    return memory


def our_load(directory: Path) -> Callable[[], Any]:
    """Ours, ready to start: from the directory to arrays on the device."""
    import jax

    from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
    from grokdist_runtime.checkpoint.safetensors_checkpoint import (
        holds_safetensors,
        open_safetensors,
    )
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.loader import load_weights
    from grokdist_runtime.sharding import make_mesh
    from grokdist_runtime.spec import ModelSpec

    config = ModelConfig.from_json(directory / "config.json")
    spec = ModelSpec.create(config, make_mesh("1x1"))
    jax.block_until_ready(jax.device_put(np.zeros(8)))  # JAX has started

    def load() -> Any:
        read = open_safetensors if holds_safetensors(directory) else open_checkpoint
        return jax.block_until_ready(load_weights(read(directory, config), spec))

    return load


def main() -> None:
    """Times one load."""
    name, directory, nbytes, cold = sys.argv[1:]
    files = sorted((Path(directory) / "ckpt-0").glob("*")) or sorted(
        Path(directory).glob("*.safetensors")
    )
    load = (lambda: plain_read(files)) if name == "plain" else our_load(Path(directory))
    # As the command has it; by default the collector looks through all of JAX in between.
    gc.set_threshold(50_000, 20, 20)
    prepare_files(files, cold=cold == "1")
    warm_memory(3 * int(nbytes) // 2)
    start = time.perf_counter()
    kept = load()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds}))
    sys.stdout.flush()
    del kept


if __name__ == "__main__":
    main()
