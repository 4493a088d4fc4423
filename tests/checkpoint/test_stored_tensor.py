"""Boxes of tensors: the same elements, whatever files they come from."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from grokdist_runtime.checkpoint.parts import Box, Grid, part_box
from grokdist_runtime.checkpoint.shard import TensorView
from grokdist_runtime.checkpoint.shard_file import open_shard_file
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor, contiguous
from grokdist_runtime.errors import CheckpointError

SHAPE = (2, 4, 6)
WHOLE = np.arange(48, dtype=np.int8).reshape(SHAPE)
SIDES = [[(0, 2), (1, 2)], [(0, 4), (1, 3), (2, 4)], [(0, 6), (1, 5), (3, 6)]]
BOXES = [tuple(slice(*side) for side in sides) for sides in itertools.product(*SIDES)]


def stored(folder: Path, grid: Grid) -> StoredTensor:
    """The tensor, each part in a file of its own, behind three other bytes."""
    parts = {}
    for index in range(math.prod(grid)):
        data = WHOLE[part_box(SHAPE, grid, index)]
        path = folder / f"{index}"
        path.write_bytes(b"xyz" + data.tobytes())
        with open_shard_file(path) as (_, file):
            parts[index] = TensorView(
                file=file, dtype="int8", shape=data.shape, offset=3, nbytes=data.size
            )
    return StoredTensor(name="w", shape=SHAPE, dtype="int8", grid=grid, parts=parts)


@pytest.mark.parametrize("box", BOXES)
def test_contiguous_runs_are_the_box_in_order_and_as_long_as_can_be(box: Box) -> None:
    flat = WHOLE.reshape(-1)
    runs = list(contiguous(SHAPE, box))
    joined = np.concatenate([flat[start : start + length] for start, length in runs])
    assert np.array_equal(joined, WHOLE[box].reshape(-1))
    ends = [start + length for start, length in runs]
    whole_rows = box[2] == slice(0, 6)
    if whole_rows and box[1] == slice(0, 4):
        assert len(runs) == 1
    elif not whole_rows:
        assert all(end != start for end, (start, _) in zip(ends, runs[1:], strict=False))


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 2, 1), (2, 1, 3), (2, 4, 6)])
def test_any_box_is_put_together_from_any_parts(tmp_path: Path, grid: Grid) -> None:
    tensor = stored(tmp_path, grid)
    for box in BOXES:
        out = np.full(WHOLE[box].shape, -1, np.int8)
        for piece in tensor.pieces(box):
            out[piece.target] = piece.view.array()[piece.source]
            data = piece.view.file.path.read_bytes()
            runs = b"".join(data[run.offset : run.offset + run.nbytes] for run in piece.ranges())
            assert runs == out[piece.target].tobytes()
        assert np.array_equal(out, WHOLE[box])


def test_a_part_that_is_not_here_is_named_if_it_is_needed(tmp_path: Path) -> None:
    tensor = stored(tmp_path, (1, 1, 3))
    del tensor.parts[1]  # type: ignore[attr-defined]
    assert len(list(tensor.pieces((slice(0, 2), slice(0, 4), slice(0, 2))))) == 1
    with pytest.raises(CheckpointError, match=r"w\.part-2-of-3 is needed here and in no file"):
        list(tensor.pieces((slice(0, 2), slice(0, 4), slice(0, 3))))
