"""Experts that are int8 on disk and int4 on the devices: rounded while they are loaded.

One matrix of one layer at a time, and of that only what this host's devices hold, in whole groups;
so no second copy of the weights is made, and every mesh gets the same values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint
from grokdist_runtime.checkpoint.expert_int4 import group_rows
from grokdist_runtime.checkpoint.parts import Box
from grokdist_runtime.checkpoint.requantisation import requantise
from grokdist_runtime.checkpoint.shard import NUMPY_DTYPES
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor
from grokdist_runtime.parallel_read import Fill, read_all
from grokdist_runtime.params import ParamInfo
from grokdist_runtime.quantised import Quantised
from grokdist_runtime.spec import ModelSpec

Array = np.ndarray[Any, Any]
Corner = tuple[tuple[int, int], ...]


def is_to_be_rounded(checkpoint: Checkpoint, held: Quantised) -> bool:
    """Whether a stack that the devices are to hold as int4 is stored as int8."""
    info: ParamInfo = held.values  # type: ignore[assignment]
    return info.dtype == "uint8" and checkpoint.stored(info.names[0])[0].dtype == "int8"


def bytes_to_read(held: Quantised, spec: ModelSpec) -> int:
    """How much of the int8 values this host reads, to say how far it is."""
    info: ParamInfo = held.values  # type: ignore[assignment]
    parts = info.sharding(spec).addressable_devices_indices_map(info.shape).values()
    corners = {_corner(index, info.shape) for index in parts if index is not None}
    return sum(2 * math.prod(stop - start for start, stop in corner) for corner in corners)


def load_rounded(
    checkpoint: Checkpoint,
    held: Quantised,
    spec: ModelSpec,
    on_bytes: Callable[[int], None],
) -> Quantised:
    """A stack of experts, rounded to int4 layer by layer.

    Args:
        checkpoint: Where its int8 values and scales are.
        held: Of ``ParamInfo``: what the devices are to hold, ``[L, E, K / 2, N]`` uint8.
        spec: The model.
        on_bytes: Told of bytes after each layer.

    Raises:
        CheckpointError: A file is not the one that was opened, or a scale is no usable number.
    """
    info: ParamInfo = held.values  # type: ignore[assignment]
    shardings = jax.tree.map(lambda info: info.sharding(spec), held)

    def allocate() -> Quantised:
        return jax.tree.map(lambda info: jnp.zeros(info.shape, info.dtype), held)  # type: ignore[no-any-return]

    def fill(stack: Quantised, part: Quantised, layer: jax.Array) -> Quantised:
        return jax.tree.map(  # type: ignore[no-any-return]
            lambda whole, one: lax.dynamic_update_index_in_dim(whole, one, layer, 0), stack, part
        )

    stack: Quantised = jax.jit(allocate, out_shardings=shardings)()
    fill_jit = jax.jit(fill, donate_argnums=0, out_shardings=shardings)
    for layer, name in enumerate(info.names):
        values, scales = checkpoint.stored(name)
        assert scales is not None  # noqa: S101 - the table gives experts scales
        part = _rounded_layer(values, scales, held, spec)
        # Waiting keeps at most one layer in memory beside the stack.
        stack = jax.block_until_ready(fill_jit(stack, part, np.int32(layer)))
        on_bytes(bytes_to_read(held, spec) // len(info.names))
    return stack


def _rounded_layer(
    values: StoredTensor, scales: StoredTensor, held: Quantised, spec: ModelSpec
) -> Quantised:
    infos: tuple[ParamInfo, ParamInfo] = (held.values, held.scales)  # type: ignore[assignment]
    shapes = [info.shape[1:] for info in infos]
    rows, groups = values.shape[-2], scales.shape[-2]
    group = group_rows(rows, spec.config.expert_int4_group) or rows
    unit = math.gcd(rows // groups, group)  # rows that share an old scale and a new one
    pairs = shapes[0][-2] // shapes[1][-2]  # of rows, to each row of the scales

    @functools.cache
    def part(box: Corner) -> tuple[Array, Array]:
        """A device's values and scales; the box counts pairs of rows."""
        *lead, (start, stop), columns = box
        first, last = 2 * start // group, -(-2 * stop // group)  # whole groups
        sides = [slice(*side) for side in lead]
        read = _read(values, (*sides, slice(first * group, last * group), slice(*columns)))
        old = _read(scales, (*sides, slice(0, groups), slice(*columns)))
        units = np.arange(first * group, last * group, unit) // (rows // groups)
        packed, found = requantise(read, old[..., units, :], group)
        offset = first * group // 2
        taken = np.arange(start, stop, pairs) * 2 // group - first
        return packed[..., start - offset : stop - offset, :], found[..., taken, :]

    def of_values(index: Any) -> Array:
        return part(_corner(index, shapes[0]))[0]

    def of_scales(index: Any) -> Array:
        *lead, (start, stop), columns = _corner(index, shapes[1])
        return part((*lead, (start * pairs, stop * pairs), columns))[1]

    sharding = spec.rules.sharding(spec.mesh, infos[0].axes[1:])  # scales are split as values are
    return Quantised(
        values=jax.make_array_from_callback(shapes[0], sharding, of_values),
        scales=jax.make_array_from_callback(shapes[1], sharding, of_scales),
    )


def _read(stored: StoredTensor, box: Box) -> Array:
    out = np.empty([side.stop - side.start for side in box], NUMPY_DTYPES[stored.dtype])
    read_all([Fill(stored=stored, box=box, out=out)], on_bytes=_ignore)
    return out


def _ignore(count: int) -> None:
    """Layers are what is counted here."""


def _corner(index: tuple[slice, ...], shape: tuple[int, ...]) -> Corner:
    return tuple(side.indices(size)[:2] for side, size in zip(index, shape, strict=True))
