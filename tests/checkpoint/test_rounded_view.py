"""Tensors that are rounded as they are written: block by block, and the same as all at once."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.checkpoint import rounded_view
from grokdist_runtime.checkpoint.requantisation import requantise
from grokdist_runtime.checkpoint.rounded_view import rounded_views
from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import TensorSpec


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("block", [1, 400, 1 << 20])  # a group, two groups, all
def test_blocks_follow_each_other_whichever_is_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int], block: int
) -> None:
    """Groups of 32 lie across the old groups of 48."""
    monkeypatch.setattr(rounded_view, "_BLOCK_BYTES", block)
    rng = np.random.default_rng(0)
    values = rng.integers(-127, 128, (2, 96, 5)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (2, 2, 5)).astype(ml_dtypes.bfloat16)
    write_shard(tmp_path / "w", values, scales=scales)
    spec = TensorSpec(
        name="w",
        shape=(2, 48, 5),
        dtype="uint8",
        scales_shape=(2, 3, 5),
        axes=("experts", "ffn", "emb"),
    )
    views = rounded_views(read_shard(tmp_path / "w"), spec)
    expected = requantise(values, scales, 32)
    for which in order:
        view, wanted = views[which], expected[which]
        assert (view.shape, view.nbytes) == (wanted.shape, wanted.nbytes)
        place = 0
        for box, data in view.blocks():
            assert wanted[box].tobytes() == data
            assert wanted.tobytes()[place : place + len(data)] == data
            place += len(data)
        assert place == view.nbytes
