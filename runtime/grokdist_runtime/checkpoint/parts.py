"""Which part of each tensor a device of a mesh holds, and what the part is called in a file.

This is the one description of parts. The converter cuts tensors by it, the reader of converted
files puts parts together by it, and whoever fetches files for a mesh chooses them by it:
``places`` says where a device stands on each logical axis, ``parts_held`` which parts of a model's
tensors it then needs, ``part_of_file`` which part a file is of. Arithmetic on the tensor table; it
touches no device and imports no JAX.

A *grid* has a number for each dimension of a tensor: into how many equal pieces it is cut. The
*parts* are counted in C order, from 0 in the code and from 1 in names: the second of four parts of
``w`` is the tensor ``w.part-2-of-4``, in files ``model-00003-of-00009.part-2-of-4.safetensors``.
A tensor that is not cut keeps its name, and the files of such tensors say no part: every device
needs them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from grokdist_runtime.axis_rules import AxisRules
from grokdist_runtime.checkpoint.tensor_table import TensorSpec, tensor_table
from grokdist_runtime.mesh_shape import EXPERT, MODEL, MeshShape

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig

Grid = tuple[int, ...]
"""Pieces along each dimension of a tensor."""

Box = tuple[slice, ...]
"""A range along each dimension, each with a start and a stop."""

Place = tuple[int, int]
"""Which of how many equal pieces, counted from 0."""

_WEIGHT_AXES = ("vocab", "ffn", "q_dim", "kv_dim", "experts")
_MARK = re.compile(r"\.part-([1-9][0-9]{0,4})-of-([1-9][0-9]{0,4})", re.ASCII)
_FILE = re.compile(r".*" + _MARK.pattern + r"\.safetensors", re.ASCII)


def axis_pieces(config: ModelConfig, *, model: int, experts: int = 1) -> Mapping[str, int]:
    """Into how many pieces a mesh cuts each logical axis; axes that are absent are not cut.

    The table of ``axis_rules``, in numbers.

    Args:
        config: The model's sizes.
        model: Devices along the mesh's ``model`` axis.
        experts: Devices along its ``expert`` axis.

    Raises:
        DeviceError: Query heads, hidden columns, vocabulary or experts do not divide.
    """
    shape = MeshShape(model=model, expert=experts)
    rules = AxisRules.for_shape(config, shape)
    return {axis: shape.along(rules.axes(axis)) for axis in _WEIGHT_AXES}


def places(config: ModelConfig, *, model: Place, experts: Place = (0, 1)) -> Mapping[str, Place]:
    """Where one device stands on each logical axis: which piece it holds, of how many.

    Args:
        config: The model's sizes.
        model: The device's place on the mesh's ``model`` axis.
        experts: Its place on the ``expert`` axis.

    Raises:
        DeviceError: As ``axis_pieces``.
    """
    shape = MeshShape(model=model[1], expert=experts[1])
    rules = AxisRules.for_shape(config, shape)
    at = {MODEL: model[0], EXPERT: experts[0]}
    found = {}
    for axis in _WEIGHT_AXES:
        index = 0
        for name in rules.axes(axis):  # the outer one first
            index = index * shape.along((name,)) + at[name]
        found[axis] = (index, shape.along(rules.axes(axis)))
    return found


def grids(spec: TensorSpec, pieces: Mapping[str, int]) -> tuple[Grid, Grid | None]:
    """How a tensor and its scales are cut; scales are not where a group would be.

    Args:
        spec: The tensor.
        pieces: From ``axis_pieces``.
    """
    counts = [pieces.get(axis, 1) for axis in spec.axes]
    # Two rows of int4 share a byte, so that half of a dimension may divide no further.
    grid = tuple(
        1 if size % count else count for size, count in zip(spec.shape, counts, strict=True)
    )
    if spec.scales_shape is None:
        return grid, None
    groups, rows = spec.scales_shape[-2], grid[-2]
    return grid, (*grid[:-2], rows if groups % rows == 0 else 1, grid[-1])


def part_box(shape: tuple[int, ...], grid: Grid, index: int) -> Box:
    """What part ``index`` of a tensor covers; the grid divides the shape."""
    box = []
    for size, count in zip(reversed(shape), reversed(grid), strict=True):
        index, at = divmod(index, count)
        box.append(slice(at * (size // count), (at + 1) * (size // count)))
    return tuple(reversed(box))


def part_shape(shape: tuple[int, ...], grid: Grid) -> tuple[int, ...]:
    """Shape of every part of a tensor; the grid divides the shape."""
    return tuple(size // count for size, count in zip(shape, grid, strict=True))


def overlapping(grid: Grid, held: tuple[Place, ...]) -> Iterator[int]:
    """The parts that share an element with a piece of the tensor, in order.

    Args:
        grid: How the tensor is cut.
        held: The piece, by its place along each dimension; of any other cut.
    """
    ranges = [
        range(at * count // of, -(-(at + 1) * count // of))
        for count, (at, of) in zip(grid, held, strict=True)
    ]
    for corner in itertools.product(*ranges):
        index = 0
        for count, at in zip(grid, corner, strict=True):
            index = index * count + at
        yield index


def parts_held(
    config: ModelConfig, pieces: Mapping[str, int], device: Mapping[str, Place]
) -> frozenset[Place]:
    """The parts that one device needs, of a model whose tensors were cut in any way.

    Args:
        config: The model's sizes.
        pieces: How its files are cut, from ``axis_pieces``.
        device: Where the device stands on its own mesh, from ``places``.

    Returns:
        ``(index, count)`` of each part, to be compared with ``part_of_file``. What is not cut is
        needed too, and is not listed.
    """
    needed: set[Place] = set()
    for spec in tensor_table(config):
        held = tuple(device.get(axis, (0, 1)) for axis in spec.axes)
        values, scales = grids(spec, pieces)
        cuts = [(values, held)]
        if scales is not None:
            # Rows that lie in one group may lie on several devices, so any group may be needed.
            rows = held[-2] if scales[-2] == values[-2] else (0, 1)
            cuts.append((scales, (*held[:-2], rows, held[-1])))
        for grid, place in cuts:
            count = math.prod(grid)
            if count > 1:
                needed |= {(index, count) for index in overlapping(grid, place)}
    return frozenset(needed)


def part_name(name: str, index: int, count: int) -> str:
    """What a tensor's part is called; a tensor that is whole keeps its name."""
    return name if count == 1 else f"{name}.part-{index + 1}-of-{count}"


def parse_part_name(text: str) -> tuple[str, Place]:
    """The tensor that a name speaks of, and which part of it; ``(0, 1)`` is all of it."""
    head, dot, tail = text.rpartition(".part-")
    match = _MARK.fullmatch(dot + tail) if dot else None
    if match is None:
        return text, (0, 1)
    index, count = int(match[1]) - 1, int(match[2])
    # A number beyond the count is no part's name, so it is the name of an unknown tensor.
    return (head, (index, count)) if index < count and count > 1 else (text, (0, 1))


def part_of_file(name: str) -> Place | None:
    """Which part the tensors of a file are; None where they are whole, and needed everywhere."""
    match = _FILE.fullmatch(name)
    return None if match is None else (int(match[1]) - 1, int(match[2]))
