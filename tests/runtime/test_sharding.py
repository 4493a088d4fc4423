"""Meshes: how they are written, what divides, which heads a device keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grokdist_runtime.devices import parse_mesh
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.sharding import default_mesh, make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.random_checkpoint import small_config


def spec_for(mesh: str, **changes: Any) -> ModelSpec:
    return ModelSpec.create(small_config(**changes), make_mesh(mesh))


@pytest.mark.parametrize(("text", "sizes"), [("1x1", (1, 1)), ("2x4", (2, 4)), ("16x8", (16, 8))])
def test_a_mesh_is_data_by_model(text: str, sizes: tuple[int, int]) -> None:
    assert parse_mesh(text) == sizes


@pytest.mark.parametrize(
    "text",
    ["", "8", "1x", "x8", "0x8", "1x0", "-1x8", "1X8", "1x8x1", " 1x8", "1x8\n", "1x²", "9" * 99],
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
    ],
)
def test_what_does_not_divide_is_named(mesh: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        spec_for(mesh, **changes)


def test_the_default_mesh_takes_as_many_devices_as_divide() -> None:
    assert dict(default_mesh(small_config()).shape) == {"data": 1, "model": 8}
    four = small_config(num_q_heads=4, num_kv_heads=4)
    assert dict(default_mesh(four).shape) == {"data": 1, "model": 4}


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
    ],
)
def test_heads_that_do_not_divide_are_kept_where_their_queries_are(
    mesh: str, changes: dict[str, Any], table: list[list[int]] | None
) -> None:
    found = spec_for(mesh, **changes).kv_head_table()
    assert (found is None) == (table is None)
    assert found is None or np.array_equal(found, table)
