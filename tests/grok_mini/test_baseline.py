"""The count-based baseline is a probability distribution, and the one it claims to be."""

import numpy as np
import pytest

from tools.grok_mini.baseline import KneserNey

STREAM = np.random.default_rng(3).integers(0, 7, 400).astype(np.int32)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [[], [1, 2], [6, 6, 6, 6, 6], [0, 9, 1]])
def test_probabilities_sum_to_one(order: int, context: list[int]) -> None:
    model = KneserNey(STREAM, order, 11)
    total = sum(
        np.exp(-model.losses(np.array([*context, last], np.int32))[-1]) for last in range(11)
    )
    assert total == pytest.approx(1.0)


def test_bigram_by_hand() -> None:
    # a b a c a b: all discounts are 0.5 here, since no count occurs four times.
    model = KneserNey(np.array([0, 1, 0, 2, 0, 1], np.int32), 2, 3)
    # Continuations: "a" follows b and c, "b" follows a, "c" follows a: 2, 1, 1 of 4.
    unigram_b = (1 - 0.5) / 4 + (3 * 0.5 / 4) * (1 / 3)
    bigram_b_after_a = (2 - 0.5) / 3 + (2 * 0.5 / 3) * unigram_b
    losses = model.losses(np.array([0, 1], np.int32))
    assert np.exp(-losses[1]) == pytest.approx(bigram_b_after_a)


def test_longer_contexts_help_on_repetitive_text() -> None:
    stream = np.tile(np.array([1, 2, 3, 1, 2, 4], np.int32), 50)
    means = [float(np.mean(KneserNey(stream, order, 8).losses(stream))) for order in (1, 2, 4)]
    assert means[0] > means[1] > means[2]
