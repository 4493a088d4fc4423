"""Reads of whole tensors: what is cut into several reads, converted, or too small for a thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import DTypeLike

from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor
from grokdist_runtime.errors import CheckpointError
from grokdist_runtime.parallel_read import Fill, read_all

Array = np.ndarray[Any, Any]
Store = Callable[[Array], StoredTensor]

LONG = 5_000_001
"""Elements: several reads as float32, and several blocks of conversion with some left over."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Writes an array as a shard; says where it is."""
    count = iter(range(1000))

    def write(array: Array) -> StoredTensor:
        path = tmp_path / f"tensor{next(count):05d}_000"
        write_shard(path, array)
        return StoredTensor.whole(path.name, read_shard(path).weight)

    return write


def _fill(stored: StoredTensor, dtype: DTypeLike) -> Fill:
    box = tuple(slice(0, side) for side in stored.shape)
    return Fill(stored=stored, box=box, out=np.zeros(stored.shape, dtype))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(LONG,), (7, 3), (1,)])
def test_floats_as_they_are_or_converted(
    store: Store, shape: tuple[int, ...], dtype: DTypeLike
) -> None:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    fill = _fill(store(values), dtype)
    read_all([fill], on_bytes=lambda _: None)
    np.testing.assert_array_equal(fill.out, values.astype(dtype))


def test_many_small_tensors_beside_large_ones(store: Store) -> None:
    """Some are read by the calling thread, some by others; all arrive, and each byte counts."""
    random = np.random.default_rng(2)
    shapes = [(3, 5), (17,), (64, 1 << 10)] * 60 + [(40, 1 << 20)] * 2
    arrays = [random.integers(-128, 128, shape, np.int8) for shape in shapes]
    fills = [_fill(store(array), np.int8) for array in arrays]
    counted: list[int] = []
    read_all(fills, on_bytes=counted.append)
    for fill, array in zip(fills, arrays, strict=True):
        np.testing.assert_array_equal(fill.out, array)
    assert sum(counted) == sum(math.prod(shape) for shape in shapes)


@pytest.mark.parametrize("shape", [(3, 5), (LONG,)])
def test_a_file_cut_short_is_named_whoever_reads_it(store: Store, shape: tuple[int, ...]) -> None:
    whole = [store(np.zeros(1 << 20, np.int8)) for _ in range(40)]
    short = store(np.zeros(shape, np.float32))
    file = short.parts[0].file
    file.path.write_bytes(file.path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{short.name} changed"):
        read_all([_fill(each, each.dtype) for each in (*whole, short)], on_bytes=lambda _: None)
