"""The original's way to load, timed once for ``benchmarks/load.py``.

The release's ``checkpoint.py``, in its essentials: 32 threads copy each file to shared memory,
unpickle it there and remove the copy; then the arrays go to the device. Arguments as those of
``load_ours_child``.

UNPICKLING RUNS CODE. This script exists to be compared with and is started by the benchmark only,
in a process of its own, on files that the benchmark wrote itself a moment before. Nothing in the
package unpickles anything.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401 - the shards name its bfloat16
import numpy as np

from benchmarks.load_ours_child import prepare_files, warm_memory

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - that is the original's way
_THREADS = 32


class QuantizedWeight8bit:
    """What the shards hold, by the name that they have for it."""

    weight: Any
    scales: Any


def main() -> None:
    """Times one load."""
    _, directory, nbytes, cold = sys.argv[1:]
    files = sorted((Path(directory) / "ckpt-0").iterdir())
    jax.block_until_ready(jax.device_put(np.zeros(8)))  # JAX has started
    prepare_files(files, cold=cold == "1")
    warm_memory(3 * int(nbytes))
    with tempfile.TemporaryDirectory(dir=_SHARED_MEMORY) as folder:

        def load(path: Path) -> Any:
            copy = shutil.copy(path, folder)
            with Path(copy).open("rb") as file:
                value = pickle.load(file)  # noqa: S301 - a file of our own making, see above
            Path(copy).unlink()
            return value

        start = time.perf_counter()
        with ThreadPoolExecutor(_THREADS) as pool:
            values = list(pool.map(load, files))
        arrays = [
            jax.device_put(array)
            for value in values
            for array in (
                (value.weight, value.scales) if isinstance(value, QuantizedWeight8bit) else (value,)
            )
        ]
        jax.block_until_ready(arrays)
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
