"""Loads a checkpoint in a process of its own and prints what that took, as JSON.

Arguments: the directory, one of shards that holds the same model, the mesh, and, for one of two
hosts, its number and the coordinator's address. Keys, in bytes: ``kept`` by the arrays on this
host; ``told`` of by the progress; ``anonymous``, by which private memory grew at most; ``touched``,
read by system calls or mapped in from files; ``right`` says whether the arrays hold what the
shards do.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import jax
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

    def memory(self, *names: str) -> int:
        """Sum of lines on memory."""
        text = self._look("/proc/self/status")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        return sum(int(lines[name].split()[0]) * 1024 for name in names)

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
            self.highest = max(self.highest, self._account.memory("RssAnon"))


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

    # Maps are kept, so that the pages that were touched are still counted at the end.
    maps: list[np.ndarray] = []
    map_in_place = TensorView.array

    def array(self: TensorView) -> np.ndarray:
        maps.append(map_in_place(self))
        return maps[-1]

    TensorView.array = array  # type: ignore[method-assign]
    told = []
    account = Account()
    peak = Peak(account)
    anonymous, mapped = account.memory("RssAnon"), account.memory("RssFile", "RssShmem")
    calls = account.read_by_calls()
    peak.start()
    weights = load_weights(checkpoint, spec, on_bytes=lambda count, total: told.append(count))
    jax.block_until_ready(weights)
    peak.ended.set()
    peak.join()
    calls = account.read_by_calls() - calls
    mapped = account.memory("RssFile", "RssShmem") - mapped
    highest = max(peak.highest, account.memory("RssAnon")) - anonymous
    leaves = jax.tree.leaves(weights)
    print(
        json.dumps(
            {
                "kept": sum(s.data.nbytes for leaf in leaves for s in leaf.addressable_shards),
                "told": sum(told),
                "anonymous": highest,
                "touched": calls + mapped,
                "right": right(open_checkpoint(Path(shards), config), weights, spec),
            }
        )
    )
    sys.stdout.flush()
    os._exit(0)  # the other host may be gone already, and nothing is left to be done


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
