"""A kernel for GPUs: few rows times int8 matrices, read straight out of their stacks.

XLA may write the widened copy of a weight to memory before a product with one row; this kernel
widens in registers, so that a weight's bytes cross the memory once, as int8. It finds its matrix by
a number that is read on the device: nothing is sliced or copied first. One launch serves blocks of
rows that each use another matrix, which is what a step of decoding needs of its experts.

Every program takes one tile of columns of one block and a part of the rows of the matrix (split-K:
a matrix has too few columns to keep a GPU's memory busy otherwise). The parts are summed, and
scaled, by XLA in one small fusion: deterministic, and no atomics. One row is multiplied and summed
in float32; more are padded to 16, 32 or 64 and go through the tensor cores, whose products take no
fewer. Written in Pallas and compiled by XLA's Triton; CPUs interpret it in tests.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from grokdist_runtime.quantised import Quantised

MAX_ROWS = 64
"""The most rows of a block. XLA's own fusion is good at more: it copies the matrix, still int8."""

_MIN_DOT_ROWS = 16
_PROGRAMS = 512
"""Programs to aim for: about four on each of the 132 processors of an H100."""

_MIN_TILE = 16
_MIN_PART = 2  # tiles of rows that a program takes, at least
# JAX lets Triton compute offsets in 32 bits up to 4 GiB; Triton takes them as signed.
_LAST_SIGNED, _LAST_NARROW = 1 << 31, 1 << 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiles:
    """How one product is cut up.

    Attributes:
        rows: Of each block of ``x``: 1, 16, 32 or 64.
        inner: Rows of the matrix that a program reads at once; a power of two.
        columns: Columns of the matrix that a program takes; a power of two.
        splits: Programs that share the rows of a tile of columns; a multiple of the scale groups.
        warps: Of 32 threads each, in a program.
        stages: Loads in flight where Triton pipelines them (with tensor cores).
    """

    rows: int
    inner: int
    columns: int
    splits: int
    warps: int
    stages: int


def tiles_for(w: Quantised, blocks: int, rows: int) -> Tiles | None:
    """Tiles for products of ``blocks`` blocks of ``rows`` rows, or None where the kernel cannot.

    Nothing here was measured on a GPU: tiles are wide enough for whole cache lines, and programs
    enough to have some 20 KiB of loads in flight on each processor.
    """
    inner_size, columns_size = w.values.shape[-2:]
    groups = w.scales.shape[-2]
    if w.is_int4:
        return None
    if not 1 <= rows <= MAX_ROWS or _LAST_SIGNED < w.values.size <= _LAST_NARROW:
        return None
    one = rows == 1
    columns = _power_of_two(columns_size, 256 if one else 128)
    inner = _power_of_two(inner_size // groups, 32 if one else 64)
    if min(columns, inner) < _MIN_TILE:
        return None
    steps = inner_size // groups // inner  # tiles of rows in a group
    wanted = max(1, _PROGRAMS * columns // (blocks * columns_size * groups))
    most = max(1, steps // _MIN_PART)
    per_group = max(n for n in range(1, steps + 1) if steps % n == 0 and n <= min(wanted, most))
    return Tiles(
        rows=1 if one else max(_MIN_DOT_ROWS, 1 << (rows - 1).bit_length()),
        inner=inner,
        columns=columns,
        splits=groups * per_group,
        warps=8 if one or rows > 32 else 4,
        stages=3,
    )


def product(
    x: jax.Array, w: Quantised, index: tuple[jax.Array | int, ...], *, interpret: bool
) -> jax.Array | None:
    """``x [n, K] @ w[index]``, ``[n, N]`` float32; None where the kernel cannot do it."""
    tiles = tiles_for(w, 1, x.shape[0])
    if tiles is None:
        return None
    number = jnp.int32(0)
    for place, size in zip(index, w.values.shape, strict=False):
        number = number * size + place
    return products(x[None], (w,), number[None], tiles, interpret=interpret)[0][0]


@functools.cache
def works() -> bool:
    """Whether the kernel runs on this process's first device, and computes what it should there.

    Tried on a few numbers, with one row and with several: a compiler that refuses it, or gets it
    wrong, costs speed then and nothing else.
    """
    values = jnp.arange(2 * 64 * 32, dtype=jnp.int32).astype(jnp.int8).reshape(2, 64, 32)
    w = Quantised(values=values, scales=jnp.full((2, 2, 32), 0.5).at[:, 1].set(2.0))
    widened = w.values[1] * jnp.repeat(w.scales[1], 32, axis=0)
    try:
        for rows in (1, 5):
            x = jnp.cos(jnp.arange(rows * 64.0)).reshape(rows, 64)
            found = product(x, w, (1,), interpret=False)
            expected = jnp.dot(x, widened, precision=lax.Precision.HIGHEST)
            if found is None or not jnp.allclose(found, expected, rtol=1e-3, atol=1.0):
                return False
    # Whatever a compiler or driver throws: there is another way to compute, and it is taken.
    except Exception:
        return False
    return True


def products(
    x: jax.Array,
    stacks: tuple[Quantised, ...],
    numbers: jax.Array,
    tiles: Tiles,
    *,
    interpret: bool,
) -> tuple[jax.Array, ...]:
    """Each block of rows times its matrix, for several stacks of matrices of one shape.

    Args:
        x: ``[B, rows, K]``; ``rows`` at most ``tiles.rows``.
        stacks: Values ``[..., K, N]``, all of one shape.
        numbers: ``[B]`` int32, each block's matrix in row-major order of the stacks' leading axes.
            Where one is negative nothing is read, and the block's result is arbitrary.
        tiles: From ``tiles_for``.
        interpret: Run as plain JAX, for devices that have no Triton.

    Returns:
        ``[B, rows, N]`` float32 for each stack.
    """
    blocks, rows, inner_size = x.shape
    columns_size = stacks[0].values.shape[-1]
    x = jnp.pad(x, ((0, 0), (0, tiles.rows - rows), (0, 0)))
    values = [w.values.reshape(-1, inner_size, columns_size) for w in stacks]
    part = inner_size // tiles.splits
    whole = pl.BlockSpec(values[0].shape, lambda b, n, s: (0, 0, 0))
    out = pl.BlockSpec((None, None, tiles.rows, tiles.columns), lambda b, n, s: (b, s, 0, n))
    shape = jax.ShapeDtypeStruct((blocks, tiles.splits, tiles.rows, columns_size), jnp.float32)
    parts = pl.pallas_call(
        functools.partial(_kernel, tiles=tiles, steps=part // tiles.inner),
        # Blocks vary fastest: those that share a matrix read a tile while it is in the L2 cache.
        grid=(blocks, columns_size // tiles.columns, tiles.splits),
        in_specs=[
            pl.BlockSpec((blocks,), lambda b, n, s: (0,)),
            pl.BlockSpec((None, tiles.rows, part), lambda b, n, s: (b, 0, s)),
            *[whole] * len(stacks),
        ],
        out_specs=[out] * len(stacks),
        out_shape=[shape] * len(stacks),
        compiler_params=_compiler_params(tiles),
        interpret=interpret,
        name="int8_products",
    )(numbers, x, *values)
    return tuple(_scaled(each, w, numbers)[:, :rows] for each, w in zip(parts, stacks, strict=True))


def _kernel(numbers: jax.Array, x: jax.Array, *refs: jax.Array, tiles: Tiles, steps: int) -> None:
    """One program: ``[rows, columns]`` of each stack's product, over its part of the rows.

    Refs: ``numbers [B]``, ``x [rows, part]``, each stack ``[M, K, N]``, each result
    ``[rows, columns]``.
    """
    stacks, results = refs[: len(refs) // 2], refs[len(refs) // 2 :]
    number = numbers[pl.program_id(0)]
    column = pl.ds(pl.program_id(1) * tiles.columns, tiles.columns)
    first = pl.program_id(2) * (steps * tiles.inner)
    one = tiles.rows == 1

    def tile(stack: jax.Array, step: jax.Array) -> jax.Array:
        row = pl.ds(first + step * tiles.inner, tiles.inner)
        return stack[number, row, column].astype(x.dtype)  # [inner, columns], exact in bfloat16

    def add_tile(step: jax.Array, totals: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        at = pl.ds(step * tiles.inner, tiles.inner)
        if one:
            row = x[0, at].astype(jnp.float32)[:, None]  # [inner, 1]
            # Summed over the rows only at the end: that is where threads must meet.
            return tuple(
                total + row * tile(stack, step).astype(jnp.float32)
                for total, stack in zip(totals, stacks, strict=True)
            )
        block = x[:, at]  # [rows, inner]
        return tuple(
            total
            + lax.dot(
                block,
                tile(stack, step),
                precision=lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
                preferred_element_type=jnp.float32,
            )
            for total, stack in zip(totals, stacks, strict=True)
        )

    @pl.when(number >= 0)
    def _() -> None:
        shape = (tiles.inner if one else tiles.rows, tiles.columns)
        zeros = (jnp.zeros(shape, jnp.float32),) * len(stacks)
        totals = lax.fori_loop(0, steps, add_tile, zeros)
        for result, total in zip(results, totals, strict=True):
            if one:
                result[0, :] = jnp.sum(total, axis=0)
            else:
                result[:, :] = total


def _scaled(parts: jax.Array, w: Quantised, numbers: jax.Array) -> jax.Array:
    """``[B, splits, rows, N]`` to ``[B, rows, N]``: each group's parts summed, then scaled."""
    blocks, splits, rows, columns = parts.shape
    groups = w.scales.shape[-2]
    scales = w.scales.reshape(-1, groups, columns)
    chosen = jnp.take(scales, jnp.maximum(numbers, 0), axis=0)  # [B, G, N]
    sums = parts.reshape(blocks, groups, splits // groups, rows, columns).sum(2)
    return (sums * chosen[:, :, None]).sum(1)


def _compiler_params(tiles: Tiles) -> pl.CompilerParams:
    # Here and not above: JAX is going to remove its Triton backend, and all else must go on.
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages)


def _power_of_two(size: int, most: int) -> int:
    """The largest power of two that divides ``size`` and is at most ``most``."""
    return math.gcd(size, most)
