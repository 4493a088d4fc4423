"""Which tiles make the kernel fastest: the experts' first product, over many shapes of tile."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gpu.timing import seconds_of
from grokdist_runtime.pallas_matmul import Tiles, products, tiles_for
from grokdist_runtime.params import LayerWeights


def tune(
    layers: LayerWeights[jax.Array], *, blocks: int, rows: int, interpret: bool
) -> list[dict[str, Any]]:
    """Bytes a second of gate and up together, for each shape of tiles; the fastest first."""
    stacks = (layers.gate, layers.up)
    width, columns = layers.gate.values.shape[-2:]
    usual = tiles_for(layers.gate, blocks, rows)
    if usual is None:
        return []
    x = jnp.ones((blocks, rows, width), jnp.bfloat16)
    numbers = jnp.arange(blocks, dtype=jnp.int32)
    matrix = width * columns
    found = []
    for tiles in candidates(usual, width, columns):
        call = jax.jit(functools.partial(products, tiles=tiles, interpret=interpret))
        row = dataclasses.asdict(tiles) | {"usual": tiles == usual}
        try:
            seconds = seconds_of(call, (x, stacks, numbers), 20)
        except jax.errors.JaxRuntimeError as error:  # too many registers, or too much shared memory
            found.append(row | {"bytes_per_s": 0.0, "error": str(error).splitlines()[0][:120]})
        else:
            found.append(row | {"bytes_per_s": 2 * blocks * matrix / seconds})
    return sorted(found, key=lambda row: -row["bytes_per_s"])


def candidates(usual: Tiles, rows: int, columns: int) -> Iterator[Tiles]:
    """Tiles near the usual ones that divide a matrix ``[rows, columns]``, the usual ones first."""
    yield usual
    for inner, wide, warps, factor in itertools.product(
        (16, 32, 64), (64, 128, 256), (4, 8), (0.5, 1, 2)
    ):
        splits = max(1, int(usual.splits * factor))
        if wide * inner > 16384 or columns % wide or rows % (splits * inner):
            continue
        for stages in (usual.stages,) if usual.rows == 1 else (1, 3, 4):
            tiles = dataclasses.replace(
                usual, inner=inner, columns=wide, warps=warps, splits=splits, stages=stages
            )
            if tiles != usual:
                yield tiles
