"""Products with int8 matrices whose scales belong to groups of rows.

``w[k, n] = values[k, n] * scales[k // (K / G), n]``. Scales are applied after the product, group
by group, so that only int8 bytes are read from memory. Matrices stand in stacks ``[layer, ...]``
or ``[layer, expert, ...]`` and are sliced out of these in place, never copied first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime.native.grouped_matmul import grouped_matmul
from grokdist_runtime.spec import ModelSpec

Index = tuple[jax.Array | int, ...]
"""Position of one matrix in its stack."""

_MAX_BLOCKED_ROWS = 4
_BLOCK_ELEMENTS = 1 << 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantised:
    """A stack of int8 matrices with their scales.

    Attributes:
        values: ``[..., K, N]`` int8, used as ``x @ w``.
        scales: ``[..., G, N]`` float32, ``G`` a divisor of ``K``.
    """

    values: jax.Array
    scales: jax.Array


def scale_groups(rows: int, groups: int, shards: int) -> int:
    """How many groups to cut the scales into so that each device gets whole groups.

    The smallest number whose groups lie within both the original groups and one device's rows;
    scales are repeated to that number when they are loaded. Both arguments divide ``rows``.
    """
    return rows // math.gcd(rows // groups, rows // shards)


def matmul(x: jax.Array, w: Quantised, index: Index, spec: ModelSpec) -> jax.Array:
    """``x [n, K] @ w[index] [K, N]``, summed in float32.

    Returns:
        ``[n, N]`` float32.
    """
    x = x.astype(spec.dtype)
    if spec.kernels == "native":
        return _native(x, (w,), index)[0]
    if spec.kernels == "pallas":
        # Here and not above: it builds on this module, and takes a while to import.
        from grokdist_runtime import pallas_matmul

        out = pallas_matmul.product(x, w, index, interpret=spec.on_cpu)
        if out is not None:
            return out
    if spec.on_cpu and x.shape[0] <= _MAX_BLOCKED_ROWS:
        return _blocked(x, w, index)
    return _whole(x, w, index)


def matmuls(
    x: jax.Array, stacks: Sequence[Quantised], index: Index, spec: ModelSpec
) -> list[jax.Array]:
    """``matmul`` with the matrix at ``index`` of each stack; one call where that is faster."""
    if spec.kernels == "native":
        return _native(x.astype(spec.dtype), stacks, index)
    return [matmul(x, w, index, spec) for w in stacks]


def _native(x: jax.Array, stacks: Sequence[Quantised], index: Index) -> list[jax.Array]:
    number: jax.Array | int = 0
    for place, size in zip(index, stacks[0].values.shape, strict=False):
        number = number * size + place
    matrix = jnp.full(x.shape[0], number, jnp.int32)
    return grouped_matmul(x, matrix, [(w.values, w.scales) for w in stacks])


def _whole(x: jax.Array, w: Quantised, index: Index) -> jax.Array:
    values = _slice(w.values, index, 0, w.values.shape[-2])  # [K, N]
    scales = _slice(w.scales, index, 0, w.scales.shape[-2])  # [G, N]
    groups = scales.shape[0]
    if groups == 1:
        return dot("nk,km->nm", x, values.astype(x.dtype)) * scales
    x = x.reshape(x.shape[0], groups, -1)  # [n, G, K/G]
    values = values.reshape(groups, -1, values.shape[-1])  # [G, K/G, N]
    parts = dot("ngk,gkm->gnm", x, values.astype(x.dtype))
    return (parts * scales[:, None]).sum(0)


def _blocked(x: jax.Array, w: Quantised, index: Index) -> jax.Array:
    """Row blocks small enough that their float32 copy stays in a core's cache.

    XLA on a CPU writes the converted operand of a product to memory; converting a whole matrix
    costs three times the time of the rest.
    """
    rows, columns = w.values.shape[-2:]
    groups = w.scales.shape[-2]
    block = _block_rows(rows // groups, columns)
    blocks_per_group = rows // groups // block

    def add_block(i: jax.Array, total: jax.Array) -> jax.Array:
        values = _slice(w.values, index, i * block, block).astype(x.dtype)  # [block, N]
        part = dot("nk,km->nm", lax.dynamic_slice_in_dim(x, i * block, block, 1), values)
        if groups > 1:
            part = part * _slice(w.scales, index, i // blocks_per_group, 1)
        return total + part

    total: jax.Array = lax.fori_loop(
        0, groups * blocks_per_group, add_block, jnp.zeros((x.shape[0], columns), jnp.float32)
    )
    return total if groups > 1 else total * _slice(w.scales, index, 0, 1)


def _block_rows(group_rows: int, columns: int) -> int:
    """A divisor of ``group_rows``, near the 8 to 32 rows that were measured to be fastest."""
    target = min(32, max(8, _BLOCK_ELEMENTS // columns))
    divisors = [d for d in range(1, min(group_rows, 4096) + 1) if group_rows % d == 0]
    small = max(d for d in divisors if d <= target)
    large = min((d for d in divisors if d > target), default=group_rows)
    return small if small * 4 >= target or small == group_rows else large


def _slice(stack: jax.Array, index: Index, row: jax.Array | int, rows: int) -> jax.Array:
    start = (*index, row, 0)
    size = (1,) * len(index) + (rows, stack.shape[-1])
    return lax.dynamic_slice(stack, start, size).reshape(rows, stack.shape[-1])


def dot(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """``einsum`` that sums in float32, and never in the TF32 that GPUs would choose."""
    out: jax.Array = jnp.einsum(
        equation, x, y, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )
    return out
