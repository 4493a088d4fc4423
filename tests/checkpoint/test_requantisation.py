"""int8 to int4: packed two to a byte, rounded to the nearest of a scale that is worth having."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.checkpoint.expert_int4 import group_rows
from grokdist_runtime.checkpoint.requantisation import STEPS, pack, requantise, unpack
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import CheckpointError, RequantisationError


def test_every_pair_of_steps_survives_packing() -> None:
    steps = np.array([(low, high) for low in range(-8, 8) for high in range(-8, 8)], np.int8).T
    packed = pack(steps)
    assert packed.shape == (1, 256)
    assert sorted(packed[0]) == list(range(256))
    assert np.array_equal(unpack(packed), steps)
    assert packed[0, 8 * 16 + 7] == 0xF0  # of 0 and -1: the even row's four bits are the low ones


@pytest.mark.parametrize(
    ("rows", "group", "size"),
    [
        (6144, 128, 128),
        (32768, 128, 128),
        (192, 128, 96),
        (176, 128, 88),
        (64, 128, 64),
        (64, 16, 16),
        (34, 33, None),
        (17, 128, None),
        (64, 15, None),
        (64, 0, None),
    ],
)
def test_groups_are_what_divides(rows: int, group: int, size: int | None) -> None:
    assert group_rows(rows, group) == size


def test_each_group_is_rounded_to_its_best_scale() -> None:
    """Groups of 32 lie across the old groups of 48; the new scale is no worse than any tried."""
    rng = np.random.default_rng(0)
    values = rng.integers(-127, 128, (2, 96, 5)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (2, 2, 5)).astype(ml_dtypes.bfloat16)
    packed, found = requantise(values, scales, 32)
    assert (packed.shape, packed.dtype) == ((2, 48, 5), np.uint8)
    assert (found.shape, found.dtype) == ((2, 3, 5), ml_dtypes.bfloat16)
    weights = (values * np.repeat(scales.astype(np.float32), 48, 1)).reshape(2, 3, 32, 5)
    steps = unpack(packed).reshape(2, 3, 32, 5)
    error = np.square(steps * found.astype(np.float32)[:, :, None] - weights).sum(2)
    peak = np.abs(weights).max(2, keepdims=True)
    for reach in STEPS:
        step = (peak / reach).astype(ml_dtypes.bfloat16).astype(np.float32)
        tried = np.clip(np.rint(weights / step), -8, 7) * step
        assert (error <= np.square(tried - weights).sum(2) * 1.0001).all()
    plain = np.rint(weights / (peak / 7)) * (peak / 7)
    assert error.sum() < 0.9 * np.square(plain - weights).sum()


def test_zeros_and_next_to_nothing_stay() -> None:
    values = np.random.default_rng(1).integers(-127, 128, (32, 3)).astype(np.int8)
    values[:, 0] = 0
    scales = np.array([[1.0, 1e-44, 1e-3]], np.float32)
    packed, found = requantise(values, scales, 16)
    back = unpack(packed) * np.repeat(found.astype(np.float32), 16, 0)
    assert not back[:, :2].any()
    assert back[:, 2].any()


@pytest.mark.parametrize("scale", [np.inf, np.nan, 1e37])
def test_scales_that_are_no_numbers_are_refused(scale: float) -> None:
    with pytest.raises(CheckpointError, match="expected only such"):
        requantise(np.ones((32, 2), np.int8), np.array([[1, scale]], np.float32), 16)


def test_only_experts_become_int4(config: ModelConfig) -> None:
    sizes = {"emb_size": 64, "ffn_size": 96}
    small = ModelConfig.from_mapping(dict(vars_of(config), **sizes))
    altered = small.requantised(64)
    for before, after in zip(tensor_table(small), tensor_table(altered), strict=True):
        if before.axes[0] != "experts":
            assert before == after
            continue
        rows, columns = before.shape[-2:]
        assert after.dtype == "uint8"
        assert 2 * after.nbytes == before.nbytes
        assert after.elements == before.elements
        assert after.scales_shape is not None
        assert rows // after.scales_shape[-2] == {64: 64, 96: 48}[rows]
        assert after.scales_shape[-1] == columns
    assert small.altered is None
    assert "int8 to int4 in groups of at most 64 rows" in str(altered.altered)


def vars_of(config: ModelConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_twice_and_sizes_that_do_not_divide_are_refused(config: ModelConfig) -> None:
    odd = ModelConfig.from_mapping(dict(vars_of(config), emb_size=64, ffn_size=88))
    with pytest.raises(RequantisationError, match="an even divisor of ffn_size 88 from 16 on"):
        odd.requantised(16)
    with pytest.raises(RequantisationError, match="already, in groups of at most 64"):
        odd.requantised(64).requantised(64)
    for group in (0, -1, 15, 1 << 20):
        with pytest.raises(RequantisationError, match=r"group.*expected"):
            odd.requantised(group)
