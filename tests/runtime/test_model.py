"""The runtime against plain NumPy, for shapes that share no size with each other.

The programs are optimised little; ``test_reference`` runs them as users do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grokdist_runtime.runner import Runner
from tests.runtime.conftest import Model, load_runner

MESHES = ["1x1", "1x2", "1x8", "2x4"]
SHAPES: dict[str, dict[str, Any]] = {
    "48 query heads over 8": {"num_q_heads": 48, "ffn_size": 64},
    "21 layers, heads that 8 devices must share": {
        "num_layers": 21,
        "num_kv_heads": 2,
        "quantised_for_model_shards": 4,
    },
    "12 layers, ffn 344, 6 experts of which 3": {
        "num_layers": 12,
        "ffn_size": 344,
        "key_size": 12,
        "num_q_heads": 16,
        "num_experts": 6,
        "num_selected_experts": 3,
        "quantised_for_model_shards": 1,
        "emb_size": 40,
    },
    "scale groups finer than the devices": {
        "num_experts": 4,
        "num_selected_experts": 1,
        "ffn_size": 176,
        "quantised_for_model_shards": 16,
        "vocab_size": 104,
        "attn_logit_cap": 5.0,
        "rope_base": 100.0,
    },
}
ODD = {"num_q_heads": 12, "num_kv_heads": 4, "num_experts": 6, "num_selected_experts": 3}
LAYOUTS: list[tuple[str, dict[str, Any]]] = [
    ("1x1x8", {}),
    ("2x2x2", {"num_kv_heads": 2}),
    # Heads for two devices of eight, which the expert axis therefore copies.
    ("1x2x4", {"num_q_heads": 4, "num_kv_heads": 1, "quantised_for_model_shards": 4}),
    ("1x3", ODD | {"ffn_size": 48, "quantised_for_model_shards": 4}),
    ("1x1x3", ODD | {"ffn_size": 40}),
]
PADDED = 11
"""Where the prompts hold a pad token, whose key nobody may see."""


def prompts(model: Model) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    tokens = [rng.integers(1, model.config.vocab_size, length) for length in (24, 17)]
    tokens[0][PADDED] = model.config.pad_token
    return [row.astype(np.int32) for row in tokens]


def assert_close(logits: Any, expected: np.ndarray[Any, Any]) -> None:
    error = np.abs(np.asarray(logits) - expected)
    assert error.max() <= 1e-3 * expected.std(), f"worst at {np.argmax(error.max(-1))}"


def runner_for(model: Model, mesh: str) -> Runner:
    return load_runner(model.directory, mesh, "float32")


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_in_one_pass(make_model: Callable[..., Model], shape: str, mesh: str) -> None:
    """Two sequences of unlike length; on 2x4 each of the two copies of the model takes one."""
    model = make_model(**SHAPES[shape])
    rows = prompts(model)
    runner = runner_for(model, mesh)
    tokens = np.zeros((2, 32), np.int32)
    for row, prompt in enumerate(rows):
        tokens[row, : len(prompt)] = prompt
    counts = [len(prompt) for prompt in rows]
    logits, cache = runner.score(runner.new_cache(2, 32), tokens, counts)
    for row, prompt in enumerate(rows):
        assert_close(np.asarray(logits)[row, : len(prompt)], model.oracle.logits(prompt))
    assert np.asarray(cache.lengths).tolist() == counts


@pytest.mark.parametrize("shape", SHAPES)
def test_token_by_token(make_model: Callable[..., Model], shape: str) -> None:
    model = make_model(**SHAPES[shape])
    prompt = prompts(model)[0]
    runner = runner_for(model, "1x8")
    cache = runner.new_cache(1, 32)
    logits = []
    for token in prompt:
        step, cache = runner.decode(cache, np.array([token], np.int32))
        logits.append(np.asarray(step)[0])
    assert_close(np.stack(logits), model.oracle.logits(prompt))


@pytest.mark.parametrize(("mesh", "changes"), LAYOUTS)
def test_wherever_experts_and_heads_lie(
    make_model: Callable[..., Model], mesh: str, changes: dict[str, Any]
) -> None:
    """Prompts in blocks of tokens, then greedy tokens one by one."""
    model = make_model(**changes)
    rows = prompts(model)
    runner = runner_for(model, mesh)
    tokens = np.zeros((2, 32), np.int32)
    for row, prompt in enumerate(rows):
        tokens[row, : len(prompt)] = prompt
    logits, cache = runner.prefill(runner.new_cache(2, 48), tokens, [len(row) for row in rows])
    for _ in range(3):
        expected = np.stack([model.oracle.logits(row)[-1] for row in rows])
        assert_close(logits, expected)
        chosen = np.argmax(expected, -1).astype(np.int32)
        assert np.array_equal(np.argmax(np.asarray(logits), -1), chosen)
        rows = [np.append(row, token) for row, token in zip(rows, chosen, strict=True)]
        logits, cache = runner.decode(cache, chosen)


def test_chunks_and_a_growing_cache_change_nothing(make_model: Callable[..., Model]) -> None:
    model = make_model(sequence_len=256)
    prompt = np.random.default_rng(2).integers(1, 96, 150).astype(np.int32)
    expected = model.oracle.logits(prompt)
    runner = runner_for(model, "1x2")
    cache = runner.new_cache(1, 100)
    for start in range(0, 150, 32):
        cache = runner.with_room(cache, start + 32)
        part = np.zeros((1, 32), np.int32)
        count = len(prompt[start : start + 32])
        part[0, :count] = prompt[start : start + 32]
        logits, cache = runner.prefill(cache, part, [count])
        assert_close(np.asarray(logits)[0], expected[start + count - 1])
    assert cache.visible.shape == (1, 256)
    step, cache = runner.decode(cache, np.array([7], np.int32))
    assert_close(np.asarray(step)[0], model.oracle.logits(np.append(prompt, 7))[-1])
