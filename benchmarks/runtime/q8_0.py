"""llama.cpp's Q8_0: blocks of 32 int8 values along the input, each with one float16 scale.

Grouped int8 matrices carry over without rounding: the values stay, and a scale that covers many
rows of the input is repeated for each block of them. Needs NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BLOCK = 32
"""Values that share one scale."""
BLOCK_BYTES = 2 + BLOCK


def pack(values: Array, scales: Array) -> Array:
    """Packs ``[K, N]`` int8 with ``[G, N]`` float32 scales into blocks ``[N, K / 32, 34]`` uint8.

    Raises:
        ValueError: A scale is no float16, or a group is no whole number of blocks.
    """
    rows, columns = values.shape
    halves = scales.astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), scales):
        raise ValueError("a scale is not exact in float16; expected one that is")
    if rows % (len(scales) * BLOCK):
        raise ValueError(
            f"{len(scales)} groups of {rows} rows; expected groups of a multiple of {BLOCK}"
        )
    blocks = np.empty((columns, rows // BLOCK, BLOCK_BYTES), np.uint8)
    repeated = np.repeat(halves.T, rows // BLOCK // len(scales), axis=1)  # [N, K / 32]
    blocks[..., :2] = np.ascontiguousarray(repeated)[..., None].view(np.uint8)
    blocks[..., 2:] = values.T.reshape(columns, -1, BLOCK).view(np.uint8)
    return blocks


def unpack(blocks: Array) -> Array:
    """The weights ``[K, N]`` float32 that blocks ``[N, K / 32, 34]`` stand for."""
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32)
    values = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    weights: Array = (values * scales).reshape(len(blocks), -1).T
    return weights
