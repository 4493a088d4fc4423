"""All of a few tokens' experts at once: where pairs go, and that the sums are the plain ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest

from grokdist_runtime import grouped_experts
from grokdist_runtime.grouped_experts import _layout, _slots
from tests.runtime.conftest import Model, load_runner
from tests.runtime.test_moe import dense, run_experts


@pytest.mark.parametrize("pairs", [8, 9, 300])
@pytest.mark.parametrize("seed", range(3))
def test_every_pair_has_a_slot_of_its_own_in_a_block_of_its_expert(pairs: int, seed: int) -> None:
    """Expert 8 is none; few experts make long runs."""
    experts = np.random.default_rng(seed).integers(0, (9, 3, 1)[seed], pairs).astype(np.int32)
    blocks, rows = _layout(pairs, 8)
    slots, owners = jax.jit(_slots, static_argnums=(1, 2, 3))(experts, 8, blocks, rows)
    used = np.asarray(slots)[experts < 8]
    assert len(set(used)) == len(used)
    assert (used < blocks * rows).all()
    assert (np.asarray(owners)[used // rows] == experts[experts < 8]).all()
    if rows > 1:
        assert (np.asarray(slots)[experts == 8] == blocks * rows).all()
        begun = sum(-(-int((experts == each).sum()) // rows) for each in range(8))
        assert (np.asarray(owners) < 8).sum() == begun, "no block but those that are needed"


@pytest.mark.parametrize(("tokens", "mesh"), [(4, "1x2"), (40, "1x1")])
def test_experts_equal_the_dense_ones(
    make_model: Callable[..., Model],
    tokens: int,
    mesh: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to 4 tokens of 2 experts go each alone, more in blocks; scales have 2 groups."""
    model = make_model(ffn_size=64, quantised_for_model_shards=2)
    runner = load_runner(model.directory, mesh, "float32")
    spec = dataclasses.replace(runner.spec, kernels="pallas")
    monkeypatch.setattr(runner, "spec", spec)
    taken = []
    whole = grouped_experts.all_at_once
    monkeypatch.setattr(
        grouped_experts, "all_at_once", lambda *args: taken.append(1) or whole(*args)
    )
    rng = np.random.default_rng(tokens)
    x = rng.normal(size=(tokens, 32)).astype(np.float32)
    in_use = np.arange(tokens) % 5 != 3
    found = run_experts(runner, x, in_use)
    expected = dense(model.oracle, x)
    assert taken
    assert np.abs(found - expected)[in_use].max() < 1e-4 * expected.std()
    assert not found[~in_use].any()
