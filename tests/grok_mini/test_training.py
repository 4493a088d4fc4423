"""The training forward pass, and a run of a few steps on a tiny model."""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tools.grok_mini.model import (
    GROK_MINI,
    init_params,
    logits_and_balance,
    mixture,
    token_losses,
)
from tools.grok_mini.optimiser import AdamW
from tools.grok_mini.train import (
    Recipe,
    TrainingState,
    batch_at,
    fresh_state,
    load_state,
    save_state,
    train_steps,
    validation_loss,
)

TINY = dataclasses.replace(
    GROK_MINI,
    vocab_size=64,
    emb_size=16,
    ffn_size=8,
    key_size=4,
    num_q_heads=8,
    num_kv_heads=4,
    num_layers=1,
    sequence_len=16,
    attn_output_multiplier=0.5,
    embedding_multiplier_scale=4.0,
)
RECIPE = Recipe(
    model=TINY,
    adam=AdamW(warmup_steps=1, peak_rate=1e-2),
    steps=4,
    batch=2,
)
CORPUS = np.random.default_rng(0).integers(3, 20, 400).astype(np.int32)


WINDOWS = np.random.default_rng(1).integers(3, 64, (2, 17)).astype(np.int32)


@cache
def params() -> dict[str, jax.Array]:
    return init_params(TINY, 0)


@jax.jit
def logits_of(params: dict[str, jax.Array], tokens: np.ndarray) -> jax.Array:
    return logits_and_balance(params, tokens, TINY)[0]


@partial(jax.jit, static_argnums=(2,))
def mixed(
    params: dict[str, jax.Array], x: jax.Array, capacity: int | None
) -> tuple[jax.Array, tuple[dict[str, jax.Array], jax.Array]]:
    """The expert layer's output, and gradients of its norm by the parameters and by ``x``."""

    def forward(params: dict[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
        output, _ = mixture(params, "transformer/decoder_layer_0", x, TINY, capacity)
        return jnp.sum(output**2), output

    grads, output = jax.grad(forward, argnums=(0, 1), has_aux=True)(params, x)
    return output, grads


X = np.random.default_rng(2).normal(size=(2, 16, TINY.emb_size)).astype(np.float32)


def expert_loads() -> np.ndarray:
    """How many tokens of ``X`` choose each expert."""
    scores = X.reshape(-1, TINY.emb_size) @ params()["transformer/decoder_layer_0/router/w"]
    return np.bincount(np.argsort(-scores, axis=-1)[:, :2].ravel())


def test_just_enough_capacity_is_the_exact_model_and_gradient() -> None:
    exact, exact_grads = mixed(params(), X, None)
    dispatched, grads = mixed(params(), X, int(expert_loads().max()))
    np.testing.assert_allclose(dispatched, exact, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), grads, exact_grads)


def test_one_place_too_few_drops_a_token_of_each_busiest_expert() -> None:
    exact, _ = mixed(params(), X, None)
    loads = expert_loads()
    dropping, _ = mixed(params(), X, int(loads.max()) - 1)
    different = np.abs(dropping - exact).max(axis=-1) > 1e-4
    assert np.count_nonzero(different) == np.count_nonzero(loads == loads.max())


def test_a_later_token_changes_no_earlier_logits() -> None:
    tokens = WINDOWS[:, :-1]
    changed = tokens.copy()
    changed[:, 9] = 5
    before, after = (logits_of(params(), t) for t in (tokens, changed))
    np.testing.assert_allclose(before[:, :9], after[:, :9], atol=1e-6)
    assert jnp.abs(before[:, 9:] - after[:, 9:]).max() > 1e-3


def test_padding_before_the_text_is_not_attended_to() -> None:
    tokens = WINDOWS[:1, :8]
    padded = np.pad(tokens, ((0, 0), (4, 0)))
    # Rotary positions are relative, so a shift past masked keys changes nothing.
    plain, shifted = (logits_of(params(), t) for t in (tokens, padded))
    np.testing.assert_allclose(plain, shifted[:, 4:], atol=2e-5)


def test_token_losses_are_cross_entropies() -> None:
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25]]]))
    assert token_losses(logits, jnp.array([[1]]))[0, 0] == pytest.approx(np.log(4), rel=1e-5)


def test_two_steps_train() -> None:
    state = fresh_state(RECIPE)
    before = validation_loss(state.params, CORPUS, TINY, batch=2)
    steps = train_steps(state, CORPUS, RECIPE)
    assert [next(steps)["step"], next(steps)["step"]] == [1, 2]
    assert validation_loss(state.params, CORPUS, TINY, batch=2) < before


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = fresh_state(RECIPE)
    list(train_steps(whole, CORPUS, RECIPE))
    halves = fresh_state(RECIPE)
    for result in train_steps(halves, CORPUS, RECIPE):
        if result["step"] == 2:
            break
    save_state(tmp_path / "state.npz", halves)
    resumed: TrainingState = load_state(tmp_path / "state.npz")
    list(train_steps(resumed, CORPUS, RECIPE))
    assert resumed.step == whole.step
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, resumed.params[name], err_msg=name)


def test_an_epoch_takes_every_window_once() -> None:
    per_epoch = (len(CORPUS) - 17) // 16 // RECIPE.batch
    numbered = np.arange(len(CORPUS), dtype=np.int32)
    seen = np.concatenate([batch_at(numbered, RECIPE, step)[:, 0] for step in range(per_epoch)])
    assert len(set(seen)) == len(seen) == per_epoch * RECIPE.batch
    assert len(set(seen % 16)) == 1
    again = batch_at(numbered, RECIPE, per_epoch)[:, 0]
    assert not np.array_equal(again, seen[: RECIPE.batch])
    assert again[0] % 16 != seen[0] % 16


def test_the_rate_does_not_depend_on_the_length_before_the_decay() -> None:
    adam = AdamW(warmup_steps=10, decay_share=0.5)
    assert [adam.rate(step, 100) for step in range(50)] == [
        adam.rate(step, 200) for step in range(50)
    ]
    assert adam.rate(0, 100) == pytest.approx(adam.peak_rate / 10)
    assert adam.rate(75, 100) == pytest.approx(adam.peak_rate / 2)
    assert adam.rate(99, 100) < adam.peak_rate / 500
