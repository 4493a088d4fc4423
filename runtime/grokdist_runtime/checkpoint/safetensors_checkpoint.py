"""Read a model's safetensors files: where its tensors are, matched with the tensor table.

The safetensors library checks the headers (no gaps, no overlaps, bounds); this file asks it for
offsets. A tensor is there whole, or in parts that a conversion for a mesh made, of which a host
needs its own only. Digests are checked elsewhere, before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint, file_names
from grokdist_runtime.checkpoint.inspection import InspectedTensor, inspect_path
from grokdist_runtime.checkpoint.parts import Place, parse_part_name
from grokdist_runtime.checkpoint.refusal import Refusal, path_text, printable, unsafe_shard
from grokdist_runtime.checkpoint.safetensors_layout import INDEX_FILE, SCALES_SUFFIX, SUFFIX
from grokdist_runtime.checkpoint.shard import Shard, TensorView
from grokdist_runtime.checkpoint.shard_file import ShardFile, open_shard_file
from grokdist_runtime.checkpoint.stored_tensor import StoredTensor
from grokdist_runtime.checkpoint.tensor_table import TensorSpec, tensor_table
from grokdist_runtime.errors import CheckpointError

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig


def holds_safetensors(directory: Path) -> bool:
    """Whether a model directory is one of safetensors files rather than of shards."""
    return os.path.lexists(directory / INDEX_FILE)


def open_safetensors(directory: Path, config: ModelConfig) -> Checkpoint:
    """Read the header of every safetensors file in ``directory`` and match it with the table.

    Checks that the tensors are those the configuration asks for, each of its shape and dtype,
    whole or in equal parts, and that none is wholly absent. Parts may be absent, since another
    host may have them: asking for one that is says so. The index is not read: the headers say the
    same.

    Raises:
        CheckpointError: a tensor is missing, there is one too many or twice, or a file cannot be
            read.
        UnsafeShardError: a header is malformed, or a tensor is of another shape or dtype.
    """
    directory = Path(directory)
    specs = tensor_table(config)
    found = _found(directory)
    _check_names(directory, set(found), specs)
    shards, cut = {}, {}
    for spec in specs:
        values = _stored(found[spec.name], spec.name, spec.shape, (spec.dtype,))
        scales = None
        if spec.scales_shape is not None:
            name = spec.name + SCALES_SUFFIX
            scales = _stored(found[name], name, spec.scales_shape, spec.scales_dtypes)
        if any(math.prod(part.grid) > 1 for part in (values, scales) if part is not None):
            cut[spec.name] = (values, scales)
            continue
        weight = values.parts[0]
        shards[spec.name] = Shard(
            path=weight.file.path,
            size=weight.file.size,
            weight=weight,
            scales=None if scales is None else scales.parts[0],
        )
    return Checkpoint(
        directory=directory,
        specs=specs,
        shards=MappingProxyType(shards),
        cut=MappingProxyType(cut),
    )


def _found(directory: Path) -> dict[str, dict[Place, TensorView]]:
    """The views of every tensor, by its name and by which part it is."""
    found: dict[str, dict[Place, TensorView]] = {}
    for file in (name for name in file_names(directory) if name.endswith(SUFFIX)):
        path = directory / file
        for written, view in _views(path, inspect_path(path)):
            name, place = parse_part_name(written)
            parts = found.setdefault(name, {})
            if place in parts:
                raise CheckpointError(
                    f"{path_text(path)} holds {printable(written)}, as does "
                    f"{path_text(parts[place].file.path)}; expected every tensor once"
                )
            parts[place] = view
            if len({count for _, count in parts}) > 1:
                raise CheckpointError(
                    f"{path_text(path)} holds {printable(written)}, and other files hold "
                    f"{printable(name)} cut otherwise; expected it whole or in equal parts"
                )
    return found


def _views(path: Path, tensors: Iterable[InspectedTensor]) -> Iterable[tuple[str, TensorView]]:
    with open_shard_file(path) as (_, file):
        identified: ShardFile = file
    for tensor in tensors:
        yield (
            str(tensor.name),
            TensorView(
                file=identified,
                dtype=tensor.dtype,
                shape=tensor.shape,
                offset=tensor.offset,
                nbytes=tensor.nbytes,
            ),
        )


def _stored(
    parts: Mapping[Place, TensorView], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
) -> StoredTensor:
    """One tensor of parts that are all alike, of the dtype and shape that the table has."""
    first = next(iter(parts.values()))
    ((_, count),) = {(0, count) for _, count in parts}
    grid = tuple(
        whole // part if part and whole % part == 0 else 0
        for whole, part in zip(shape, first.shape, strict=False)
    )
    for view in parts.values():
        fits = (view.shape, view.dtype) == (first.shape, first.dtype) and view.dtype in dtypes
        if not fits or len(view.shape) != len(shape) or math.prod(grid) != count:
            what = f"{' or '.join(dtypes)} {shape} for {name}"
            raise unsafe_shard(
                view.file.path,
                view.offset,
                Refusal(
                    f"array of {view.dtype} {view.shape}",
                    what if count == 1 else f"one of {count} equal parts of {what}",
                ),
            )
    return StoredTensor(
        name=name,
        shape=shape,
        dtype=first.dtype,
        grid=grid,
        parts=MappingProxyType({index: view for (index, _), view in parts.items()}),
    )


def _check_names(directory: Path, found: set[str], specs: tuple[TensorSpec, ...]) -> None:
    wanted = {spec.name for spec in specs}
    wanted |= {spec.name + SCALES_SUFFIX for spec in specs if spec.scales_shape is not None}
    if unknown := sorted(found - wanted):
        raise CheckpointError(
            f"{path_text(directory)} holds the tensor {printable(unknown[0])}; "
            f"expected only the {len(wanted)} of the model"
        )
    if missing := sorted(wanted - found):
        raise CheckpointError(
            f"{path_text(directory)} has no tensor {missing[0]}; "
            f"expected {len(wanted)}, got {len(found)}"
        )
