"""Where a tensor's data is: in one piece, or in equal parts that stand in files of their own.

Answers, for any box of the tensor, which file holds which of it, and which contiguous bytes these
are. Reading them is left to others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from grokdist_runtime.checkpoint.parts import Box, Grid, overlapping, part_box, part_name
from grokdist_runtime.checkpoint.shard import TensorView
from grokdist_runtime.checkpoint.shard_file import ShardFile
from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE
from grokdist_runtime.errors import CheckpointError


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRange:
    """Bytes of a file that follow each other."""

    file: ShardFile
    offset: int
    nbytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some of a tensor in one file.

    Attributes:
        view: the data in the file.
        source: the box of the view.
        target: the same elements, as a box of what was asked for.
    """

    view: TensorView
    source: Box
    target: Box

    def ranges(self) -> Iterator[FileRange]:
        """The contiguous ranges of the file that hold it, in C order."""
        for offset, nbytes in contiguous(self.view.shape, self.source):
            item = ITEM_SIZE[self.view.dtype]
            yield FileRange(
                file=self.view.file, offset=self.view.offset + offset * item, nbytes=nbytes * item
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint.

    Attributes:
        name: its name.
        shape: of the whole.
        dtype: ``int8``, ``float32`` or ``bfloat16``.
        grid: pieces along each dimension.
        parts: the parts that are here, by their number in C order. Where others are needed too,
            another host has them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    grid: Grid
    parts: Mapping[int, TensorView]

    @classmethod
    def whole(cls, name: str, view: TensorView) -> StoredTensor:
        """A tensor in one piece."""
        grid = (1,) * len(view.shape)
        return cls(name=name, shape=view.shape, dtype=view.dtype, grid=grid, parts={0: view})

    def pieces(self, box: Box) -> Iterator[Piece]:
        """What the files hold of a box, part by part.

        Raises:
            CheckpointError: a part that is needed is not here.
        """
        if len(self.parts) == 1 and set(self.grid) == {1}:
            yield Piece(view=self.parts[0], source=box, target=_within(box, box))
            return
        sizes = [size // count for size, count in zip(self.shape, self.grid, strict=True)]
        # As places on the tensor's own elements, to find the parts that share one with the box.
        corners = [
            range(side.start // size, -(-side.stop // size))
            for side, size in zip(box, sizes, strict=True)
        ]
        for corner in itertools.product(*corners):
            held = tuple(zip(corner, self.grid, strict=True))
            (index,) = overlapping(self.grid, held)
            if index not in self.parts:
                count = math.prod(self.grid)
                raise CheckpointError(
                    f"{part_name(self.name, index, count)} is needed here and in no file; "
                    f"expected all parts that this mesh needs, got {len(self.parts)} of {count}",
                    hint="fetch the rest of the model, or choose the --mesh it was fetched for",
                )
            part = part_box(self.shape, self.grid, index)
            shared = tuple(
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(box, part, strict=True)
            )
            yield Piece(
                view=self.parts[index],
                source=_within(shared, part),
                target=_within(shared, box),
            )


def contiguous(shape: Sequence[int], box: Box) -> Iterator[tuple[int, int]]:
    """Start and length, in elements, of the contiguous runs that a box of an array consists of."""
    inner = len(shape)
    run = 1
    while inner:  # dimensions that are taken whole belong to one run, and one cut before them
        inner -= 1
        side = box[inner]
        run *= side.stop - side.start
        if side.stop - side.start != shape[inner]:
            break
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = box[inner].start * strides[inner] if len(shape) else 0
    outer = [range(side.start, side.stop) for side in box[:inner]]
    for corner in itertools.product(*outer):
        start = sum(at * stride for at, stride in zip(corner, strides, strict=False))
        yield start + first, run


def _within(box: Box, outer: Box) -> Box:
    return tuple(
        slice(side.start - whole.start, side.stop - whole.start)
        for side, whole in zip(box, outer, strict=True)
    )
