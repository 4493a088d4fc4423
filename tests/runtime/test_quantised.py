"""Products with grouped scales, int8 and int4, in blocks and whole, against plain arithmetic."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime.checkpoint.requantisation import pack
from grokdist_runtime.quantised import Quantised, matmul, scale_groups
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.random_checkpoint import small_config


@pytest.mark.parametrize(("tokens", "on_cpu"), [(1, True), (4, True), (5, True), (1, False)])
@pytest.mark.parametrize(("rows", "groups"), [(176, 8), (344, 8), (64, 1), (6, 3), (262, 2)])
def test_matmul_scales_each_group(
    rows: int, groups: int, tokens: int, on_cpu: bool, rng: np.random.Generator
) -> None:
    """176 / 8 = 22 rows do not fill a block, 344 / 8 = 43 and 262 / 2 = 131 are prime."""
    spec = ModelSpec.create(small_config(), make_mesh("1x1"))
    spec = dataclasses.replace(spec, on_cpu=on_cpu)
    values = rng.integers(-127, 128, (2, 3, rows, 40)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (2, 3, groups, 40)).astype(np.float32)
    x = rng.normal(size=(tokens, rows)).astype(np.float32)
    w = Quantised(values=jnp.asarray(values), scales=jnp.asarray(scales))
    found = jax.jit(lambda x, w, e: matmul(x, w, (1, e), spec))(x, w, 2)
    weight = values[1, 2] * np.repeat(scales[1, 2], rows // groups, 0)
    assert np.allclose(found, x @ weight, rtol=1e-4, atol=1e-4 * np.abs(x @ weight).max())


@pytest.mark.parametrize("tokens", [1, 4, 5])
@pytest.mark.parametrize(("rows", "groups"), [(176, 8), (344, 4), (64, 1), (6, 3), (262, 1)])
def test_matmul_of_int4(rows: int, groups: int, tokens: int, rng: np.random.Generator) -> None:
    spec = ModelSpec.create(small_config(), make_mesh("1x1"))
    steps = rng.integers(-8, 8, (2, 3, rows, 40)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (2, 3, groups, 40)).astype(np.float32)
    x = rng.normal(size=(tokens, rows)).astype(np.float32)
    w = Quantised(values=jnp.asarray(pack(steps)), scales=jnp.asarray(scales))
    assert w.is_int4
    assert w.values.nbytes == steps.size // 2
    found = jax.jit(lambda x, w, e: matmul(x, w, (1, e), spec))(x, w, 2)
    weight = steps[1, 2] * np.repeat(scales[1, 2], rows // groups, 0)
    assert np.allclose(found, x @ weight, rtol=1e-4, atol=1e-4 * np.abs(x @ weight).max())


@pytest.mark.parametrize(
    ("rows", "groups", "shards", "expected"),
    [
        (176, 8, 1, 8),
        (176, 8, 8, 8),
        (176, 1, 8, 8),
        (176, 16, 8, 16),
        (48, 8, 3, 24),
        (64, 2, 8, 8),
    ],
)
def test_scale_groups_lie_within_groups_and_devices(
    rows: int, groups: int, shards: int, expected: int
) -> None:
    units = scale_groups(rows, groups, shards)
    assert units == expected
    assert units % groups == 0
    assert units % shards == 0
    assert rows % units == 0
