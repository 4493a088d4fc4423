"""The GPU kernel, interpreted: equal to plain arithmetic. And lowered for CUDA, without a GPU."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime import pallas_matmul
from grokdist_runtime.pallas_matmul import product, products, tiles_for
from grokdist_runtime.quantised import Quantised, matmul
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.random_checkpoint import small_config


def stack(rng: np.random.Generator, inner: int, columns: int, groups: int) -> Quantised:
    """Two layers of three matrices; groups differ, so that a wrong scale shows."""
    return Quantised(
        values=jnp.asarray(rng.integers(-127, 128, (2, 3, inner, columns)).astype(np.int8)),
        scales=jnp.asarray(rng.uniform(0.5, 2, (2, 3, groups, columns)).astype(np.float32)),
    )


def matrix(w: Quantised, number: int) -> np.ndarray:
    values = np.asarray(w.values, np.float32).reshape(-1, *w.values.shape[-2:])[number]
    scales = np.asarray(w.scales).reshape(-1, *w.scales.shape[-2:])[number]
    return values * np.repeat(scales, values.shape[0] // scales.shape[0], 0)


def close(found: jax.Array, x: jax.Array, w: np.ndarray) -> bool:
    expected = np.asarray(x.astype(jnp.float32)) @ w
    return bool(np.abs(np.asarray(found) - expected).max() < 2e-6 * np.abs(expected).max() + 1e-3)


@pytest.mark.parametrize(
    ("inner", "columns", "groups", "rows", "dtype"),
    [
        (128, 48, 4, 1, "bfloat16"),
        (96, 272, 2, 1, "float32"),
        (128, 48, 4, 8, "float32"),
        (96, 16, 2, 17, "bfloat16"),
    ],
)
def test_a_product_equals_plain_arithmetic(
    inner: int, columns: int, groups: int, rows: int, dtype: str, rng: np.random.Generator
) -> None:
    w = stack(rng, inner, columns, groups)
    x = jnp.asarray(rng.normal(size=(rows, inner)), dtype)
    run = jax.jit(functools.partial(product, interpret=True))
    for layer, place in ((0, 0), (1, 2)):
        found = run(x, w, (layer, place))
        assert found.shape == (rows, columns)
        assert found.dtype == jnp.float32
        assert close(found, x, matrix(w, layer * 3 + place))


@pytest.mark.parametrize("rows", [1, 5])
def test_every_block_has_its_own_matrix_of_each_stack(rows: int, rng: np.random.Generator) -> None:
    stacks = (stack(rng, 512, 32, 2), stack(rng, 512, 32, 2))
    x = jnp.asarray(rng.normal(size=(4, rows, 512)), jnp.float32)
    tiles = tiles_for(stacks[0], 4, rows)
    assert tiles is not None
    assert tiles.splits > 2, "parts within a group are summed, too"
    numbers = jnp.array([5, -1, 0, 5], jnp.int32)
    found = products(x, stacks, numbers, tiles, interpret=True)
    for w, each in zip(stacks, found, strict=True):
        for block in (0, 2, 3):
            assert close(each[block], x[block], matrix(w, int(numbers[block])))


def test_blocks_without_a_matrix_read_none(rng: np.random.Generator) -> None:
    """A number past the stack would be clamped, and its result a product; -1 gives none."""
    w = stack(rng, 64, 32, 1)
    x = jnp.ones((1, 1, 64))
    tiles = tiles_for(w, 1, 1)
    assert tiles is not None
    (found,) = products(x, (w,), jnp.array([-1], jnp.int32), tiles, interpret=True)
    for number in range(6):
        assert not close(found[0], x[0], matrix(w, number))


def abstract(shape: tuple[int, ...], groups: int) -> Quantised:
    *lead, _, columns = shape
    return Quantised(
        values=jax.ShapeDtypeStruct(shape, jnp.int8),  # type: ignore[arg-type]
        scales=jax.ShapeDtypeStruct((*lead, groups, columns), jnp.float32),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("shape", "groups", "possible"),
    [
        ((64, 8, 6144, 4096), 1, True),  # Grok-1's experts over 8 devices
        ((64, 8, 4096, 6144), 1, True),
        ((3, 8, 32768, 6144), 8, True),  # and on one
        ((64, 6144, 128), 1, True),
        ((2, 8, 6144, 32768), 1, False),  # 3.2 GB: offsets that 32 bits hold, but no sign
        ((2, 3, 64, 40), 1, False),  # columns that no tile divides
        ((2, 3, 24, 64), 2, False),  # groups of 12 rows
    ],
)
def test_what_the_kernel_can_do_is_known_beforehand(
    shape: tuple[int, ...], groups: int, possible: bool
) -> None:
    w = abstract(shape, groups)
    for rows in (1, 16, 32):
        tiles = tiles_for(w, 2, rows)
        assert (tiles is not None) == possible
        if tiles is not None:
            inner, columns = shape[-2:]
            part = inner // tiles.splits
            assert part * tiles.splits == inner
            assert part % tiles.inner == 0
            assert tiles.splits % groups == 0
            assert columns % tiles.columns == 0
    assert tiles_for(w, 2, pallas_matmul.MAX_ROWS + 1) is None


def test_matmul_takes_the_kernel_where_it_can_and_the_plain_path_elsewhere(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec.create(small_config(), make_mesh("1x1"), kernels="pallas")
    calls = []

    def counted(*args: object, **options: object) -> object:
        calls.append(args)
        return products(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pallas_matmul, "products", counted)
    for columns, expected in ((64, 1), (40, 0)):
        calls.clear()
        w = stack(rng, 64, columns, 2)
        x = jnp.asarray(rng.normal(size=(2, 64)), jnp.float32)
        assert close(matmul(x, w, (1, 1), spec), x, matrix(w, 4))
        assert len(calls) == expected


def test_a_machine_without_the_compiler_gets_the_plain_path() -> None:
    """A CPU refuses to compile the kernel; that is found out, and no error."""
    pallas_matmul.works.cache_clear()
    assert not pallas_matmul.works()


@pytest.mark.parametrize(("blocks", "rows"), [(2, 1), (8, 16), (23, 64)])
def test_it_lowers_for_cuda_and_nothing_outside_it_touches_a_weight(blocks: int, rows: int) -> None:
    """Grok-1's experts, as each of 8 devices has them: 12.9 GB in a stack, never held here."""
    w = abstract((64, 8, 6144, 4096), 1)
    tiles = tiles_for(w, blocks, rows)
    assert tiles is not None

    def gate_and_up(x: jax.Array, w: Quantised, numbers: jax.Array) -> tuple[jax.Array, ...]:
        return products(x, (w, w), numbers, tiles, interpret=False)

    x = jax.ShapeDtypeStruct((blocks, rows, 6144), jnp.bfloat16)
    numbers = jax.ShapeDtypeStruct((blocks,), jnp.int32)
    text = jax.jit(gate_and_up).trace(x, w, numbers).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("gpu.triton") == 1
    weights = [line for line in text.splitlines() if re.search(r"tensor<[0-9x]+xi8>", line)]
    allowed = ("func.func public @main", "stablehlo.reshape", "gpu.triton")
    assert weights
    assert all(any(name in line for name in allowed) for line in weights), weights
