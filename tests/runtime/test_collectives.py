"""What devices say to each other, counted in the compiled programs: two sums a layer, no weights.

Everything is read from the HLO that XLA has optimised, of the programs that users run; no weights
are needed for that, only their shapes.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import pytest

from grokdist_runtime import params
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS
from grokdist_runtime.runner import Program, Runner
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.hlo_collectives import Collective, collectives
from tests.runtime.random_checkpoint import small_config

pytestmark = pytest.mark.usefixtures("full_compilation")

LAYERS = 5
EMB, VOCAB = 32, 96

CASES = [
    # Mesh, query heads, program, batch, new tokens, devices that sum after attention.
    ("1x8", 8, "decode", 1, 1, 8),
    ("1x8", 8, "prefill", 1, 32, 8),
    ("2x4", 8, "prefill", 2, 32, 4),
    # Heads that do not divide over all 8 are cut along ``model`` only, and summed along it.
    ("1x2x4", 4, "decode", 1, 1, 2),
]


def abstract_runner(mesh: str, heads: int) -> Runner:
    config = small_config(num_layers=LAYERS, num_q_heads=heads, num_kv_heads=heads)
    spec = ModelSpec.create(config, make_mesh(mesh))
    weights: Any = jax.tree.map(
        lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=info.sharding(spec)),
        params.abstract_weights(spec),
    )
    return Runner(spec, weights)


@functools.cache
def compiled(mesh: str, heads: int, name: str, batch: int, new: int) -> tuple[Collective, ...]:
    program = Program(name=name, batch=batch, size=128, new=new)
    executable: Any = abstract_runner(mesh, heads)._compile(program)
    return tuple(collectives(executable.as_text()))


@pytest.mark.parametrize(("mesh", "heads", "name", "batch", "new", "attending"), CASES)
def test_a_layer_sums_twice_and_does_nothing_else(
    mesh: str, heads: int, name: str, batch: int, new: int, attending: int
) -> None:
    """Once after attention and once after the experts, over the devices of one copy."""
    shape = make_mesh(mesh).shape
    rows = batch // shape["data"] * new
    found = [each for each in compiled(mesh, heads, name, batch, new) if each.loops]
    sums = [(each.kind, each.arrays, each.loops) for each in found]
    assert sums == [("all-reduce", (("f32", (rows, EMB)),), (LAYERS,))] * 2
    assert [each.devices for each in found] == [attending, shape["model"] * shape["expert"]]


@pytest.mark.parametrize(("mesh", "heads", "name", "batch", "new", "attending"), CASES)
def test_outside_the_layers_only_embedding_and_logits_are_shared(
    mesh: str, heads: int, name: str, batch: int, new: int, attending: int
) -> None:
    shape = make_mesh(mesh).shape
    own = batch // shape["data"]
    found = [each for each in compiled(mesh, heads, name, batch, new) if not each.loops]
    embedded, logits, *results = found
    assert (embedded.kind, embedded.arrays) == ("all-reduce", (("f32", (own, new, EMB)),))
    assert (logits.kind, logits.arrays) == ("all-gather", (("f32", (own, VOCAB)),))
    assert embedded.devices == logits.devices == 8 // shape["data"]
    # Copies of the model tell each other their sequences' results, a row for each sequence.
    assert bool(results) == (shape["data"] > 1)
    for each in results:
        assert (each.kind, each.devices) == ("all-gather", shape["data"])
        assert all(size[0] == batch and len(size) <= 2 for _, size in each.arrays)


@pytest.mark.parametrize(("mesh", "heads", "name", "batch", "new", "attending"), CASES)
def test_no_weight_is_moved(
    mesh: str, heads: int, name: str, batch: int, new: int, attending: int
) -> None:
    spec = abstract_runner(mesh, heads).spec
    weights = {
        part
        for info in jax.tree.leaves(params.abstract_weights(spec))
        if info.dtype == "int8" or info.names == (EMBEDDINGS,)
        for shape in (info.shape, info.sharding(spec).shard_shape(info.shape))
        for part in (shape, shape[1:], shape[2:])  # all layers, one layer, one expert
        if len(part) > 1
    }
    for each in compiled(mesh, heads, name, batch, new):
        for dtype, shape in each.arrays:
            assert dtype != "s8"
            assert shape not in weights, each


def test_one_device_talks_to_nobody() -> None:
    assert compiled("1x1", 8, "prefill", 1, 32) == ()


def test_collectives_are_read_in_each_way_that_they_are_written() -> None:
    hlo = """
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%inner (p: f32[4]) -> f32[4] {
  ROOT %r = f32[4]{0} all-gather(%p), replica_groups=[2,4]<=[8], dimensions={0}
}

%body (p: (f32[4], f32[])) -> (f32[4], f32[]) {
  %c = f32[4]{0} conditional(%i, %p), branch_computations={%inner, %other}
  ROOT %s = (f32[4]{0}, f32[]) all-reduce-start(%p), replica_groups={{0,1},{2,3}}, to_apply=%sum
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%p), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  ROOT %g = s8[8,4]{1,0} all-gather(%w), replica_groups=mesh['x'=2,'y'=4] {'x'}, dimensions={0}
}
"""
    assert collectives(hlo) == [
        Collective(kind="all-gather", arrays=(("f32", (4,)),), devices=4, loops=(7,)),
        Collective(kind="all-reduce", arrays=(("f32", (4,)), ("f32", ())), devices=2, loops=(7,)),
        Collective(kind="all-gather", arrays=(("s8", (8, 4)),), devices=2, loops=()),
    ]
