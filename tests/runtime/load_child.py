"""Loads a checkpoint in a process of its own and prints what that took, as JSON.

Arguments: the directory, one of shards that holds the same model, the mesh, and, for one of two
hosts, its number and the coordinator's address. Keys, in bytes: ``kept`` by the arrays on this
host; ``told`` of by the progress; ``anonymous``, by which private memory grew at most; ``calls``,
read by system calls; ``right`` says whether the arrays hold what the shards do.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import jax.experimental.multihost_utils  # or the load imports it, and is counted with it
import numpy as np

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.safetensors_checkpoint import holds_safetensors, open_safetensors
from grokdist_runtime.checkpoint.shard import TensorView
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.loader import load_weights
from grokdist_runtime.params import abstract_weights
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec


class Account:
    """The kernel's account of this process; what looking at it reads is left out."""

    def __init__(self) -> None:
        self._looked = 0
        self._lock = threading.Lock()

    def private(self) -> int:
        """Bytes of memory that belong to this process alone."""
        (line,) = re.findall(r"RssAnon:\s+([0-9]+) kB", self._look("/proc/self/status"))
        return int(line) * 1024

    def read_by_calls(self) -> int:
        """Bytes that system calls have read so far."""
        with self._lock:
            looked = self._looked
        return int(self._look("/proc/self/io").split()[1]) - looked

    def _look(self, path: str) -> str:
        text = Path(path).read_text()
        with self._lock:
            self._looked += len(text)
        return text


class Peak(threading.Thread):
    """Looks at private memory all the time."""

    def __init__(self, account: Account) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self.ended = threading.Event()
        self._account = account

    def run(self) -> None:
        while not self.ended.wait(0.0005):
            self.highest = max(self.highest, self._account.private())


def main() -> None:
    directory, shards, mesh, *host = sys.argv[1:]
    if host:
        jax.distributed.initialize(host[1], 2, int(host[0]))
    else:
        data, model = (int(side) for side in mesh.split("x"))
        jax.config.update("jax_num_cpu_devices", data * model)
    config = ModelConfig.from_json(Path(directory) / "config.json")
    read = open_safetensors if holds_safetensors(Path(directory)) else open_checkpoint
    checkpoint = read(Path(directory), config)
    spec = ModelSpec.create(config, make_mesh(mesh))

    map_in_place = TensorView.array
    if host and not holds_safetensors(Path(directory)):
        TensorView.array = functools.partialmethod(  # type: ignore[assignment]
            guarded, map_in_place, int(host[0])
        )
    told = []
    account = Account()
    peak = Peak(account)
    anonymous = account.private()
    calls = account.read_by_calls()
    peak.start()
    weights = load_weights(checkpoint, spec, on_bytes=lambda count, total: told.append(count))
    jax.block_until_ready(weights)
    peak.ended.set()
    peak.join()
    calls = account.read_by_calls() - calls
    TensorView.array = map_in_place  # type: ignore[method-assign]
    highest = max(peak.highest, account.private()) - anonymous
    leaves = jax.tree.leaves(weights)
    print(
        json.dumps(
            {
                "kept": sum(s.data.nbytes for leaf in leaves for s in leaf.addressable_shards),
                "told": sum(told),
                "anonymous": highest,
                "calls": calls,
                "right": right(open_checkpoint(Path(shards), config), weights, spec),
            }
        )
    )
    sys.stdout.flush()
    sys.stdin.read()  # the other host needs the coordinator, which may be here
    os._exit(0)


def guarded(view: TensorView, map_in_place: Any, host: int) -> np.ndarray:
    """The view's map, where touching the other host's columns ends the process.

    Only pages that lie wholly in these columns are guarded, so they must be wide.
    """
    array: np.ndarray = map_in_place(view)
    if len(view.shape) < 2 or array[0].nbytes < 64 * mmap.PAGESIZE:
        return array
    width = array.strides[-2]
    for row in range(array.nbytes // width):
        start = array.ctypes.data + row * width + (1 - host) * width // 2
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (start + width // 2) // mmap.PAGESIZE * mmap.PAGESIZE
        size = ctypes.c_size_t(max(0, last - first))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(first), size, 0) == 0
    return array


def right(checkpoint: Any, weights: Any, spec: ModelSpec) -> bool:
    """Whether every value that this host holds is the one in the files."""
    infos = jax.tree.leaves(abstract_weights(spec))
    for info, leaf in zip(infos, jax.tree.leaves(weights), strict=True):
        for layer, name in enumerate(info.names):
            stored, scales = checkpoint.stored(name)
            if info.part == "scales":
                stored = scales
            whole = np.empty(stored.shape, info.dtype)
            for piece in stored.pieces(tuple(slice(0, size) for size in stored.shape)):
                whole[piece.target] = piece.view.array()[piece.source]
            if info.part == "scales":
                rows = info.shape[-2] // stored.shape[-2]
                whole = np.repeat(whole, rows, axis=-2)
            for shard in leaf.addressable_shards:
                index = shard.index[1:] if info.stacked else shard.index
                held = shard.data[layer] if info.stacked else shard.data
                if not np.array_equal(held, whole[index]):
                    return False
    return True


if __name__ == "__main__":
    main()
