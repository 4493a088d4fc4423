"""What the reader gives back, and what it does with files that are not quite shards."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grokdist_runtime.checkpoint import opcode_machine
from grokdist_runtime.checkpoint.shard import Shard, read_shard, read_shards
from grokdist_runtime.checkpoint.shard_writer import shard_layout, write_shard, write_sparse_shard
from grokdist_runtime.errors import CheckpointError, UnsafeShardError
from tests.checkpoint.pickle_assembler import array, shape, shard

RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A quantised shard in two frames' worth of opcodes, with few bytes of data."""
    path = tmp_path / "tensor00000_000"
    weight = np.arange(24, dtype=np.int8).reshape(8, 3)
    write_shard(path, weight, scales=np.ones((4, 3), ml_dtypes.bfloat16))
    return path


@pytest.fixture
def framed(tmp_path: Path) -> Path:
    """A quantised shard whose data stands outside its frames."""
    path = tmp_path / "tensor00001_000"
    layout = shard_layout((80, 1000), "int8", scales_shape=(40, 1000), bfloat16_flags=80)
    write_sparse_shard(path, layout)
    return path


def geometry(shard: Shard) -> list[object]:
    views = [shard.weight] + ([shard.scales] if shard.scales else [])
    return [(view.dtype, view.shape, view.offset, view.nbytes) for view in views]


def test_data_is_mapped_read_only_in_place(small: Path) -> None:
    read = read_shard(small)
    assert read.scales is not None
    weight, scales = read.weight.array(), read.scales.array()
    assert isinstance(weight, np.memmap)
    assert not weight.flags.writeable
    assert weight.tolist() == np.arange(24).reshape(8, 3).tolist()
    assert scales.dtype == ml_dtypes.bfloat16
    assert (scales == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1
    # In place: what is written to the file is seen in the array.
    with small.open("r+b") as file:
        file.seek(read.weight.offset)
        file.write(b"\x55")
    assert weight[0, 0] == 0x55


def test_a_file_that_changed_is_not_mapped(small: Path) -> None:
    read = read_shard(small)
    other = small.with_name("other")
    other.write_bytes(small.read_bytes())
    other.replace(small)
    with pytest.raises(CheckpointError, match="changed since"):
        read.weight.array()
    small.unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        read.weight.array()


def test_the_reference_checkpoint_is_read(reference: Path) -> None:
    tensors = json.loads((reference / "tensors.json").read_bytes())
    for tensor in tensors:
        read = read_shard(reference / "ckpt-0" / tensor["file"])
        assert list(read.weight.shape) == tensor.get("shape", tensor.get("weight"))
        assert read.weight.dtype == tensor.get("dtype", "int8")
        scales = read.scales
        assert (scales and list(scales.shape)) == tensor.get("scales")
        if scales is not None:
            assert scales.dtype == tensor["scales_dtype"]
            assert np.isfinite(scales.array().astype(np.float32)).all()


def test_a_link_to_a_shard_is_read(small: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(small)
    assert geometry(read_shard(link)) == geometry(read_shard(small))


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "link-to-device", "socket"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tensor00000_000"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # opening it for reading would wait for a writer
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link-to-device":
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, 0o140600)
    with pytest.raises(UnsafeShardError, match="expected a regular file"):
        read_shard(path)


@pytest.mark.parametrize("name", ["missing", "loop", "zero\0byte"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "loop":
        path.symlink_to(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_shard(path)


def test_truncated_anywhere_is_refused(small: Path, framed: Path) -> None:
    data = small.read_bytes()
    for length in range(len(data)):
        small.write_bytes(data[:length])
        with pytest.raises(UnsafeShardError):
            read_shard(small)
    size = framed.stat().st_size
    read = read_shard(framed)
    assert read.scales is not None
    ends = [read.weight.offset, read.scales.offset, size]
    # From the end to the start, so that each cut is of what the last one left.
    for length in sorted({end - back for end in ends for back in range(1, 120)}, reverse=True):
        os.truncate(framed, length)
        with pytest.raises(UnsafeShardError):
            read_shard(framed)


def _structure(path: Path) -> list[int]:
    """Offsets of the bytes that are not data."""
    read = read_shard(path)
    views = [read.weight] + ([read.scales] if read.scales else [])
    data = {at for view in views for at in range(view.offset, view.offset + view.nbytes)}
    return [at for at in range(read.size) if at not in data]


def outcome(path: Path, *, after: Path | None = None) -> tuple[list[object] | None, str]:
    """The geometry, or None and the refusal; by itself, or once another has been read."""
    try:
        *_, last = read_shards([after, path] if after else [path])
        return geometry(last), ""
    except UnsafeShardError as error:
        return None, str(error)


def _bfloat16_flags(path: Path) -> int:
    data = path.read_bytes()
    return data.index(b"K\x02K\x02K", data.index(b"ml_dtypes")) + 5


@pytest.mark.parametrize("which", ["small", "framed"])
def test_every_changed_bit_is_refused_or_changes_nothing(
    which: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    before = geometry(read_shard(path))
    accepted = set()
    with path.open("r+b", buffering=0) as file:
        for at in _structure(path):
            original = os.pread(file.fileno(), 1, at)
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([original[0] ^ 1 << bit]), at)
                after, _ = outcome(path)
                assert after in (None, before)
                if after is not None:
                    accepted.add(at)
            os.pwrite(file.fileno(), original, at)
    # One byte alone has two values that mean the same: the flags of bfloat16, 64 and 80.
    assert accepted <= {_bfloat16_flags(path)}


@pytest.mark.parametrize("which", ["small", "framed"])
def test_a_shard_beside_a_similar_one_is_read_as_if_alone(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    similar: Path = request.getfixturevalue(which)
    path = tmp_path / "another"
    shutil.copyfile(similar, path)
    with path.open("r+b", buffering=0) as file:
        for at in _structure(similar):
            original = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([original[0] ^ 1 << at % 8]), at)
            assert outcome(path, after=similar) == outcome(path)
            os.pwrite(file.fileno(), original, at)
        data = read_shard(path).weight.offset
        os.pwrite(file.fileno(), b"\x11", data)
    first, second = read_shards([similar, path])
    assert (geometry(second), second.path) == (geometry(first), path)
    assert (first.weight.array().flat[0], second.weight.array().flat[0]) == (0, 0x11)


def test_of_similar_shards_one_is_stepped_through(
    small: Path, tmp_path: Path, taken: list[int]
) -> None:
    alone = geometry(read_shard(small))
    of_one = len(taken)
    others = [shutil.copyfile(small, tmp_path / str(index)) for index in range(5)]
    assert [geometry(shard) for shard in read_shards(others)] == [alone] * 5
    assert len(taken) == 2 * of_one


@RELAXED
@given(data=st.data())
def test_any_changed_byte_is_refused_or_changes_nothing(small: Path, data: st.DataObject) -> None:
    before = geometry(read_shard(small))
    at = data.draw(st.sampled_from(_structure(small)))
    value = data.draw(st.binary(min_size=1, max_size=1))
    original = small.read_bytes()
    small.write_bytes(original[:at] + value + original[at + 1 :])
    after, message = outcome(small)
    small.write_bytes(original)
    assert after in (None, before)
    assert message.isprintable()


@RELAXED
@given(data=st.data())
def test_any_cut_or_insertion_is_refused(small: Path, data: st.DataObject) -> None:
    original = small.read_bytes()
    at = data.draw(st.integers(0, len(original)))
    cut = data.draw(st.integers(0, 20))
    new = data.draw(st.binary(max_size=20))
    changed = original[:at] + new + original[at + cut :]
    if len(changed) == len(original):
        changed += b"."
    small.write_bytes(changed)
    with pytest.raises(UnsafeShardError):
        read_shard(small)
    small.write_bytes(original)


OPCODES = st.sampled_from([bytes([code]) for code in b"\x80\x95(\x94hj\x8c\x93KMJCB\x8eN\x88\x89)"])
MORE_OPCODES = st.sampled_from([bytes([code]) for code in b"t\x85\x86\x87}uR\x81b.cio0q"])
WORDS = st.sampled_from([b"\x8c\x05numpy", b"\x8c\x05dtype", b"\x8c\x07ndarray", b"\x8c\x02i1"])


@RELAXED
@given(body=st.binary(max_size=300))
@example(body=b"")
def test_random_bytes_raise_nothing_else(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "t"
    for data in (body, b"\x80\x04" + body, b"\x80\x04\x95" + bytes([len(body) % 256]) + body):
        path.write_bytes(data)
        with pytest.raises(UnsafeShardError):
            read_shard(path)


@RELAXED
@given(parts=st.lists(st.one_of(OPCODES, MORE_OPCODES, WORDS, st.binary(max_size=2)), max_size=80))
def test_random_opcodes_raise_nothing_else(tmp_path: Path, parts: list[bytes]) -> None:
    path = tmp_path / "t"
    path.write_bytes(shard(b"".join(parts)))
    with pytest.raises(UnsafeShardError):
        read_shard(path)


@pytest.mark.parametrize(
    "start", [b"", b"\x80\x04", b"\x80\x04\x95" + (1 << 32).to_bytes(8, "little")]
)
def test_four_gigabytes_of_garbage_cost_nothing(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t"
    noise = random.Random(0).randbytes(1 << 20)
    for body in (b"", noise, b"N" * 5000, b"\x8c\x40" + b"x" * 9000):
        path.write_bytes(start + body)
        os.truncate(path, (1 << 32) + 11)
        with pytest.raises(UnsafeShardError):
            read_shard(path)
    path.unlink()


def test_limits_leave_room_for_the_layout_but_not_much(framed: Path, tmp_path: Path) -> None:
    machine_limits = {
        "MAX_OPCODES": 135,
        "MAX_MEMO": 40,
        "MAX_STACK": 17,
        "MAX_MARKS": 3,
        "MAX_TUPLE_DEPTH": 2,
        "MAX_STRING": 22,
    }
    deepest = shard_layout((2, 2, 2, 2), "int8", scales_shape=(2, 2, 1, 2), numpy_major=2)
    write_sparse_shard(tmp_path / "deepest", deepest)
    with pytest.MonkeyPatch.context() as patch:
        for name, needed in machine_limits.items():
            limit = getattr(opcode_machine, name)
            assert needed <= limit <= 3 * needed
            patch.setattr(opcode_machine, name, needed)
        read_shard(framed)
        read_shard(tmp_path / "deepest")


def test_ranks_up_to_four(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for dims in ((6,), (2, 3), (1, 2, 3), (1, 1, 2, 3)):
        path.write_bytes(shard(array(shape(*dims))))
        assert read_shard(path).weight.shape == dims
