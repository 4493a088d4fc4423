"""Products with int8 or int4 matrices whose scales belong to groups of rows.

``w[k, n] = values[k, n] * scales[k // (K / G), n]``. Scales are applied after the product, group
by group, so that only the stored bytes are read from memory. Matrices stand in stacks
``[layer, ...]`` or ``[layer, expert, ...]`` and are sliced out of these in place, never copied
first.

An int4 matrix has two rows in one row of bytes (``checkpoint.expert_int4``): its even rows are
multiplied with the even columns of ``x`` and its odd rows with the odd ones, so that nothing is
put back in order.
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
    """A stack of int8 or int4 matrices with their scales.

    Attributes:
        values: ``[..., K, N]`` int8, used as ``x @ w``; of int4 ``[..., K / 2, N]`` uint8.
        scales: ``[..., G, N]``, ``G`` a divisor of the rows of ``values``; float32, of int4
            bfloat16.
    """

    values: jax.Array
    scales: jax.Array

    @property
    def is_int4(self) -> bool:
        """Whether two values share a byte."""
        return bool(self.values.dtype == jnp.uint8)


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
    if spec.kernels == "native" and not w.is_int4:
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
    if spec.kernels == "native" and not any(w.is_int4 for w in stacks):
        return _native(x.astype(spec.dtype), stacks, index)
    return [matmul(x, w, index, spec) for w in stacks]


def _native(x: jax.Array, stacks: Sequence[Quantised], index: Index) -> list[jax.Array]:
    number: jax.Array | int = 0
    for place, size in zip(index, stacks[0].values.shape, strict=False):
        number = number * size + place
    matrix = jnp.full(x.shape[0], number, jnp.int32)
    return grouped_matmul(x, matrix, [(w.values, w.scales) for w in stacks])


def _whole(x: jax.Array, w: Quantised, index: Index) -> jax.Array:
    if x.shape[0] == 1 and w.scales.shape[-2] > 1:
        return _by_group(x, w, index)
    values = _slice(w.values, index, 0, w.values.shape[-2])  # [K, N]
    scales = _slice(w.scales, index, 0, w.scales.shape[-2])  # [G, N]
    groups = scales.shape[0]
    if groups == 1:
        return _sum_of_products("nk,km->nm", x, values) * scales
    x = x.reshape(x.shape[0], groups, -1)  # [n, G, K/G]
    values = values.reshape(groups, -1, values.shape[-1])  # [G, K/G, N]
    parts = _sum_of_products("ngk,gkm->gnm", x, values)
    return (parts * scales[:, None]).sum(0)


def _by_group(x: jax.Array, w: Quantised, index: Index) -> jax.Array:
    """One row, a group of scales at a time.

    For a GPU XLA makes a product of one row a sum, which it fuses with widening and slicing. With
    all groups in one it would sum over an inner axis, and write a transposed float32 copy first.
    """
    rows, columns = w.values.shape[-2:]
    groups = w.scales.shape[-2]
    size = rows // groups

    def add_group(group: jax.Array, total: jax.Array) -> jax.Array:
        values = _slice(w.values, index, group * size, size).astype(x.dtype)  # [K/G, N]
        part = dot("nk,km->nm", lax.dynamic_slice_in_dim(x, group * size, size, 1), values)
        return total + part * _slice(w.scales, index, group, 1)

    zero = jnp.zeros((x.shape[0], columns), jnp.float32)
    total: jax.Array = lax.fori_loop(0, groups, add_group, zero)
    return total


def _blocked(x: jax.Array, w: Quantised, index: Index) -> jax.Array:
    """Row blocks small enough that their float32 copy stays in a core's cache.

    XLA on a CPU writes the converted operand of a product to memory; converting a whole matrix
    costs three times the time of the rest.
    """
    rows, columns = w.values.shape[-2:]
    groups = w.scales.shape[-2]
    block = _block_rows(rows // groups, columns)
    blocks_per_group = rows // groups // block
    width = block * x.shape[1] // rows  # columns of x that a block of rows takes

    def add_block(i: jax.Array, total: jax.Array) -> jax.Array:
        values = _slice(w.values, index, i * block, block)  # [block, N]
        taken = lax.dynamic_slice_in_dim(x, i * width, width, 1)
        part = _sum_of_products("nk,km->nm", taken, values)
        if groups > 1:
            part = part * _slice(w.scales, index, i // blocks_per_group, 1)
        return total + part

    total: jax.Array = lax.fori_loop(
        0, groups * blocks_per_group, add_block, jnp.zeros((x.shape[0], columns), jnp.float32)
    )
    return total if groups > 1 else total * _slice(w.scales, index, 0, 1)


def _sum_of_products(equation: str, x: jax.Array, values: jax.Array) -> jax.Array:
    """``dot`` with values as they are stored: int8 as one matrix, int4 as two."""
    if values.dtype == jnp.int8:
        return dot(equation, x, values.astype(x.dtype))
    even, odd = unpacked(values)
    of_even = dot(equation, x[..., 0::2], even.astype(x.dtype))
    return of_even + dot(equation, x[..., 1::2], odd.astype(x.dtype))


def unpacked(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Even and odd rows ``[..., K / 2, N]`` int8 of int4 values of that shape."""
    low = lax.bitcast_convert_type(values << 4, jnp.int8) >> 4
    return low, lax.bitcast_convert_type(values, jnp.int8) >> 4


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
