"""Round int8 matrices to int4 in groups of rows: smaller, and no longer what was released.

Each group of a column gets the scale, of a few, whose rounding has the least squared error: on
trained weights a sixth less error (root mean square) than the scale that just reaches the largest
value, which ``benchmarks/quantisation.py`` measures. Scales are bfloat16, as the release's are, and
are rounded before the values are, so that loading and converting give the same model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np

from grokdist_runtime.errors import CheckpointError

Array = np.ndarray[Any, Any]

STEPS = (7, 8, 9, -8, -9)
"""The largest value of a group, in steps of each scale that is tried. int4 holds -8 to 7: 7 clips
nothing, -8 puts the largest value on the end that has one step more, others clip a little."""

_LARGEST_SCALE = 1e36  # so that 128 of it are still a float32
_SMALLEST_STEP = np.finfo(np.float32).tiny
_BLOCK_ELEMENTS = 1 << 16  # a block and its copies stay in a core's cache


def requantise(values: Array, scales: Array, group: int) -> tuple[Array, Array]:
    """Rounds matrices to int4.

    Args:
        values: ``[..., K, N]`` int8.
        scales: ``[..., G, N]``, ``G`` a divisor of ``K``.
        group: Rows that share a new scale; even, a divisor of ``K``.

    Returns:
        ``[..., K / 2, N]`` uint8, packed, and ``[..., K / group, N]`` bfloat16.

    Raises:
        CheckpointError: A scale is infinite, no number, or absurdly large.
    """
    *lead, rows, columns = values.shape
    packed = np.empty((*lead, rows // 2, columns), np.uint8)
    found = np.empty((*lead, rows // group, columns), ml_dtypes.bfloat16)
    width = max(1, _BLOCK_ELEMENTS // group)

    def do(at: tuple[int, ...], place: int, columns: slice) -> None:
        part = slice(place * group, (place + 1) * group)
        rows_scale = _scale_of_rows(scales[at], rows, part, columns)
        weights = values[at][part, columns].astype(np.float32) * rows_scale
        steps, best = _rounded(weights)
        half = slice(part.start // 2, part.stop // 2)
        packed[at][half, columns] = pack(steps)
        found[at][place, columns] = best

    def blocks() -> Iterator[tuple[tuple[int, ...], int, slice]]:
        for at in np.ndindex(*lead):
            for place in range(rows // group):
                for start in range(0, columns, width):
                    yield at, place, slice(start, min(start + width, columns))

    # The comparison is false for NaN too.
    if not (np.abs(scales.astype(np.float32)) < _LARGEST_SCALE).all():
        raise CheckpointError(f"a scale is no number below {_LARGEST_SCALE:g}; expected only such")
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # NumPy lets go of Python's lock
        for _ in threads.map(lambda block: do(*block), blocks()):
            pass
    return packed, found


def pack(steps: Array) -> Array:
    """``[..., K, N]`` whole numbers from -8 to 7 as ``[..., K / 2, N]`` uint8, two to a byte."""
    nibbles = steps.astype(np.int8).view(np.uint8) & 15
    packed: Array = nibbles[..., 0::2, :] | (nibbles[..., 1::2, :] << 4)
    return packed


def unpack(packed: Array) -> Array:
    """``pack`` undone, as int8."""
    low, high = (packed << 4).view(np.int8) >> 4, packed.view(np.int8) >> 4
    *lead, half, columns = packed.shape
    steps: Array = np.stack([low, high], -2).reshape(*lead, 2 * half, columns)
    return steps


def _scale_of_rows(scales: Array, rows: int, part: slice, columns: slice) -> Array:
    """``[K', N']`` or ``[1, N']`` float32: the old scale of each row of a part."""
    size = rows // scales.shape[0]
    which = np.arange(part.start, part.stop) // size
    if which[0] == which[-1]:
        which = which[:1]
    taken: Array = scales[which, columns].astype(np.float32)
    return taken


def _rounded(weights: Array) -> tuple[Array, Array]:
    """``[g, n]`` steps and ``[n]`` bfloat16 scales of one group of each column."""
    peak = np.abs(weights).max(0)  # [n]
    least = np.full(peak.shape, np.inf, np.float32)
    scales = np.zeros(peak.shape, ml_dtypes.bfloat16)
    scratch = np.empty_like(weights)
    for reach in STEPS:
        tried = (peak / reach).astype(ml_dtypes.bfloat16)
        step = tried.astype(np.float32)
        _to_steps(weights, step, scratch)
        scratch *= step
        scratch -= weights
        error = np.einsum("gn,gn->n", scratch, scratch)
        scales = np.where(error < least, tried, scales)
        least = np.minimum(error, least)
    _to_steps(weights, scales.astype(np.float32), scratch)
    return scratch, scales


def _to_steps(weights: Array, step: Array, out: Array) -> None:
    # A column of zeros, or of what is next to nothing, is rounded to zero by any scale.
    used = np.abs(step) >= _SMALLEST_STEP
    np.multiply(weights, used / np.where(used, step, 1), out=out)
    np.rint(out, out=out)
    np.clip(out, -8, 7, out=out)
