"""The measure of rounding: right on what is known, and the bounds in the tests drawn from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quantisation import VARIANTS, divergence, held_out, render
from grokdist_runtime.engine import Engine
from tests.runtime.test_reference import INT4_EXPERTS, INT8_CACHE
from tools.grok_mini.evaluate import SHIPPED


def test_divergence_of_what_is_known() -> None:
    expected = np.log(np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]], np.float32))
    same = divergence(expected + 3, expected)  # a shift changes distances, and no distribution
    assert same["kl_nats"] == pytest.approx(0, abs=1e-6)
    assert same["same_top_1"] == 1
    assert same["rms"] == same["max"] == pytest.approx(3 / expected.std())
    swapped = divergence(expected[:, [1, 0, 2]], expected)
    assert swapped["same_top_1"] == 0
    assert swapped["kl_nats"] == pytest.approx((0.25 * np.log(2) + 0.7 * np.log(8)) / 2)


def test_held_out_text_is_predicted_once_a_token() -> None:
    """By the engine's own logits, window by window, where one window is enough."""
    engine = Engine.load(SHIPPED, mesh="1x1", kernels="plain")
    tokens = np.arange(10, 60, dtype=np.int32)
    found = held_out(engine, tokens, None)
    logits = engine.score(tokens).astype(np.float64)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(logits[:-1], tokens[1:, None].astype(np.int64), -1)
    assert found["tokens"] == 49
    assert found["nats_per_token"] == pytest.approx(losses.mean(), rel=1e-4)


def test_stated_tolerances_and_the_page_are_those_of_the_measurement(repository: Path) -> None:
    folder = repository / "benchmarks/results"
    results = json.loads((folder / "quantisation.json").read_text("utf-8"))
    rows = {row["name"]: row for row in results["reference"]}
    assert set(rows) == {"original code in bfloat16", *(each.name for each in VARIANTS)}
    for name, bound in (("int8 KV cache", INT8_CACHE), (VARIANTS[2].name, INT4_EXPERTS)):
        assert rows[name]["rms"] < bound < 2 * rows[name]["rms"]
    assert (folder / "quantisation.md").read_text("utf-8") == render(results)
