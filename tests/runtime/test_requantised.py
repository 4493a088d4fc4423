"""A model whose experts are rounded to int4 as it is loaded: the same on every mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from grokdist_runtime import kv_cache, params
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.expert_int4 import group_rows
from grokdist_runtime.checkpoint.requantisation import requantise, unpack
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.device_table import DEVICES, of_kind
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.loader import load_weights
from grokdist_runtime.plan import make_plan
from grokdist_runtime.runner import Runner
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model
from tests.runtime.numpy_oracle import Oracle, Weight
from tests.runtime.random_checkpoint import small_config

SIZES = {"ffn_size": 192, "emb_size": 48, "quantised_for_model_shards": 8, "num_layers": 1}


def rounded_weights(model: Model, group: int) -> dict[str, Weight]:
    """The checkpoint with each expert's matrix requantised whole, and widened again."""
    found: dict[str, Weight] = dict(model.weights)
    for name, weight in model.weights.items():
        if "/moe/" in name and isinstance(weight, tuple):
            size = group_rows(weight[0].shape[-2], group) or 0
            packed, scales = requantise(*weight, size)
            found[name] = unpack(packed), scales.astype(np.float32)
    return found


@pytest.mark.parametrize(
    ("mesh", "group"),
    [
        ("1x1", 128),  # 96 rows of 192 and 48 of 48
        ("1x8", 64),  # 64 rows: a group lies on up to four devices, which have 24 each
        ("2x1x4", 16),  # experts dealt out, two to a device
    ],
)
def test_it_computes_with_the_rounded_weights(
    make_model: Callable[..., Model], mesh: str, group: int
) -> None:
    model = make_model(**SIZES)
    config = model.config.requantised(group)
    spec = ModelSpec.create(config, make_mesh(mesh))
    weights = load_weights(open_checkpoint(model.directory, model.config), spec)
    held = weights.layers.down.values
    assert held.dtype == np.uint8
    shape = {"1x1": (1, 8, 96, 48), "1x8": (1, 8, 12, 48), "2x1x4": (1, 2, 96, 48)}[mesh]
    assert held.addressable_shards[0].data.shape == shape
    runner = Runner(spec, weights)
    tokens = np.random.default_rng(4).integers(1, 96, (1, 32)).astype(np.int32)
    logits, _ = runner.score(runner.new_cache(1, 64), tokens, [32])
    expected = Oracle(model.config, rounded_weights(model, group)).logits(tokens[0])
    assert np.abs(np.asarray(logits)[0] - expected).max() <= 1e-3 * expected.std()
    plain = model.oracle.logits(tokens[0])
    assert np.abs(expected - plain).max() > 1e-2 * expected.std()


@pytest.mark.parametrize("mesh", ["1x1", "1x8", "2x4"])
@pytest.mark.parametrize("group", [16, 64, 128])
def test_a_plan_counts_what_is_allocated(mesh: str, group: int) -> None:
    config = small_config(**SIZES).requantised(group)
    spec = dataclasses.replace(ModelSpec.create(config, make_mesh(mesh)), on_cpu=False)
    devices = of_kind(next(kind for kind in DEVICES if kind.name == "v5e"), 8)
    made = make_plan(config, devices, mesh=mesh, batch=2)
    assert made.per_device.weights == params.bytes_per_device(spec)
    own = 2 // made.mesh.data
    assert made.per_device.kv_cache == kv_cache.cache_bytes(spec, own, made.cache_tokens)
    plain = make_plan(small_config(**SIZES), devices, mesh=mesh, batch=2)
    assert made.copy_bytes < 0.75 * plain.copy_bytes


def test_rows_that_share_a_byte_stay_on_one_device() -> None:
    config: ModelConfig = small_config(ffn_size=72, quantised_for_model_shards=8)
    ModelSpec.create(config, make_mesh("1x8"))
    with pytest.raises(DeviceError, match="ffn_size / 2 36 does not divide over 8"):
        ModelSpec.create(config.requantised(64), make_mesh("1x8"))
