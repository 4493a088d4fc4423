"""Meshes: how they are written, what divides, what ``auto`` takes, which heads a device keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from grokdist_runtime import params
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.mesh_shape import MeshShape, auto_mesh, parse_mesh, sharer_counts
from grokdist_runtime.plan import weight_bytes
from grokdist_runtime.sharding import default_mesh, make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.random_checkpoint import small_config
from tests.runtime.test_loader import GROK_1


def spec_for(mesh: str, **changes: Any) -> ModelSpec:
    return ModelSpec.create(small_config(**changes), make_mesh(mesh))


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("1x1", (1, 1, 1)), ("2x4", (2, 4, 1)), ("16x8", (16, 8, 1)), ("2x3x4", (2, 3, 4))],
)
def test_a_mesh_is_data_by_model_by_expert(text: str, sizes: tuple[int, int, int]) -> None:
    data, model, expert = sizes
    shape = parse_mesh(text)
    assert shape == MeshShape(data=data, model=model, expert=expert)
    assert str(shape) == text
    assert shape.devices == data * model * expert


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "1x",
        "x8",
        "0x8",
        "1x0",
        "-1x8",
        "1X8",
        "1x8x0",
        "1x8x1x1",
        " 1x8",
        "1x8\n",
        "1x²",
        "9" * 99,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="expected DxM"):
        parse_mesh(text)


def test_more_devices_than_there_are() -> None:
    with pytest.raises(DeviceError, match="mesh 3x4 needs 12 devices; this machine has 8"):
        make_mesh("3x4")


@pytest.mark.parametrize(
    ("mesh", "changes", "message"),
    [
        ("1x8", {"num_q_heads": 4, "num_kv_heads": 4}, "num_q_heads 4 does not divide over 8"),
        ("1x3", {"vocab_size": 99, "num_q_heads": 24, "ffn_size": 40}, "ffn_size 40"),
        ("1x8", {"vocab_size": 99}, "vocab_size 99"),
        ("1x1x8", {"num_experts": 6}, "num_experts 6 does not divide over 8 expert devices"),
    ],
)
def test_what_does_not_divide_is_named(mesh: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        spec_for(mesh, **changes)


def test_the_default_mesh_takes_as_many_devices_as_divide() -> None:
    assert dict(default_mesh(small_config()).shape) == {"data": 1, "model": 8, "expert": 1}
    four = small_config(num_q_heads=4, num_kv_heads=4)
    assert dict(default_mesh(four).shape) == {"data": 1, "model": 4, "expert": 2}


@pytest.mark.parametrize(
    ("devices", "batch", "mesh"),
    [
        (1, 1, "1x1"),
        (3, 1, "1x2"),
        (8, 1, "1x8"),
        (8, 64, "1x8"),
        (16, 1, "1x16"),
        (24, 1, "1x16"),
        (32, 1, "1x16x2"),
        (128, 1, "1x16x8"),
        (256, 1, "1x16x8"),
        (256, 4, "2x16x8"),
        (384, 4, "2x16x8"),
        (384, 3, "3x16x8"),
    ],
)
def test_what_auto_takes_for_grok_1(devices: int, batch: int, mesh: str) -> None:
    assert str(auto_mesh(GROK_1, devices, batch=batch)) == mesh


def test_a_model_that_divides_over_nothing_is_copied_for_a_batch() -> None:
    odd = small_config(
        num_q_heads=7, num_kv_heads=7, vocab_size=97, num_experts=1, num_selected_experts=1
    )
    assert str(auto_mesh(odd, 8)) == "1x1"
    assert str(auto_mesh(odd, 8, batch=6)) == "6x1"


@pytest.mark.parametrize("devices", [1, 2, 3, 6, 8, 12, 16, 32, 40, 64, 100])
def test_no_mesh_of_so_many_devices_holds_less_on_each_than_auto(devices: int) -> None:
    """But for keys and values, copied where heads do not divide, and scales of groups cut finer."""
    copied = 2 * GROK_1.num_layers * (GROK_1.emb_size + 4) * GROK_1.kv_size
    chosen = auto_mesh(GROK_1, devices)
    held = weight_bytes(GROK_1, chosen, "bfloat16")
    assert chosen.devices in sharer_counts(GROK_1)
    for model in range(1, devices + 1):
        for expert in range(1, devices // model + 1):
            shape = MeshShape(model=model, expert=expert)
            if 48 % model == 0 and 2**15 % model == 0 and 8 % expert == 0:
                other = weight_bytes(GROK_1, shape, "bfloat16")
                assert held.experts <= 1.001 * other.experts, str(shape)
                assert held.rest <= other.rest + copied, str(shape)


@pytest.mark.parametrize(
    ("mesh", "changes", "cut"),
    [
        ("1x1", {}, {"ffn": (), "experts": (), "q_dim": (), "vocab": (), "batch": ()}),
        ("2x4", {}, {"ffn": ("model",), "experts": (), "q_dim": ("model",), "batch": ("data",)}),
        ("1x1x8", {}, {"ffn": (), "experts": ("expert",), "q_dim": ("expert",)}),
        ("1x2x4", {}, {"q_dim": ("model", "expert"), "kv_dim": ("model", "expert")}),
        ("1x2x4", {"num_kv_heads": 4}, {"q_dim": ("model", "expert"), "kv_dim": ()}),
        ("1x2x4", {"num_q_heads": 4, "num_kv_heads": 2}, {"q_dim": ("model",)}),
        ("1x2x4", {"vocab_size": 98}, {"vocab": ("model",), "q_dim": ("model", "expert")}),
        ("2x2x2", {}, {"emb": (), "layer": (), "routes": (), "kv_heads": ("model", "expert")}),
    ],
)
def test_the_table_of_logical_axes(
    mesh: str, changes: dict[str, Any], cut: dict[str, tuple[str, ...]]
) -> None:
    rules = spec_for(mesh, **changes).rules
    assert {name: rules.axes(name) for name in cut} == cut


def test_every_logical_axis_of_the_weights_is_in_the_table() -> None:
    spec = spec_for("1x1")
    named = {axis for info in jax.tree.leaves(params.abstract_weights(spec)) for axis in info.axes}
    assert named <= {field.name for field in dataclasses.fields(spec.rules)}


@pytest.mark.parametrize(
    ("mesh", "changes", "table"),
    [
        ("1x4", {}, None),
        ("1x8", {"num_kv_heads": 2}, [[0], [0], [0], [0], [1], [1], [1], [1]]),
        (
            "1x4",
            {"num_q_heads": 12, "num_kv_heads": 6, "ffn_size": 48},
            [[0, 0, 1], [1, 2, 2], [3, 3, 4], [4, 5, 5]],
        ),
        ("1x2x4", {"num_kv_heads": 2}, [[0], [0], [0], [0], [1], [1], [1], [1]]),
        ("1x2x4", {"num_q_heads": 4, "num_kv_heads": 2}, None),
        ("1x4x2", {"num_q_heads": 4, "num_kv_heads": 2}, [[0], [0], [1], [1]]),
    ],
)
def test_heads_that_do_not_divide_are_kept_where_their_queries_are(
    mesh: str, changes: dict[str, Any], table: list[list[int]] | None
) -> None:
    found = spec_for(mesh, **changes).kv_head_table()
    assert (found is None) == (table is None)
    assert found is None or np.array_equal(found, table)
