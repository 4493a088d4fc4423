"""The files that a host needs, held against what JAX's shardings give to its devices."""

from __future__ import annotations

import math

import pytest

from grokdist_runtime.checkpoint.parts import axis_pieces, grids, part_box, part_name
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.host_files import HostPart, devices_of, files_of
from grokdist_runtime.mesh_shape import MeshShape, parse_mesh
from grokdist_runtime.sharding import ShardingRules, make_mesh
from tests.runtime.random_checkpoint import small_config


def part(mesh: str, processes: int, process: int) -> HostPart:
    return HostPart(mesh=parse_mesh(mesh), processes=processes, process=process)


def needed(mesh: str, processes: int, process: int, cut_for: str) -> set[tuple[int, int]]:
    """The parts of weights that the devices of a process overlap with, by JAX's shardings."""
    config = small_config(num_kv_heads=4)
    made = make_mesh(mesh)
    rules = ShardingRules.for_mesh(config, made)
    shape = parse_mesh(cut_for)
    pieces = axis_pieces(config, model=shape.model, experts=shape.expert)
    each = made.size // processes
    own = list(made.devices.flat)[process * each : (process + 1) * each]
    found = set()
    for spec in tensor_table(config):
        held = rules.sharding(made, spec.axes).devices_indices_map(spec.shape)
        grid, _ = grids(spec, pieces)
        count = math.prod(grid)
        for index in range(count if count > 1 else 0):
            box = part_box(spec.shape, grid, index)
            if any(_overlap(box, held[device], spec.shape) for device in own):
                found.add((index, count))
    return found


def _overlap(
    box: tuple[slice, ...], other: tuple[slice, ...] | None, shape: tuple[int, ...]
) -> bool:
    assert other is not None
    sides = zip(box, other, shape, strict=True)
    ranges = [(range(*one.indices(size)), range(*two.indices(size))) for one, two, size in sides]
    return all(max(a.start, b.start) < min(a.stop, b.stop) for a, b in ranges)


@pytest.mark.parametrize("cut_for", ["1x8", "1x4", "1x2x4", "1x4x2"])
@pytest.mark.parametrize("mesh", ["1x8", "2x4", "1x4x2", "1x2x4", "8x1", "4x2"])
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_process_needs_what_its_devices_hold(mesh: str, processes: int, cut_for: str) -> None:
    config = small_config(num_kv_heads=4)
    shape = parse_mesh(cut_for)
    counts = {
        math.prod(grid)
        for spec in tensor_table(config)
        for grid in grids(spec, axis_pieces(config, model=shape.model, experts=shape.expert))
        if grid is not None
    }
    names = [
        part_name("model-00001-of-00009", index, count) + ".safetensors"
        for count in sorted(counts)
        for index in range(count)
    ]
    for process in range(processes):
        chosen = files_of(part(mesh, processes, process), config, names, cut_for=shape)
        wanted = needed(mesh, processes, process, cut_for)
        for name in names:
            index, count = _place(name)
            if count > 1 and (index, count) in wanted:
                assert name in chosen, (process, name)
        if mesh == cut_for == "1x8" and processes == 8:
            # Nothing but what is whole and the process's own.
            parts = [_place(name) for name in chosen if ".part-" in name]
            assert {place for place in parts if place[1] == 8} == {(process, 8)}


def _place(name: str) -> tuple[int, int]:
    if ".part-" not in name:
        return 0, 1
    index, count = name.split(".part-")[1].removesuffix(".safetensors").split("-of-")
    return int(index) - 1, int(count)


def test_what_is_no_part_is_needed_by_all() -> None:
    config = small_config()
    names = ["config.json", "ckpt-0/tensor00000_000", "model-00001-of-00002.safetensors"]
    for process in range(4):
        chosen = files_of(part("1x4", 4, process), config, names, cut_for=MeshShape())
        assert list(chosen) == names


def test_devices_are_counted_process_by_process() -> None:
    assert list(devices_of(part("2x2x2", 4, 3))) == [
        ((1, 2), (0, 2)),
        ((1, 2), (1, 2)),
    ]


@pytest.mark.parametrize(
    ("mesh", "processes", "message"),
    [
        ("1x6", 4, "mesh 1x6 has 6 devices, which do not divide over 4 processes"),
        ("1x5", 5, "num_q_heads 8"),
    ],
)
def test_what_does_not_divide(mesh: str, processes: int, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        files_of(part(mesh, processes, 0), small_config(), [], cut_for=MeshShape(model=2))
