"""What is in a shard, a directory of shards, a model directory or a safetensors file.

A listing of tensors and where their bytes are, read without executing anything. Every file that
could hold a tensor is read or refused: none is passed over because of its name.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import safetensors

from grokdist_runtime.checkpoint.checkpoint_directory import (
    SHARD_FOLDER,
    file_names,
    open_checkpoint,
)
from grokdist_runtime.checkpoint.refusal import Refusal, path_text, printable, unsafe_shard
from grokdist_runtime.checkpoint.shard import Shard, read_shard
from grokdist_runtime.checkpoint.shard_file import open_shard_file
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import CheckpointError

_SUFFIX = ".safetensors"

# The names in a safetensors header, with the size in bytes; the sub-byte types are not listed.
_SAFETENSORS_DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "F32": ("float32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F64": ("float64", 8),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedScales:
    """The scales beside a quantised weight; the fields mean what they mean for the tensor."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedTensor:
    """One tensor of a listing.

    Attributes:
        file: its file, relative to the directory that was inspected.
        name: the tensor's name, None where nothing says it.
        dtype: NumPy's name of the type.
        shape: the tensor's shape.
        offset: byte offset of the data in the file.
        nbytes: length of the data.
        scales: of a quantised weight, else None.
    """

    file: str
    name: str | None
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    scales: InspectedScales | None = None


def inspect_path(path: Path) -> tuple[InspectedTensor, ...]:
    """List the tensors of a file or directory.

    A file ending in ``.safetensors`` is read through its library, any other as a shard. Of a
    directory with ``ckpt-0`` the shards in there are read, with names and full matching if
    ``config.json`` stands beside it; of any other its safetensors files, or, without any, every
    file as a shard.

    Raises:
        UnsafeShardError: a file is not what it should be.
        CheckpointError: nothing is there, or it cannot be read.
        ConfigError: ``config.json`` does not describe a model.
    """
    path = Path(path)
    if not path.is_dir():
        return _file(path, path.name)
    if not os.path.lexists(path / SHARD_FOLDER):
        names = file_names(path)
        chosen = [name for name in names if name.endswith(_SUFFIX)] or names
        return _listing(path, path, chosen)
    if os.path.lexists(path / "config.json"):
        checkpoint = open_checkpoint(path, ModelConfig.from_json(path / "config.json"))
        return tuple(
            _tensor(shard, f"{SHARD_FOLDER}/{shard.path.name}", name)
            for name, shard in checkpoint.shards.items()
        )
    return _listing(path, path / SHARD_FOLDER, file_names(path / SHARD_FOLDER))


def _listing(root: Path, folder: Path, names: list[str]) -> tuple[InspectedTensor, ...]:
    if not names:
        raise CheckpointError(f"{path_text(folder)} is empty; expected shards")
    tensors: list[InspectedTensor] = []
    for name in names:
        file = folder / name
        tensors += _file(file, file.relative_to(root).as_posix())
    return tuple(tensors)


def _file(path: Path, label: str) -> tuple[InspectedTensor, ...]:
    if path.suffix == _SUFFIX:
        return _safetensors(path, label)
    return (_tensor(read_shard(path), label, None),)


def _tensor(shard: Shard, label: str, name: str | None) -> InspectedTensor:
    weight, scales = shard.weight, shard.scales
    return InspectedTensor(
        file=label,
        name=name,
        dtype=weight.dtype,
        shape=weight.shape,
        offset=weight.offset,
        nbytes=weight.nbytes,
        scales=None
        if scales is None
        else InspectedScales(
            dtype=scales.dtype, shape=scales.shape, offset=scales.offset, nbytes=scales.nbytes
        ),
    )


def _safetensors(path: Path, label: str) -> tuple[InspectedTensor, ...]:
    with open_shard_file(path) as (descriptor, _):
        start = 8 + int.from_bytes(os.pread(descriptor, 8, 0), "little")
    tensors = []
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            # The library has checked that the tensors follow each other without a gap.
            for name in opened.offset_keys():
                part = opened.get_slice(name)
                dtype, size = _safetensors_dtype(path, part.get_dtype())
                shape = tuple(part.get_shape())
                nbytes = math.prod(shape) * size
                tensors.append(
                    InspectedTensor(
                        file=label, name=name, dtype=dtype, shape=shape, offset=start, nbytes=nbytes
                    )
                )
                start += nbytes
    except (safetensors.SafetensorError, OSError) as error:
        refusal = Refusal(f"no safetensors file, {printable(str(error))}", "a valid header")
        raise unsafe_shard(path, 0, refusal) from None
    return tuple(tensors)


def _safetensors_dtype(path: Path, code: str) -> tuple[str, int]:
    if code not in _SAFETENSORS_DTYPES:
        raise unsafe_shard(
            path, None, Refusal(f"dtype {printable(code)}", ", ".join(_SAFETENSORS_DTYPES))
        )
    return _SAFETENSORS_DTYPES[code]
