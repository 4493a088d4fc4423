"""Parts of tensors: every element in one of them, each device given what it holds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from grokdist_runtime.checkpoint.parts import (
    axis_pieces,
    grids,
    overlapping,
    parse_part_name,
    part_box,
    part_name,
    part_of_file,
    part_shape,
    parts_held,
    places,
)
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 1, 3), (1, 4, 1), (2, 2, 2)])
def test_every_element_is_in_one_part(grid: tuple[int, ...]) -> None:
    shape = (4, 4, 6)
    seen = np.zeros(shape, int)
    for index in range(math.prod(grid)):
        box = part_box(shape, grid, index)
        assert seen[box].shape == part_shape(shape, grid)
        seen[box] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("mine", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("theirs", [1, 2, 3, 4, 6, 12])
def test_overlapping_parts_are_those_that_share_an_element(mine: int, theirs: int) -> None:
    elements = set(part_range(theirs, theirs - 1))
    shared = [k for k in range(mine) if elements & set(part_range(mine, k))]
    assert list(overlapping((mine,), ((theirs - 1, theirs),))) == shared


def part_range(count: int, index: int) -> range:
    (box,) = part_box((12,), (count,), index)
    return range(box.start, box.stop)


def test_a_device_of_the_same_mesh_needs_its_own_part(config: ModelConfig) -> None:
    pieces = axis_pieces(config, model=2, experts=3)
    device = places(config, model=(1, 2), experts=(2, 3))
    # Expert tensors are cut 3 x 2, the router not at all, all others in 2.
    assert parts_held(config, pieces, device) == {(5, 6), (1, 2)}


def test_a_device_of_another_mesh_needs_what_it_overlaps(config: ModelConfig) -> None:
    pieces = axis_pieces(config, model=4)
    assert parts_held(config, pieces, places(config, model=(1, 2))) == {(2, 4), (3, 4)}
    assert parts_held(config, pieces, places(config, model=(0, 1))) == {(k, 4) for k in range(4)}
    finer = places(config, model=(3, 4))
    assert parts_held(config, axis_pieces(config, model=2), finer) >= {(1, 2)}
    assert parts_held(config, axis_pieces(config, model=1), finer) == frozenset()


def test_heads_that_do_not_divide_are_copied(config: ModelConfig) -> None:
    assert config.num_kv_heads == 2
    assert axis_pieces(config, model=4)["kv_dim"] == 1
    assert places(config, model=(3, 4))["kv_dim"] == (0, 1)
    with pytest.raises(DeviceError, match=r"num_q_heads 4 .* not divide over 3 model devices"):
        axis_pieces(config, model=3)
    with pytest.raises(DeviceError, match=r"num_experts 3 does not divide over 2 expert devices"):
        axis_pieces(config, model=1, experts=2)


def test_scales_are_cut_between_groups_only(config: ModelConfig) -> None:
    pieces = axis_pieces(config, model=4)
    for groups, rows in ((4, 4), (8, 4), (2, 1), (1, 1)):
        changed = dataclasses.replace(config, quantised_for_model_shards=groups)
        down = next(s for s in tensor_table(changed) if s.name.endswith("linear_1/w"))
        values, scales = grids(down, pieces)
        assert values == (1, 4, 1)
        assert scales == (1, rows, 1)


def test_names() -> None:
    assert part_name("a/w", 0, 1) == "a/w"
    assert part_name("a/w", 1, 4) == "a/w.part-2-of-4"
    for index in range(12):
        assert parse_part_name(part_name("a/w", index, 12)) == ("a/w", (index, 12))
    for text in ("w.part-0-of-2", "w.part-3-of-2", "w.part-1-of-1", "w.part-01-of-2", "w.part-1"):
        assert parse_part_name(text) == (text, (0, 1))
    assert part_of_file("model-00003-of-00009.part-2-of-4.safetensors") == (1, 4)
    assert part_of_file("model-00003-of-00009.safetensors") is None
