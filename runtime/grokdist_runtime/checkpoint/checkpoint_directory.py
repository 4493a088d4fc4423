"""A checkpoint directory: each file read safely and matched, one to one, with the tensor table.

Says which shard holds which tensor and that its shape and dtype are the ones the model needs.
Digests are checked elsewhere, before; the data is not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from grokdist_runtime.checkpoint.refusal import Refusal, path_text, printable, unsafe_shard
from grokdist_runtime.checkpoint.shard import Shard, TensorView, read_shards
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor
from grokdist_runtime.checkpoint.tensor_table import TensorSpec, shard_file_name, tensor_table
from grokdist_runtime.errors import CheckpointError

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig

SHARD_FOLDER = "ckpt-0"
"""Folder of a model directory that holds the shards, as in the release."""

MAX_FILES = 100_000
"""Entries of one directory that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Where every tensor of a model is.

    Attributes:
        directory: the model directory.
        specs: the tensors in the order of the files.
        shards: the shard of each tensor that is in one piece, by its name.
        cut: the values and the scales of each tensor that was cut into parts, by its name.
    """

    directory: Path
    specs: tuple[TensorSpec, ...]
    shards: Mapping[str, Shard]
    cut: Mapping[str, tuple[StoredTensor, StoredTensor | None]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Shard:
        """The shard that holds a tensor; KeyError for a name not in the table, or of parts."""
        return self.shards[name]

    def stored(self, name: str) -> tuple[StoredTensor, StoredTensor | None]:
        """Where a tensor's values and scales are, in one piece or in parts."""
        if name in self.cut:
            return self.cut[name]
        shard = self.shards[name]
        scales = None if shard.scales is None else StoredTensor.whole(name, shard.scales)
        return StoredTensor.whole(name, shard.weight), scales


def open_checkpoint(directory: Path, config: ModelConfig) -> Checkpoint:
    """Read the structure of every shard in ``directory/ckpt-0`` and match it with the table.

    Checks that the files are those the configuration asks for, no more and no fewer, and that
    each holds an array of its tensor's shape and dtype (scales may be bfloat16 or float32).
    Does not check digests, nor the values.

    Raises:
        CheckpointError: the folder, or a file in it, is missing, or there is one too many.
        UnsafeShardError: a file is not a shard, or holds another tensor.
    """
    specs = tensor_table(config)
    folder = Path(directory) / SHARD_FOLDER
    wanted = {shard_file_name(index): spec for index, spec in enumerate(specs)}
    present = set(file_names(folder))
    if unknown := sorted(present - wanted.keys()):
        raise CheckpointError(
            f"{path_text(folder)} holds {printable(unknown[0])}"
            f"{_and_more(unknown)}; expected only the {len(wanted)} shards of the model"
        )
    if missing := sorted(wanted.keys() - present):
        raise CheckpointError(
            f"{path_text(folder)} has no {missing[0]}{_and_more(missing)}; "
            f"expected {len(wanted)} shards, got {len(present)}"
        )
    shards = {}
    read = read_shards(folder / name for name in wanted)
    for spec, shard in zip(wanted.values(), read, strict=True):
        check_fit(shard, spec)
        shards[spec.name] = shard
    return Checkpoint(directory=Path(directory), specs=specs, shards=MappingProxyType(shards))


def file_names(folder: Path) -> list[str]:
    """Names of everything in a folder, sorted.

    Raises:
        CheckpointError: it is no readable folder, or holds more than 100,000 entries.
    """
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > MAX_FILES:
                    raise CheckpointError(
                        f"{path_text(folder)} holds more than {MAX_FILES} files; "
                        "expected a checkpoint"
                    )
    except OSError as error:
        raise CheckpointError(f"cannot read {path_text(folder)}: {error.strerror}") from error
    return sorted(names)


def check_fit(shard: Shard, spec: TensorSpec) -> None:
    """Check that a shard holds an array of its tensor's shape and dtype.

    Raises:
        UnsafeShardError: it does not.
    """
    _check_view(shard, shard.weight, spec.name, (spec.dtype,), spec.shape)
    if spec.scales_shape is None:
        if shard.scales is not None:
            raise unsafe_shard(
                shard.path, None, Refusal("a quantised weight", f"a plain array for {spec.name}")
            )
        return
    if shard.scales is None:
        raise unsafe_shard(
            shard.path, None, Refusal("a plain array", f"a quantised weight for {spec.name}")
        )
    _check_view(shard, shard.scales, spec.name, spec.scales_dtypes, spec.scales_shape)


def _check_view(
    shard: Shard, view: TensorView, name: str, dtypes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    if view.dtype not in dtypes or view.shape != shape:
        what = "scales" if view is shard.scales else "array"
        raise unsafe_shard(
            shard.path,
            view.offset,
            Refusal(
                f"{what} of {view.dtype} {view.shape}", f"{' or '.join(dtypes)} {shape} for {name}"
            ),
        )


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
