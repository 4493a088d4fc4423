"""Any layout of files onto any mesh: the same values, in place where they can be."""

from __future__ import annotations

import dataclasses
import math
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from grokdist_runtime import loader
from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint, open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion
from grokdist_runtime.checkpoint.parts import axis_pieces
from grokdist_runtime.checkpoint.safetensors_checkpoint import open_safetensors
from grokdist_runtime.checkpoint.tensor_table import SCALES_DTYPE
from grokdist_runtime.errors import CheckpointError
from grokdist_runtime.loader import load_weights
from grokdist_runtime.mesh_shape import parse_mesh
from grokdist_runtime.params import Weights, abstract_weights
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model

SIZES = {"num_layers": 12, "emb_size": 64, "ffn_size": 1024, "vocab_size": 512}
LAYOUTS = ("shards", "1x1", "1x2", "1x8", "1x2x2")
"""Shards as they were released, and files converted for a mesh."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layouts:
    """One model in every layout; the small files cut its stacks into several pieces."""

    model: Model
    folder: Path
    opened: dict[str, Checkpoint]

    def open(self, layout: str) -> Checkpoint:
        if layout not in self.opened:
            shape = parse_mesh(layout)
            pieces = axis_pieces(self.model.config, model=shape.model, experts=shape.expert)
            out = self.folder / layout
            out.mkdir()
            shards = self.opened["shards"]
            Conversion(shards, file_size=1 << 20, metadata={}, pieces=pieces).write(out)
            self.opened[layout] = open_safetensors(out, self.model.config)
        return self.opened[layout]

    def spec(self, mesh: str) -> ModelSpec:
        return ModelSpec.create(self.model.config, make_mesh(mesh))


@pytest.fixture(scope="module")
def layouts(make_model: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    model = make_model(**SIZES)
    opened = {"shards": open_checkpoint(model.directory, model.config)}
    return Layouts(model=model, folder=tmp_path_factory.mktemp("layouts"), opened=opened)


def assert_right(weights: Weights[jax.Array], layouts: Layouts, spec: ModelSpec) -> None:
    """Every leaf against what the checkpoint was written from."""
    infos = jax.tree.leaves(abstract_weights(spec))
    for info, leaf in zip(infos, jax.tree.leaves(weights), strict=True):
        found = np.asarray(leaf) if info.stacked else np.asarray(leaf)[None]
        for layer, name in zip(found, info.names, strict=True):
            tensor = layouts.model.weights[name]
            if isinstance(tensor, tuple):
                tensor = tensor[info.part == "scales"]
            expected = np.asarray(tensor, info.dtype)
            if info.part == "scales":
                expected = np.repeat(expected, layer.shape[-2] // expected.shape[-2], axis=-2)
            assert np.array_equal(layer, expected), name


@pytest.mark.parametrize("mesh", ["1x1", "2x1", "1x2", "1x8", "2x2x2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_onto_every_mesh(layouts: Layouts, layout: str, mesh: str) -> None:
    spec = layouts.spec(mesh)
    assert_right(load_weights(layouts.open(layout), spec), layouts, spec)


@pytest.mark.parametrize("layout", ["shards", "1x2"])
def test_layer_by_layer_as_for_accelerators(
    layouts: Layouts, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same values, and never more than two layers in main memory."""
    alive: list[int] = []
    highest = 0

    def counted(wanted: Iterable[Any]) -> list[np.ndarray]:
        nonlocal highest
        arrays = make(wanted)
        nbytes = sum(array.nbytes for array in arrays)
        alive.append(nbytes)
        weakref.finalize(memory_of(arrays[0]), alive.remove, nbytes)
        # XLA lets go of what it has read on a thread of its own, a moment after the step.
        deadline = time.monotonic() + 10
        while sum(alive) > 2 * a_layer and time.monotonic() < deadline:
            time.sleep(0.001)
        highest = max(highest, sum(alive))
        return arrays

    make = loader.empty
    monkeypatch.setattr(loader, "empty", counted)
    spec = dataclasses.replace(layouts.spec("1x2"), on_cpu=False)
    in_layers = jax.tree.leaves(abstract_weights(spec).layers)
    a_layer = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in in_layers) / 12
    told: list[tuple[int, int]] = []
    weights = load_weights(
        layouts.open(layout), spec, on_bytes=lambda count, total: told.append((count, total))
    )
    assert_right(weights, layouts, spec)
    assert {total for _, total in told} == {sum(count for count, _ in told)}
    assert a_layer < highest <= 2 * a_layer


def memory_of(array: np.ndarray) -> Any:
    """What owns it, and lives as long as any view of it."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner.obj if isinstance(owner, memoryview) else owner


@pytest.mark.parametrize("mesh", ["1x1", "1x2", "1x8", "1x2x2"])
def test_what_was_converted_for_the_mesh_is_used_in_place(layouts: Layouts, mesh: str) -> None:
    """All but scales, which are bfloat16 in files; also stacks that lie in several files."""
    checkpoint, spec = layouts.open(mesh), layouts.spec(mesh)
    assert len(list(checkpoint.directory.glob("*.safetensors"))) > 16
    told: list[int] = []
    weights = load_weights(checkpoint, spec, on_bytes=lambda count, total: told.append(count))
    scales = [
        leaf
        for info, leaf in zip(
            jax.tree.leaves(abstract_weights(spec)), jax.tree.leaves(weights), strict=True
        )
        if info.part == "scales"
    ]
    assert SCALES_DTYPE == "bfloat16"
    copies = sum(s.data.nbytes for leaf in scales for s in leaf.addressable_shards)
    assert 0 < sum(told) <= copies
    text = Path("/proc/self/maps")
    if text.exists():
        assert_in_files(weights.layers.gate.values, checkpoint.directory, text.read_text())
        assert_in_files(weights.embedding, checkpoint.directory, text.read_text())


def assert_in_files(array: jax.Array, directory: Path, maps: str) -> None:
    places = []
    for line in maps.splitlines():
        if str(directory) in line:
            places.append([int(end, 16) for end in line.split()[0].split("-")])
    for shard in array.addressable_shards:
        pointer = shard.data.unsafe_buffer_pointer()
        last = pointer + shard.data.nbytes - 1
        assert pointer % 64 == 0
        assert all(any(a <= place < b for a, b in places) for place in (pointer, last))


def test_files_of_one_mesh_serve_a_finer_one_in_place_where_rows_are_cut(layouts: Layouts) -> None:
    """Whole experts and whole rows are pages of the file, so that they need no copy."""
    spec = layouts.spec("1x1x4")
    weights = load_weights(layouts.open("1x1"), spec)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert_in_files(weights.layers.gate.values, layouts.open("1x1").directory, maps.read_text())
    assert_right(weights, layouts, spec)


def test_what_is_read_is_not_copied_again(
    layouts: Layouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX uses the very memory that the files were read into; copies of the model share it."""
    made: dict[int, int] = {}

    def noted(wanted: Iterable[Any]) -> list[np.ndarray]:
        arrays = make(wanted)
        made.update({array.ctypes.data: array.nbytes for array in arrays})
        return arrays

    make = loader.empty
    monkeypatch.setattr(loader, "empty", noted)
    spec = layouts.spec("2x2")
    weights = load_weights(layouts.open("shards"), spec)
    used = set()
    for leaf in jax.tree.leaves(weights):
        for shard in leaf.addressable_shards:
            used.add(shard.data.unsafe_buffer_pointer())
            assert made[shard.data.unsafe_buffer_pointer()] == shard.data.nbytes
    assert used == set(made)


def test_a_shard_that_changed_is_noticed_and_named(layouts: Layouts, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "ckpt-0").mkdir(parents=True)
    for path in (layouts.model.directory / "ckpt-0").iterdir():
        (model / "ckpt-0" / path.name).hardlink_to(path)
    checkpoint = open_checkpoint(model, layouts.model.config)
    path = checkpoint["transformer/decoder_layer_3/moe/linear/w"].path
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{path.name} changed since its structure was read"):
        load_weights(checkpoint, layouts.spec("1x1"))
