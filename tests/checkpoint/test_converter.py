"""Shards to safetensors: the same bytes, aligned, whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint, open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion, WrittenFile
from grokdist_runtime.checkpoint.parts import axis_pieces, part_of_file, parts_held, places
from grokdist_runtime.checkpoint.requantisation import requantise
from grokdist_runtime.checkpoint.safetensors_checkpoint import holds_safetensors, open_safetensors
from grokdist_runtime.checkpoint.safetensors_layout import ALIGNMENT, INDEX_FILE, PAGE
from grokdist_runtime.checkpoint.shard import NUMPY_DTYPES
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor
from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    shard_file_name,
    stacks,
    tensor_table,
)
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import CheckpointError, UnsafeShardError

METADATA = {"format": "np"}


@pytest.fixture
def checkpoint(tmp_path: Path, config: ModelConfig) -> Checkpoint:
    """A checkpoint of random bytes, some tensors of odd length."""
    folder = tmp_path / "model" / "ckpt-0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for index, spec in enumerate(tensor_table(config)):
        if spec.scales_shape is None:
            write_shard(folder / shard_file_name(index), rng.random(spec.shape, np.float32))
            continue
        weight = rng.integers(-128, 128, spec.shape).astype(np.int8)
        scales = rng.random(spec.scales_shape).astype(ml_dtypes.bfloat16)
        write_shard(folder / shard_file_name(index), weight, scales=scales)
    return open_checkpoint(tmp_path / "model", config)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def convert(
    checkpoint: Checkpoint,
    out: Path,
    file_size: int = 20_000,
    pieces: Mapping[str, int] | None = None,
) -> tuple[WrittenFile, ...]:
    conversion = Conversion(checkpoint, file_size=file_size, metadata=METADATA, pieces=pieces)
    return conversion.write(out)


def same(one: Checkpoint, other: Checkpoint) -> None:
    assert [spec.name for spec in one.specs] == [spec.name for spec in other.specs]
    for spec in one.specs:
        for before, after in zip(one.stored(spec.name), other.stored(spec.name), strict=True):
            assert (before is None) == (after is None)
            if before is not None and after is not None:
                assert (before.dtype, before.shape) == (after.dtype, after.shape)
                assert whole(before).tobytes() == whole(after).tobytes()


def whole(tensor: StoredTensor) -> np.ndarray:
    out = np.empty(tensor.shape, NUMPY_DTYPES[tensor.dtype])
    for piece in tensor.pieces(tuple(slice(0, size) for size in tensor.shape)):
        out[piece.target] = piece.view.array()[piece.source]
    return out


@pytest.mark.parametrize("file_size", [1, 5_000, 20_000, 10**12])
def test_every_tensor_keeps_its_bytes(
    checkpoint: Checkpoint, config: ModelConfig, out: Path, file_size: int
) -> None:
    convert(checkpoint, out, file_size)
    assert holds_safetensors(out)
    same(checkpoint, open_safetensors(out, config))


@pytest.mark.parametrize("file_size", [3_000, 10**12])
@pytest.mark.parametrize(("model", "experts"), [(2, 1), (4, 1), (2, 3)])
def test_parts_put_together_are_the_original(
    checkpoint: Checkpoint,
    config: ModelConfig,
    out: Path,
    file_size: int,
    model: int,
    experts: int,
) -> None:
    convert(checkpoint, out, file_size, axis_pieces(config, model=model, experts=experts))
    parted = open_safetensors(out, config)
    same(checkpoint, parted)
    counts = {math.prod(parted.stored(spec.name)[0].grid) for spec in parted.specs}
    assert {1, model, model * experts} <= counts


def test_a_device_needs_the_files_of_its_part_and_of_none_other(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    pieces = axis_pieces(config, model=4)
    convert(checkpoint, out, pieces=pieces)
    for model in range(4):
        needed = parts_held(config, pieces, places(config, model=(model, 4)))
        files = [path for path in out.iterdir() if (part_of_file(path.name) or (0, 1))[1] == 4]
        mine = [path for path in files if part_of_file(path.name) in needed]
        assert {part_of_file(path.name) for path in mine} == {(model, 4)}
        assert len(mine) * 4 == len(files)


def test_the_layers_of_a_stack_follow_each_other(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    """So that each device's part of the stack is one piece of the file."""
    convert(checkpoint, out, 10**12, axis_pieces(config, model=2))
    converted = open_safetensors(out, config)
    for stack in stacks(converted.specs):
        assert len(stack) in (1, 11)
        for tensors in zip(*(converted.stored(spec.name) for spec in stack), strict=True):
            for views in zip(*(t.parts.values() for t in tensors if t), strict=True):
                for before, after in itertools.pairwise(views):
                    assert after.file is before.file
                    assert after.offset == before.offset + before.nbytes
                assert views[0].offset % PAGE == 0 or views[0].nbytes % PAGE


def test_parts_that_do_not_fit_are_refused(
    checkpoint: Checkpoint, config: ModelConfig, out: Path, tmp_path: Path
) -> None:
    convert(checkpoint, out, 10**12, axis_pieces(config, model=2))
    (second,) = out.glob("*.part-2-of-2.safetensors")
    data = second.read_bytes()
    name = b"embeddings.part-2-of-2"
    assert name in data
    for change, message in (
        ((name, b"embeddings.part-1-of-2"), "expected every tensor once"),
        ((name, b"embeddings.part-2-of-4"), "cut otherwise"),
        ((name, b"embeddings.part-3-of-2"), "expected only"),
        ((b'"shape":[20,16]', b'"shape":[16,20]'), r"one of 2 equal parts of float32 \(40, 16\)"),
        ((b'"shape":[20,16]', b'"shape":[40,8] '), r"one of 2 equal parts of float32 \(40, 16\)"),
    ):
        assert change[0] in data
        second.write_bytes(data.replace(*change))
        with pytest.raises((CheckpointError, UnsafeShardError), match=message):
            open_safetensors(out, config)
    second.unlink()
    partial = open_safetensors(out, config)  # another host may have them
    with pytest.raises(CheckpointError, match=r"part-2-of-2 is needed here and in no file"):
        whole(partial.stored(EMBEDDINGS)[0])
    next(out.glob("*.part-1-of-2.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="has no tensor"):
        open_safetensors(out, config)


def test_what_is_reported_is_what_is_on_disk(checkpoint: Checkpoint, out: Path) -> None:
    written = convert(checkpoint, out)
    assert {file.name for file in written} == {path.name for path in out.iterdir()}
    for file in written:
        data = (out / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_library_of_the_format_reads_it(checkpoint: Checkpoint, out: Path) -> None:
    names = set()
    for file in convert(checkpoint, out):
        if file.name != INDEX_FILE:
            with safetensors.safe_open(out / file.name, framework="numpy") as opened:
                names |= set(opened.keys())
                assert opened.metadata() == METADATA
    assert {spec.name for spec in checkpoint.specs} <= names


def test_tensors_whose_length_allows_it_are_aligned(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    convert(checkpoint, out)
    converted = open_safetensors(out, config)
    views = [shard.weight for shard in converted.shards.values()]
    views += [shard.scales for shard in converted.shards.values() if shard.scales is not None]
    lengths = {view.nbytes % ALIGNMENT == 0 for view in views}
    assert lengths == {True, False}  # the model has both kinds
    for view in views:
        assert view.nbytes % ALIGNMENT or view.offset % ALIGNMENT == 0


def test_a_second_run_changes_nothing(checkpoint: Checkpoint, out: Path) -> None:
    first = convert(checkpoint, out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert convert(checkpoint, out) == first
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_an_interrupted_run_is_continued(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    def stop(name: str, count: int) -> None:
        if name.startswith("model-00002"):
            raise KeyboardInterrupt

    conversion = Conversion(checkpoint, file_size=20_000, metadata=METADATA)
    with pytest.raises(KeyboardInterrupt):
        conversion.write(out, on_bytes=stop)
    assert [path.name for path in out.iterdir()] == [conversion.files[0].name]
    convert(checkpoint, out)
    same(checkpoint, open_safetensors(out, config))


@pytest.mark.parametrize("change", ["flip", "grow", "shrink"])
def test_what_is_in_the_way_is_not_replaced(checkpoint: Checkpoint, out: Path, change: str) -> None:
    first = out / convert(checkpoint, out)[0].name
    data = bytearray(first.read_bytes())
    if change == "flip":
        data[-1] ^= 1
    first.write_bytes({"flip": data, "grow": data + b"x", "shrink": data[:-1]}[change])
    with pytest.raises(CheckpointError, match="holds something else"):
        convert(checkpoint, out)


def test_a_shard_that_changes_meanwhile_is_noticed(checkpoint: Checkpoint, out: Path) -> None:
    conversion = Conversion(checkpoint, file_size=10**9, metadata=METADATA)
    shard = checkpoint[checkpoint.specs[-1].name].path
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data)
    with pytest.raises(CheckpointError, match="changed since its structure was read"):
        conversion.write(out)
    assert list(out.iterdir()) == []


def test_a_missing_an_unknown_and_a_doubled_tensor_are_refused(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    names = [file.name for file in convert(checkpoint, out)]
    extra = out / "more.safetensors"
    extra.write_bytes((out / names[0]).read_bytes())
    with pytest.raises(CheckpointError, match="expected every tensor once"):
        open_safetensors(out, config)
    extra.unlink()
    first = (out / names[0]).read_bytes()
    (out / names[0]).unlink()
    with pytest.raises(CheckpointError, match="has no tensor"):
        open_safetensors(out, config)
    (out / names[0]).write_bytes(first.replace(b"in_out_embed", b"in_out_umbed"))
    with pytest.raises(CheckpointError, match=r"holds the tensor .*umbed.*; expected only"):
        open_safetensors(out, config)


def test_another_shape_is_refused(checkpoint: Checkpoint, config: ModelConfig, out: Path) -> None:
    name = convert(checkpoint, out)[0].name
    data = (out / name).read_bytes()
    assert b'"shape":[40,16]' in data
    (out / name).write_bytes(data.replace(b'"shape":[40,16]', b'"shape":[16,40]'))
    with pytest.raises(UnsafeShardError, match=r"float32 \(40, 16\)"):
        open_safetensors(out, config)


def test_a_file_size_of_nothing_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="expected at least 1"):
        Conversion(checkpoint, file_size=0, metadata=METADATA)


@pytest.mark.parametrize("model", [1, 2])
def test_experts_of_int4_are_those_that_requantising_gives(
    checkpoint: Checkpoint, config: ModelConfig, out: Path, model: int
) -> None:
    """Whole, and cut for two devices; all other tensors keep their bytes."""
    altered = config.requantised(24)
    pieces = axis_pieces(altered, model=model)
    conversion = Conversion(
        checkpoint, file_size=20_000, metadata=METADATA, pieces=pieces, altered=altered
    )
    conversion.write(out)
    converted = open_safetensors(out, altered)
    for spec in converted.specs:
        before = checkpoint[spec.name]
        if spec.dtype != "uint8":
            found = whole(converted.stored(spec.name)[0])
            assert found.tobytes() == before.weight.array().tobytes()
            continue
        assert before.scales is not None
        assert spec.scales_shape is not None
        rows = before.weight.shape[-2]
        group = rows // spec.scales_shape[-2]
        expected = requantise(before.weight.array(), before.scales.array(), group)
        for stored, wanted in zip(converted.stored(spec.name), expected, strict=True):
            assert stored is not None
            found = whole(stored)
            assert found.dtype == wanted.dtype
            assert np.array_equal(found, wanted)


def test_int4_that_is_not_what_the_configuration_says_is_refused(
    checkpoint: Checkpoint, config: ModelConfig, out: Path
) -> None:
    """int8 where int4 is said and int4 where int8 is, another shape, scales of another dtype."""
    convert(checkpoint, out)
    with pytest.raises(UnsafeShardError, match=r"int8 .*; expected uint8"):
        open_safetensors(out, config.requantised(24))
    for path in out.iterdir():
        path.unlink()
    altered = config.requantised(24)
    Conversion(checkpoint, file_size=10**9, metadata=METADATA, altered=altered).write(out)
    with pytest.raises(UnsafeShardError, match=r"uint8 .*; expected int8"):
        open_safetensors(out, config)
    (path,) = (path for path in out.iterdir() if path.name != INDEX_FILE)
    data = path.read_bytes()
    for before, after, message in (
        (b'"U8"', b'"I8"', r"int8 .*; expected uint8"),
        (b'"BF16","shape":[3,1,24]', b'"F16","shape":[3,1,24] ', r"float16 .*; expected bfloat16 "),
        (b'"shape":[3,8,24]', b'"shape":[3,24,8]', r"\(3, 24, 8\); expected uint8 \(3, 8, 24\)"),
    ):
        assert before in data
        path.write_bytes(data.replace(before, after))
        with pytest.raises(UnsafeShardError, match=message):
            open_safetensors(out, altered)
    with pytest.raises(UnsafeShardError, match="uint8"):
        open_checkpoint(checkpoint.directory, altered)
