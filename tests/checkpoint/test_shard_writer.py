"""The writer emits what Python's pickler would, byte for byte, for NumPy 2 and NumPy 1."""

from __future__ import annotations

import pickle
import stat
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.checkpoint.shard_writer import shard_layout, write_shard, write_sparse_shard
from grokdist_runtime.errors import CheckpointError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# What the installed ml_dtypes records for its type: 80 before 0.6, 64 since.
FLAGS = cast(Literal[64, 80], cast(Any, BFLOAT16.__reduce__())[2][-1])


class QuantizedWeight8bit:
    """The release's class, as far as a pickler looks at it."""

    def __init__(self, weight: np.ndarray, scales: np.ndarray) -> None:
        self.weight = weight
        self.scales = scales


@pytest.fixture(autouse=True)
def _class_in_main() -> Iterator[None]:
    QuantizedWeight8bit.__module__ = "__main__"
    main = sys.modules["__main__"]
    main.QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    yield
    del main.QuantizedWeight8bit  # type: ignore[attr-defined]


def pickled(array: np.ndarray, scales: np.ndarray | None = None) -> bytes:
    value = array if scales is None else QuantizedWeight8bit(array, scales)
    return pickle.dumps(value, protocol=4)


def as_numpy_1(data: bytes) -> bytes:
    """The same pickle as NumPy 1 writes it: its module's name is one byte shorter."""
    assert data.count(b"\x8c\x16numpy._core.multiarray") == 1
    (length,) = struct.unpack_from("<Q", data, 3)
    renamed = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    return renamed[:3] + struct.pack("<Q", length - 1) + renamed[11:]


def filled(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)


SHAPES = [(1,), (3,), (63,), (64,), (255,), (256,), (70_000,), (2, 3), (2, 3, 4), (1, 2, 3, 4)]


@pytest.mark.parametrize("dtype", [np.int8, np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_array_equals_the_pickler(tmp_path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    path, array = tmp_path / "t", filled(shape, dtype)
    expected = pickled(array)
    write_shard(path, array, numpy_major=2, bfloat16_flags=FLAGS)
    assert path.read_bytes() == expected
    read = read_shard(path)
    assert np.array_equal(read.weight.array(), array)
    assert read.weight.dtype == array.dtype.name

    write_shard(path, array, numpy_major=1, bfloat16_flags=FLAGS)
    assert path.read_bytes() == as_numpy_1(expected)
    assert np.array_equal(read_shard(path).weight.array(), array)


@pytest.mark.parametrize("scales_dtype", [ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize(
    ("shape", "scales_shape"),
    [((4, 3), (1, 3)), ((8, 300), (8, 300)), ((3, 8, 6000), (3, 2, 6000)), ((300, 300), (4, 300))],
)
def test_quantised_weight_equals_the_pickler(
    tmp_path: Path, shape: tuple[int, ...], scales_shape: tuple[int, ...], scales_dtype: Any
) -> None:
    path, weight, scales = (
        tmp_path / "t",
        filled(shape, np.int8),
        filled(scales_shape, scales_dtype),
    )
    expected = pickled(weight, scales)
    for major, data in ((2, expected), (1, as_numpy_1(expected))):
        write_shard(
            path,
            weight,
            scales=scales,
            numpy_major=cast(Literal[1, 2], major),
            bfloat16_flags=FLAGS,
        )
        assert path.read_bytes() == data
        read = read_shard(path)
        assert read.scales is not None
        assert np.array_equal(read.weight.array(), weight)
        assert np.array_equal(read.scales.array(), scales)


# The pickler looks at the size of its frame before each object: every place where the frame can
# fill up is within this range.
@given(columns=st.integers(65_100, 65_560), wide=st.booleans())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_frames_end_where_the_pickler_ends_them(tmp_path: Path, columns: int, wide: bool) -> None:
    weight = np.zeros((1, columns), np.int8)
    scales = np.zeros((1, columns if wide else 1), ml_dtypes.bfloat16)
    path = tmp_path / "t"
    layout = write_shard(path, weight, scales=scales, numpy_major=2, bfloat16_flags=FLAGS)
    assert path.read_bytes() == pickled(weight, scales)
    if wide:
        read = read_shard(path)
        assert read.scales is not None
        assert (read.weight.offset, read.scales.offset) == (layout.offset, layout.scales_offset)


@pytest.mark.parametrize("columns", [65259, 65260, 65261, 65262, 65263, 65264])
def test_a_remainder_of_a_frame_has_no_header(tmp_path: Path, columns: int) -> None:
    weight = np.zeros((1, columns), np.int8)
    scales = np.zeros((1, columns), ml_dtypes.bfloat16)
    path = tmp_path / "t"
    for flags in (64, 80):
        write_shard(
            path, weight, scales=scales, numpy_major=2, bfloat16_flags=cast(Literal[64, 80], flags)
        )
        assert read_shard(path).scales is not None
    write_shard(path, weight, scales=scales, numpy_major=2, bfloat16_flags=FLAGS)
    assert path.read_bytes() == pickled(weight, scales)


def test_both_generations_of_ml_dtypes_are_read(tmp_path: Path) -> None:
    old = shard_layout((3,), "bfloat16", bfloat16_flags=80)
    new = shard_layout((3,), "bfloat16", bfloat16_flags=64)
    assert old.segments[0] != new.segments[0]
    for layout in (old, new):
        write_sparse_shard(tmp_path / "t", layout)
        assert read_shard(tmp_path / "t").weight.dtype == "bfloat16"


def test_arrays_that_are_not_contiguous_are_written_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "t"
    array = filled((6, 5, 4), np.float32)
    for view in (array.T, array[::2, 1:, ::-1], np.asfortranarray(array), array[:, :1]):
        write_shard(path, view, numpy_major=2)
        assert path.read_bytes() == pickled(np.ascontiguousarray(view))


def test_a_large_view_is_streamed_and_not_copied(tmp_path: Path) -> None:
    array = np.zeros((64 << 20,), np.int8).reshape(64, 1 << 10, 1 << 10).transpose(0, 2, 1)
    tracemalloc.start()
    write_shard(tmp_path / "t", array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert read_shard(tmp_path / "t").weight.shape == array.shape


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_shard(path, filled((4,), np.int8))
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    with pytest.raises(CheckpointError):
        write_shard(path, filled((4,), np.float64))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["t"]


@pytest.mark.parametrize(
    ("shape", "dtype", "scales_shape", "scales_dtype", "message"),
    [
        ((), "int8", None, "bfloat16", "1 to 4 dimensions"),
        ((1,) * 5, "int8", None, "bfloat16", "1 to 4 dimensions"),
        ((0,), "int8", None, "bfloat16", "of 1 to"),
        ((2**31,), "int8", None, "bfloat16", "of 1 to"),
        ((2,), "float64", None, "bfloat16", "dtype 'float64'"),
        ((2, 2), "float32", (1, 2), "bfloat16", "quantised weight of float32"),
        ((2, 2), "int8", (1, 2), "int8", "scales of int8"),
        ((2, 2), "int8", (1, 0), "bfloat16", "of 1 to"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused(
    shape: tuple[int, ...],
    dtype: str,
    scales_shape: tuple[int, ...] | None,
    scales_dtype: str,
    message: str,
) -> None:
    with pytest.raises(CheckpointError, match=message):
        shard_layout(shape, dtype, scales_shape=scales_shape, scales_dtype=scales_dtype)


def test_big_endian_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=">f4"):
        write_shard(tmp_path / "t", np.zeros(3, ">f4"))


def test_more_than_four_gigabytes_have_a_longer_length(tmp_path: Path) -> None:
    layout = shard_layout((70_000, 70_000), "int8")
    path = tmp_path / "t"
    write_sparse_shard(path, layout)
    assert path.stat().st_size == layout.size > 4 << 30
    read = read_shard(path)
    assert (read.weight.nbytes, read.weight.offset) == (4_900_000_000, layout.offset)
    assert read.weight.array()[69_999, 69_999] == 0
    path.unlink()
