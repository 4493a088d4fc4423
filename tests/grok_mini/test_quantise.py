"""Quantised weights stay within half a step of the originals, group by group."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.grok_mini.quantise import dequantise, quantise


@given(seed=st.integers(0, 1000), groups=st.sampled_from([1, 2, 8]), size=st.floats(1e-6, 1e6))
def test_error_is_at_most_a_rounding_step(seed: int, groups: int, size: float) -> None:
    weight = np.random.default_rng(seed).normal(size=(3, 16, 5)).astype(np.float32) * np.float32(
        size
    )
    rounded, scales = quantise(weight, groups)
    assert rounded.dtype == np.int8
    assert scales.shape == (3, groups, 5)
    assert np.array_equal(scales.astype(ml_dtypes.bfloat16).astype(np.float32), scales)
    step = np.repeat(scales, 16 // groups, axis=-2)
    # half a step, and at the largest value the share that bfloat16 may cut off the scale
    assert np.all(np.abs(dequantise(rounded, scales) - weight) <= step * (0.5 + 127 / 256) * 1.001)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_weight_that_int8_holds_comes_back_exactly(groups: int) -> None:
    rounded = np.random.default_rng(0).integers(-127, 128, size=(8, 6)).astype(np.int8)
    rounded[::2] = 127
    scales = np.full((groups, 6), 0.25, np.float32)
    scales[0] = 2.0
    again, found = quantise(dequantise(rounded, scales), groups)
    assert np.array_equal(again, rounded)
    assert np.array_equal(found, scales)


def test_zeros_stay_zeros() -> None:
    rounded, scales = quantise(np.zeros((4, 4), np.float32), 2)
    assert not dequantise(rounded, scales).any()
