"""Read one shard of the original layout: where its tensors are, without executing anything.

A shard is a pickle, and unpickling runs code, so it is not unpickled: ``opcode_machine`` steps
through the few opcodes around the data, ``allow_list`` says what they may build, and this file
checks the outcome and maps the data in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from grokdist_runtime.checkpoint.allow_list import Array, QuantisedWeight
from grokdist_runtime.checkpoint.opcode_machine import OpcodeMachine, root_value
from grokdist_runtime.checkpoint.refusal import Refusal, path_text, unsafe_shard
from grokdist_runtime.checkpoint.shard_file import (
    Runs,
    ShardFile,
    StructureReader,
    has_runs,
    open_again,
    open_shard_file,
)
from grokdist_runtime.errors import CheckpointError

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""The dtypes that a checkpoint may hold, as NumPy has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorView:
    """Raw tensor data inside a shard.

    Attributes:
        file: the shard's file as it was when the structure was read.
        dtype: ``int8``, ``float32`` or ``bfloat16``; ``uint8`` in safetensors only.
        shape: at most 4 dimensions, none of them 0; C order, little-endian.
        offset: byte offset of the data; as it falls, so seldom aligned.
        nbytes: length of the data.
    """

    file: ShardFile
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    def array(self) -> np.ndarray[Any, Any]:
        """Map the data read-only, in place; pages are read when they are touched.

        A file that shrinks while it is mapped ends the process with SIGBUS: this cannot be
        caught here, so do not truncate a checkpoint in use.

        Raises:
            CheckpointError: the file is gone or is not the one whose structure was read.
        """
        with open_again(self.file) as descriptor, open(descriptor, "rb", closefd=False) as opened:
            mapped: np.memmap[Any, Any] = np.memmap(
                opened,
                dtype=NUMPY_DTYPES[self.dtype],
                mode="r",
                offset=self.offset,
                shape=self.shape,
            )
        return mapped


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One checkpoint file: an array, or an int8 weight with its scales.

    Attributes:
        path: the file.
        size: its length in bytes.
        weight: the array, or the int8 weight.
        scales: ``[..., groups, out]`` scales of a quantised weight ``[..., in, out]``, where
            ``groups`` divides ``in``; None for a plain array.
    """

    path: Path
    size: int
    weight: TensorView
    scales: TensorView | None


def read_shard(path: Path) -> Shard:
    """Read the structure of one shard.

    Checks that the file is a regular file holding exactly one protocol 4 pickle, of one array or
    one quantised weight as NumPy 1 or 2 writes it, little-endian and in C order, with as many
    bytes as its shape needs and nothing else. Does not look at the data, nor compare the file
    with a digest, nor with the shape a model needs (``checkpoint_directory`` does).

    Reads at most 4 KiB and takes at most 256 steps, however large the file.

    Raises:
        UnsafeShardError: the file is anything else; names offset, finding and expectation.
        CheckpointError: the file is missing or may not be read.
    """
    (shard,) = read_shards([path])
    return shard


def read_shards(paths: Iterable[Path]) -> Iterator[Shard]:
    """Read the structures of shards, each as ``read_shard`` does.

    What a structure says depends on the file's size and on the bytes that are taken of it, so a
    file of a size that was seen, with the same bytes in the same places, has the same structure:
    of the shards of many layers, which differ in their data alone, one is stepped through and the
    others are compared with it.

    Raises:
        UnsafeShardError, CheckpointError: as ``read_shard``, when it is that shard's turn.
    """
    known: dict[int, _Structure] = {}
    for path in map(Path, paths):
        with open_shard_file(path) as (descriptor, file):
            try:
                structure = known.get(file.size)
                if structure is None or not has_runs(descriptor, structure.runs):
                    structure = known[file.size] = _read_structure(descriptor, file)
            except OSError as error:
                raise CheckpointError(f"cannot read {path_text(path)}: {error.strerror}") from error
        scales = None if structure.scales is None else _view(file, structure.scales)
        yield Shard(path=path, size=file.size, weight=_view(file, structure.weight), scales=scales)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Structure:
    """What a shard holds and where, and the bytes that say so."""

    runs: Runs
    weight: Array
    scales: Array | None


def _read_structure(descriptor: int, file: ShardFile) -> _Structure:
    reader = StructureReader(descriptor, file.size)
    machine = OpcodeMachine(reader)
    try:
        value = root_value(machine)
    except Refusal as refusal:
        raise unsafe_shard(file.path, machine.opcode_offset, refusal) from None
    if not isinstance(value, QuantisedWeight):
        return _Structure(runs=reader.runs(), weight=value, scales=None)
    assert value.weight is not None  # noqa: S101 - root_value returns complete values
    assert value.scales is not None  # noqa: S101
    try:
        _check_scales(value.weight, value.scales)
    except Refusal as refusal:
        assert value.scales.payload is not None  # noqa: S101
        raise unsafe_shard(file.path, value.scales.payload.offset, refusal) from None
    return _Structure(runs=reader.runs(), weight=value.weight, scales=value.scales)


def _view(file: ShardFile, array: Array) -> TensorView:
    assert array.payload is not None  # noqa: S101 - root_value returns complete values
    return TensorView(
        file=file,
        dtype=array.dtype,
        shape=array.shape,
        offset=array.payload.offset,
        nbytes=array.payload.length,
    )


def _check_scales(weight: Array, scales: Array) -> None:
    if weight.dtype != "int8" or scales.dtype == "int8":
        raise Refusal(
            f"a quantised weight of {weight.dtype} with scales of {scales.dtype}",
            "int8 with bfloat16 or float32",
        )
    *lead, rows, columns = weight.shape if len(weight.shape) > 1 else (0, 0)
    fits = (
        len(scales.shape) == len(weight.shape) >= 2
        and list(scales.shape[:-2]) == lead
        and scales.shape[-1] == columns
        and rows % scales.shape[-2] == 0
    )
    if not fits:
        raise Refusal(
            f"scales of shape {scales.shape} for a weight of shape {weight.shape}",
            "the weight's shape with its last but one dimension divided into groups",
        )
