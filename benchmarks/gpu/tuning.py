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
    width = layers.gate.values.shape[-2]
    usual = tiles_for(layers.gate, blocks, rows)
    if usual is None:
        return []
    x = jnp.ones((blocks, rows, width), jnp.bfloat16)
    numbers = jnp.arange(blocks, dtype=jnp.int32)
    matrix = layers.gate.values.shape[-2] * layers.gate.values.shape[-1]
    found = []
    for tiles in _candidates(usual, width):
        call = jax.jit(functools.partial(products, tiles=tiles, interpret=interpret))
        row = dataclasses.asdict(tiles) | {"usual": tiles == usual}
        try:
            seconds = seconds_of(call, (x, stacks, numbers), 20)
        except jax.errors.JaxRuntimeError as error:  # too many registers, or too much shared memory
            found.append(row | {"bytes_per_s": 0.0, "error": str(error).splitlines()[0][:120]})
        else:
            found.append(row | {"bytes_per_s": 2 * blocks * matrix / seconds})
    return sorted(found, key=lambda row: -row["bytes_per_s"])


def _candidates(usual: Tiles, width: int) -> Iterator[Tiles]:
    yield usual
    for inner, columns, warps, factor in itertools.product(
        (16, 32, 64), (64, 128, 256), (4, 8), (0.5, 1, 2)
    ):
        splits = max(1, int(usual.splits * factor))
        stages = (usual.stages,) if usual.rows == 1 else (1, 3, 4)
        if columns * inner > 16384 or width % (splits * inner):
            continue
        for stage in stages:
            tiles = dataclasses.replace(
                usual, inner=inner, columns=columns, warps=warps, splits=splits, stages=stage
            )
            if tiles != usual:
                yield tiles
