"""From memory-mapped tensors to sharded device arrays, a layer at a time.

Each device's part is cut out of the memory map, so a host reads only what its devices hold, and no
second copy of the weights is made: stacked arrays are allocated once on the devices and filled
layer by layer in place. Reading shards safely is left to ``grokdist_runtime.checkpoint``.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.params import ParamInfo, Weights, abstract_weights, bytes_per_device
from grokdist_runtime.spec import ModelSpec

Array = np.ndarray[Any, Any]
Cut = tuple[slice, ...]


def load_weights(checkpoint: Checkpoint, spec: ModelSpec) -> Weights[jax.Array]:
    """Reads every tensor of the model onto the mesh's devices.

    Raises:
        DeviceError: The model does not fit into the memory of its devices.
        CheckpointError: A file is not the one that was opened.
    """
    check_memory(spec)
    tree = abstract_weights(spec)
    shardings = jax.tree.map(lambda info: info.sharding(spec), tree.layers)

    def allocate() -> Any:
        return jax.tree.map(lambda info: jnp.zeros(info.shape, info.dtype), tree.layers)

    def fill(stack: Any, part: Any, layer: jax.Array) -> Any:
        return jax.tree.map(
            lambda whole, one: lax.dynamic_update_index_in_dim(whole, one, layer, 0), stack, part
        )

    stack = jax.jit(allocate, out_shardings=shardings)()
    fill_jit = jax.jit(fill, donate_argnums=0, out_shardings=shardings)
    for layer in range(spec.config.num_layers):
        part = jax.tree.map(lambda info, at=layer: _read(checkpoint, info, at, spec), tree.layers)
        # Waiting keeps at most one layer in memory beside the stack.
        stack = jax.block_until_ready(fill_jit(stack, part, np.int32(layer)))
    return Weights(
        embedding=_read(checkpoint, tree.embedding, 0, spec),
        final_norm=_read(checkpoint, tree.final_norm, 0, spec),
        layers=stack,
    )


def check_memory(spec: ModelSpec) -> None:
    """Compares the weights with the memory there is; leaves cache and activations out.

    Raises:
        DeviceError: The weights alone are larger than a device's memory.
    """
    needed = bytes_per_device(spec)
    local = spec.mesh.local_devices
    stats = local[0].memory_stats()
    if stats and "bytes_limit" in stats:
        room, where = int(stats["bytes_limit"]), f"each {local[0].device_kind} has"
    elif spec.on_cpu and hasattr(os, "sysconf"):
        needed *= len(local)  # simulated devices share the machine's memory
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        where = "this machine has"
    else:
        return
    if needed > room:
        raise DeviceError(
            f"the weights need {needed / 1e9:.1f} GB of memory; {where} {room / 1e9:.1f} GB",
            hint="split the model over more devices with --mesh 1xN",
        )


def _read(checkpoint: Checkpoint, info: ParamInfo, layer: int, spec: ModelSpec) -> jax.Array:
    """One tensor as a sharded array, without the layer dimension."""
    shard = checkpoint[info.names[layer]]
    shape = info.shape[1:] if info.stacked else info.shape
    axes = info.axes[1:] if info.stacked else info.axes
    sharding = spec.rules.sharding(spec.mesh, axes)
    if info.part == "scales" and shard.scales is not None:
        scales = shard.scales.array().astype(info.dtype)
        cut = functools.partial(_cut_scales, scales, shape[-2])
    else:
        cut = functools.partial(_cut, shard.weight.array(), jnp.dtype(info.dtype))
    return jax.make_array_from_callback(shape, sharding, cut)


def _cut(array: Array, dtype: np.dtype[Any], index: Cut) -> Array:
    """A device's part of the memory map; only its pages are read."""
    return array[index].astype(dtype, copy=False)


def _cut_scales(scales: Array, units: int, index: Cut) -> Array:
    """A device's scales, their groups repeated where ``scale_groups`` cuts them finer."""
    *lead, rows, columns = index
    groups = np.arange(units)[rows] // (units // scales.shape[-2])
    part: Array = scales[(*lead, slice(None), columns)][..., groups, :]
    return part
