"""Tensors that are in no file yet: an int8 matrix's int4 values and scales, rounded when read.

They stand in for ``TensorView`` where a conversion writes: dtype, shape, and the data block by
block in the order of a file. Scales are kept from when the values were rounded until they are
written, which is 3 % of what is written; the values are not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from grokdist_runtime.checkpoint.parts import Box
from grokdist_runtime.checkpoint.requantisation import requantise
from grokdist_runtime.checkpoint.shard import Shard
from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE, TensorSpec

Array = np.ndarray[Any, Any]

_BLOCK_BYTES = 8 << 20  # of int8


@dataclass(kw_only=True, slots=True)
class _Matrix:
    """An int8 tensor and what it is to become.

    Attributes:
        shard: where its values and scales are.
        spec: shape, scales' shape and dtype as int4.
        scales: all of them, once the values have been gone through.
    """

    shard: Shard
    spec: TensorSpec
    scales: Array | None = field(default=None)

    def rounded(self) -> Iterator[tuple[Box, Array]]:
        """The packed values, some whole groups of rows of one expert at a time."""
        assert self.shard.scales is not None  # noqa: S101 - rounded_views makes no other
        assert self.spec.scales_shape is not None  # noqa: S101
        values, old = self.shard.weight.array(), self.shard.scales.array()
        *lead, rows, columns = values.shape
        group = rows // self.spec.scales_shape[-2]
        unit = math.gcd(rows // old.shape[-2], group)  # rows that share an old scale and a new one
        step = max(1, _BLOCK_BYTES // columns // group) * group
        scales = np.empty(self.spec.scales_shape, ml_dtypes.bfloat16)
        for corner in itertools.product(*(range(size) for size in lead)):
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                units = np.arange(start, stop, unit) // (rows // old.shape[-2])
                packed, found = requantise(values[corner][start:stop], old[corner][units], group)
                scales[corner][start // group : stop // group] = found
                sides = [*(slice(at, at + 1) for at in corner), slice(start // 2, stop // 2)]
                yield (*sides, slice(0, columns)), packed
        self.scales = scales


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundedView:
    """The values, or the scales, of a matrix that is being rounded.

    Attributes:
        matrix: which one.
        dtype: ``uint8`` or ``bfloat16``.
        shape: as the tensor table has it.
    """

    matrix: _Matrix
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Length of the data."""
        return math.prod(self.shape) * ITEM_SIZE[self.dtype]

    def blocks(self) -> Iterator[tuple[Box, bytes]]:
        """Boxes of the tensor and their data, in the order of a file.

        Raises:
            CheckpointError: the shard changed since its structure was read, or a scale in it is
                no usable number.
        """
        if self.dtype == "uint8":
            for box, packed in self.matrix.rounded():
                yield box, packed.tobytes()
            return
        if self.matrix.scales is None:
            for _ in self.matrix.rounded():
                pass
        assert self.matrix.scales is not None  # noqa: S101 - the loop above has set it
        *lead, groups, columns = self.shape
        for corner in itertools.product(*(range(size) for size in lead)):
            box = (*(slice(at, at + 1) for at in corner), slice(0, groups), slice(0, columns))
            yield box, self.matrix.scales[corner].tobytes()


def rounded_views(shard: Shard, spec: TensorSpec) -> tuple[RoundedView, RoundedView]:
    """Values and scales of an int8 weight as int4.

    Args:
        shard: the weight; it has scales.
        spec: the tensor in the table of the requantised model.
    """
    assert spec.scales_shape is not None  # noqa: S101 - int4 has scales
    matrix = _Matrix(shard=shard, spec=spec)
    return (
        RoundedView(matrix=matrix, dtype=spec.dtype, shape=spec.shape),
        RoundedView(matrix=matrix, dtype=spec.scales_dtypes[-1], shape=spec.scales_shape),
    )
