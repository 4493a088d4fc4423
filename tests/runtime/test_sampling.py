"""Greedy and drawn tokens: filters, seeds, frequencies, refusals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime.errors import PromptError
from grokdist_runtime.sampling import SamplingParams, SamplingState, sample

PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.25, 0.2])
LOGITS = np.log(PROBABILITIES).astype(np.float32)
DRAWS = 4000

_sample = jax.jit(sample)


def draw(**settings: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """One token for each of many positions, and their log-probabilities."""
    state = SamplingState.start(SamplingParams(**settings))
    found = _sample(jnp.tile(LOGITS, (DRAWS, 1)), state, jnp.arange(DRAWS))
    return np.asarray(found.tokens), np.asarray(found.logprobs)


def frequencies(**settings: Any) -> np.ndarray[Any, Any]:
    return np.bincount(draw(**settings)[0], minlength=5) / DRAWS


def test_greedy_takes_the_most_likely_and_the_lowest_of_equals() -> None:
    assert set(draw(temperature=0)[0].tolist()) == {1}
    state = SamplingState.start(SamplingParams.greedy())
    found = _sample(jnp.zeros((DRAWS, 5)), state, jnp.arange(DRAWS))
    assert set(np.asarray(found.tokens).tolist()) == {0}


def test_draws_follow_the_distribution() -> None:
    assert np.abs(frequencies() - PROBABILITIES).max() < 0.03


def test_temperature_sharpens() -> None:
    sharp = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    assert np.abs(frequencies(temperature=0.5) - sharp).max() < 0.03


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 4}),
        ({"top_k": 100}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.39}, {1}),
        ({"top_p": 0.6}, {1, 3}),
        ({"top_p": 0.7}, {1, 3, 4}),
        ({"min_p": 0.45}, {1, 3, 4}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 4, "top_p": 0.95, "min_p": 0.2}, {1, 2, 3, 4}),
        ({"top_k": 2, "top_p": 0.6}, {1}),  # 0.4 of the 0.65 that top-k left is above 0.6
        ({"temperature": 1e-6}, {1}),
        ({"temperature": 100.0}, {0, 1, 2, 3, 4}),
    ],
)
def test_filters_keep_exactly_these(settings: dict[str, Any], kept: set[int]) -> None:
    assert set(draw(**settings)[0].tolist()) == kept


def test_kept_tokens_keep_their_proportions() -> None:
    found = frequencies(top_k=2)
    assert abs(found[1] - 0.4 / 0.65) < 0.03


def test_a_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    first, again, other = (draw(seed=seed)[0] for seed in (7, 7, 8))
    assert (first == again).all()
    assert (first != other).any()
    assert (draw(seed=2**64 - 1)[0] != draw(seed=2**32 - 1)[0]).any()


def test_logprobs_are_those_of_the_model_before_any_filter() -> None:
    tokens, logprobs = draw(temperature=2.0, top_k=2)
    assert np.allclose(logprobs, np.log(PROBABILITIES)[tokens], atol=1e-5)


MIXED = [
    SamplingParams.greedy(),
    SamplingParams(seed=1),
    SamplingParams(seed=2, top_k=2, top_logprobs=3),
    SamplingParams(seed=2**64 - 1, top_p=0.7, temperature=2.0),
    SamplingParams(seed=1, min_p=0.3),
]


def test_a_rows_token_depends_on_nothing_but_its_own_settings() -> None:
    """Each of these alone, and all of them together in any order, at the same positions."""
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3]):
        for position in range(20):
            state = SamplingState.start(*[MIXED[row] for row in order])
            logits = jnp.tile(LOGITS, (len(order), 1))
            together = _sample(logits, state, jnp.full(len(order), position))
            for place, row in enumerate(order):
                state = SamplingState.start(MIXED[row])
                alone = _sample(logits[:1], state, jnp.full(1, position))
                assert together.tokens[place] == alone.tokens[0]
                assert together.logprobs[place] == alone.logprobs[0]


def test_the_most_likely_tokens_are_reported_where_asked() -> None:
    logits = jnp.asarray(LOGITS)[None]
    asked = _sample(logits, SamplingState.start(SamplingParams(top_logprobs=2)), jnp.zeros(1, int))
    assert np.asarray(asked.top_tokens)[0, :5].tolist() == [1, 3, 4, 2, 0]
    expected = np.log(np.sort(PROBABILITIES)[::-1])
    assert np.allclose(np.asarray(asked.top_logprobs)[0, :5], expected, atol=1e-5)
    unasked = _sample(logits, SamplingState.start(SamplingParams()), jnp.zeros(1, int))
    assert not np.asarray(unasked.top_tokens).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", "1"),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_k", True),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -1.0),
        ("min_p", 1.5),
        ("top_logprobs", 21),
        ("seed", -1),
        ("seed", 2**64),
    ],
)
def test_bad_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(PromptError, match=name):
        SamplingParams(**{name: value})
