"""The experts' two paths against the plain one: every expert on every token."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from grokdist_runtime import moe, params
from grokdist_runtime.runner import Runner
from tests.runtime.conftest import Model, load_runner
from tests.runtime.numpy_oracle import Oracle

LAYER = 1


def run_experts(runner: Runner, x: np.ndarray, in_use: np.ndarray) -> np.ndarray:
    spec = runner.spec
    function = jax.shard_map(
        lambda x, used, layers: moe.experts(x, used, layers, jnp.int32(LAYER), spec),
        mesh=spec.mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), params.partition_specs(spec).layers),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    return np.asarray(jax.jit(function)(x, in_use, runner.weights.layers))


def dense(oracle: Oracle, x: np.ndarray) -> np.ndarray:
    return oracle._experts(f"transformer/decoder_layer_{LAYER}/", x.astype(np.float64))


@pytest.mark.parametrize("tokens", [1, 4, 5, 90])
def test_both_paths_equal_the_dense_one(make_model: Callable[..., Model], tokens: int) -> None:
    """Up to 4 tokens of 2 experts go one by one, more in blocks."""
    model = make_model()
    x = np.random.default_rng(tokens).normal(size=(tokens, 32)).astype(np.float32)
    runner = load_runner(model.directory, "1x2", "float32")
    found = run_experts(runner, x, np.ones(tokens, bool))
    expected = dense(model.oracle, x)
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


def test_no_token_is_dropped_when_all_choose_the_same_experts(
    make_model: Callable[..., Model],
) -> None:
    model = make_model()
    x = np.tile(np.random.default_rng(0).normal(size=(1, 32)), (70, 1)).astype(np.float32)
    x *= np.linspace(0.5, 1.5, 70, dtype=np.float32)[:, None]
    runner = load_runner(model.directory, "1x2", "float32")
    found = run_experts(runner, x, np.ones(70, bool))
    expected = dense(model.oracle, x)
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize("tokens", [4, 40])
def test_rows_not_in_use_change_nothing(make_model: Callable[..., Model], tokens: int) -> None:
    model = make_model()
    x = np.random.default_rng(9).normal(size=(tokens, 32)).astype(np.float32)
    in_use = np.arange(tokens) % 3 > 0
    runner = load_runner(model.directory, "1x2", "float32")
    found = run_experts(runner, x, in_use)
    expected = dense(model.oracle, x)
    assert np.abs(found - expected)[in_use].max() < 1e-4 * expected.std()
    assert np.isfinite(found).all()
    # Nothing is computed for them: with no row in use no expert runs.
    assert not run_experts(runner, x, np.zeros(tokens, bool)).any()
