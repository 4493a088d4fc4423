"""Convert a model's shards to safetensors: the same bytes in a format that holds no code.

Payloads are read a few MiB at a time, each byte once, and written as they are, or dealt out to the
files of the parts that they belong to; no value is computed, but for experts that are to be
requantised (``rounded_view``). Each file gets its name only when it
is whole and on disk, and a file that an earlier run finished is compared rather than written
again. Manifests, licences and receipts are the caller's.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint
from grokdist_runtime.checkpoint.parts import (
    Box,
    Grid,
    grids,
    parse_part_name,
    part_box,
    part_shape,
)
from grokdist_runtime.checkpoint.refusal import path_text
from grokdist_runtime.checkpoint.rounded_view import RoundedView, rounded_views
from grokdist_runtime.checkpoint.safetensors_layout import (
    INDEX_FILE,
    SCALES_SUFFIX,
    FileLayout,
    PlacedTensor,
    index_document,
    lay_out,
)
from grokdist_runtime.checkpoint.shard import NUMPY_DTYPES, TensorView
from grokdist_runtime.checkpoint.shard_file import open_again, open_shard_file
from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE, TensorSpec, stacks, tensor_table
from grokdist_runtime.errors import CheckpointError, OutputError

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig

View = TensorView | RoundedView
FILE_SIZE = 5_000_000_000
"""Bytes of one file by default, as the Hub's libraries split."""
_COPY_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """One file of the converted model: its name, length, and the SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str


class Conversion:
    """What a conversion will write, and the writing.

    Attributes:
        files: the layout of every safetensors file.
        size: bytes of all of them.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        file_size: int = FILE_SIZE,
        metadata: Mapping[str, str],
        pieces: Mapping[str, int] | None = None,
        altered: ModelConfig | None = None,
    ) -> None:
        """Lay out a checkpoint's tensors; nothing is written yet.

        Args:
            checkpoint: what to convert.
            file_size: bytes that a file should not exceed.
            metadata: strings to write into every file.
            pieces: how to cut the tensors, from ``parts.axis_pieces``; by default not at all.
            altered: the configuration with experts of int4, to round them; by default nothing is.

        Raises:
            CheckpointError: the file size makes no sense.
        """
        self._sources: dict[str, tuple[View, Grid]] = {}
        runs = []
        for stack in stacks(checkpoint.specs if altered is None else tensor_table(altered)):
            named = [dict(_stored(spec, checkpoint, pieces or {})) for spec in stack]
            # The values of all layers are one run, their scales another.
            for run in zip(*(of_layer.items() for of_layer in named), strict=True):
                self._sources |= dict(run)
                count = math.prod(run[0][1][1])
                runs.append((count, tuple(_placed(name, source) for name, source in run)))
        self._groups = lay_out(runs, file_size=file_size, metadata=metadata)
        self.files = tuple(file for group in self._groups for file in group)
        self.size = sum(file.size for file in self.files)

    def write(
        self,
        out: Path,
        *,
        on_bytes: Callable[[str, int], None] = lambda name, count: None,
    ) -> tuple[WrittenFile, ...]:
        """Write every file and the index into a folder that exists.

        Args:
            out: the folder. Files of the same names that hold these very bytes stay; others are
                refused rather than replaced.
            on_bytes: told of bytes written or compared, by the name of the file.

        Raises:
            CheckpointError: a file is in the way, or a shard changed since its structure was read.
            OutputError: the disk refuses.
        """
        written: list[WrittenFile] = []
        for group in self._groups:
            written += self._write(group, out, on_bytes)
        index = index_document(self.files)
        with _destination(out / INDEX_FILE) as put:
            put(index)
        digest = hashlib.sha256(index).hexdigest()
        written.append(WrittenFile(name=INDEX_FILE, size=len(index), sha256=digest))
        return tuple(written)

    def _write(
        self, group: tuple[FileLayout, ...], out: Path, on_bytes: Callable[[str, int], None]
    ) -> list[WrittenFile]:
        """Write the files of all parts at once, so that what they share out is read once."""
        digests = [hashlib.sha256() for _ in group]
        with ExitStack() as stack:
            puts = [stack.enter_context(_destination(out / layout.name)) for layout in group]

            def put(part: int, data: bytes) -> None:
                puts[part](data)
                digests[part].update(data)
                on_bytes(group[part].name, len(data))

            for part, layout in enumerate(group):
                put(part, layout.header)
            for tensor in group[0].tensors:
                view, grid = self._sources[parse_part_name(tensor.name)[0]]
                for part, data in _dealt(view, grid):
                    put(part, data)
        return [
            WrittenFile(name=layout.name, size=layout.size, sha256=digest.hexdigest())
            for layout, digest in zip(group, digests, strict=True)
        ]


def _stored(
    spec: TensorSpec, checkpoint: Checkpoint, pieces: Mapping[str, int]
) -> Iterator[tuple[str, tuple[View, Grid]]]:
    shard, (values, scales) = checkpoint[spec.name], grids(spec, pieces)
    views: tuple[View, View | None] = (shard.weight, shard.scales)
    if spec.dtype == "uint8" and shard.weight.dtype == "int8":
        views = rounded_views(shard, spec)
    yield spec.name, (views[0], values)
    if views[1] is not None and scales is not None:
        yield spec.name + SCALES_SUFFIX, (views[1], scales)


def _placed(name: str, source: tuple[View, Grid]) -> PlacedTensor:
    view, grid = source
    return PlacedTensor(
        name=name,
        dtype=view.dtype,
        shape=part_shape(view.shape, grid),
        nbytes=view.nbytes // math.prod(grid),
    )


def _dealt(view: View, grid: Grid) -> Iterator[tuple[int, bytes]]:
    """The data of a tensor, block by block, as what comes next in each of its parts."""
    boxes = [part_box(view.shape, grid, index) for index in range(math.prod(grid))]
    blocks = view.blocks() if isinstance(view, RoundedView) else _blocks(view)
    for block, data in blocks:
        if len(boxes) == 1:
            yield 0, data
            continue
        shape = [side.stop - side.start for side in block]
        array = np.frombuffer(data, NUMPY_DTYPES[view.dtype]).reshape(shape)
        for part, box in enumerate(boxes):
            shared = array[
                tuple(
                    slice(max(a.start, b.start) - b.start, max(0, min(a.stop, b.stop) - b.start))
                    for a, b in zip(box, block, strict=True)
                )
            ]
            if shared.size:
                yield part, shared.tobytes()


def _blocks(view: TensorView) -> Iterator[tuple[Box, bytes]]:
    """Whole rows of a tensor, a few MiB at a time, in the order of the file."""
    *lead, rows = view.shape[:-1] or view.shape
    width = view.shape[-1] if len(view.shape) > 1 else 1
    row_bytes = width * ITEM_SIZE[view.dtype]
    step = max(1, _COPY_BYTES // row_bytes)
    place = view.offset
    with open_again(view.file) as descriptor:
        for corner in itertools.product(*(range(size) for size in lead)):
            for row in range(0, rows, step):
                count = min(step, rows - row)
                data = _read(descriptor, place, count * row_bytes, view)
                place += len(data)
                box = [*(slice(at, at + 1) for at in corner), slice(row, row + count)]
                if len(view.shape) > 1:
                    box.append(slice(0, width))
                yield tuple(box), data


def _read(descriptor: int, place: int, nbytes: int, view: TensorView) -> bytes:
    data = os.pread(descriptor, nbytes, place)
    while len(data) < nbytes:
        more = os.pread(descriptor, nbytes - len(data), place + len(data))
        if not more:
            raise CheckpointError(
                f"{path_text(view.file.path)} ended early; expected the same file"
            )
        data += more
    return data


@contextmanager
def _destination(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Takes a file's bytes: written whole or not at all; one that is there must hold the same."""
    try:
        if os.path.lexists(path):
            with _compared(path) as put:
                yield put
            return
        partial = path.with_name(f".{path.name}.part")
        try:
            with partial.open("wb") as file:
                yield file.write
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OutputError(f"cannot write {path_text(path)}: {error.strerror}") from error


@contextmanager
def _compared(path: Path) -> Iterator[Callable[[bytes], object]]:
    with open_shard_file(path) as (descriptor, file):
        place = 0

        def compare(chunk: bytes) -> None:
            nonlocal place
            if os.pread(descriptor, len(chunk), place) != chunk:
                raise _in_the_way(path)
            place += len(chunk)

        yield compare
        if place != file.size:
            raise _in_the_way(path)


def _in_the_way(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path_text(path)} is there and holds something else; expected it absent, or the very "
        "bytes of this conversion",
        hint="choose another folder with --out",
    )
