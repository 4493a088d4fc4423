"""The parameter tree and how it comes into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.loader import check_memory
from grokdist_runtime.params import abstract_weights, bytes_per_device
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model, load_runner

GROK_1 = ModelConfig(
    vocab_size=131072,
    emb_size=6144,
    widening_factor=8.0,
    ffn_size=32768,
    key_size=128,
    num_q_heads=48,
    num_kv_heads=8,
    num_layers=64,
    num_experts=8,
    num_selected_experts=2,
    sequence_len=8192,
    attn_output_multiplier=0.08838834764831845,
    output_multiplier_scale=0.5773502691896257,
    embedding_multiplier_scale=78.38367176906169,
)


def test_grok_1_has_its_published_size() -> None:
    one, eight = (ModelSpec.create(GROK_1, make_mesh(mesh)) for mesh in ("1x1", "1x8"))
    leaves = jax.tree.leaves(abstract_weights(one))
    parameters = sum(np.prod(leaf.shape) for leaf in leaves if leaf.part == "values")
    assert parameters == pytest.approx(315.7e9, rel=1e-3)
    assert bytes_per_device(one) == pytest.approx(316.8e9, rel=1e-3)
    assert bytes_per_device(eight) == pytest.approx(316.8e9 / 8, rel=5e-3)


def test_a_model_larger_than_memory_is_refused_before_loading() -> None:
    huge = dataclasses.replace(GROK_1, num_layers=4096)
    with pytest.raises(DeviceError, match=r"the weights need \d+\.\d GB .* has"):
        check_memory(ModelSpec.create(huge, make_mesh("1x1")))


def test_layers_are_stacked_in_numeric_order(make_model: Callable[..., Model]) -> None:
    """Files stand in the order 0, 1, 10, 11, 2, ..."""
    model = make_model(num_layers=12, emb_size=16)
    runner = load_runner(model.directory, "1x2", "float32")
    layers = runner.weights.layers
    for layer in range(12):
        prefix = f"transformer/decoder_layer_{layer}/"
        norm = model.weights[prefix + "rms_norm_2/scale"]
        assert np.array_equal(layers.moe_norm[layer], norm)
        values, scales = model.weights[prefix + "moe/linear_1/w"]
        assert np.array_equal(layers.down.values[layer], values)
        assert np.array_equal(layers.down.scales[layer], np.asarray(scales, np.float32))


def test_each_device_holds_its_part_with_its_own_scales(make_model: Callable[..., Model]) -> None:
    model = make_model(quantised_for_model_shards=2, num_layers=1)
    runner = load_runner(model.directory, "1x8", "float32")
    values, scales = model.weights["transformer/decoder_layer_0/moe/linear_1/w"]
    down = runner.weights.layers.down
    assert down.scales.shape == (1, 8, 8, 32)
    for part, scale in zip(
        down.values.addressable_shards, down.scales.addressable_shards, strict=True
    ):
        assert part.data.shape == (1, 8, 6, 32)
        rows = part.index[2]
        assert np.array_equal(part.data[0], values[:, rows])
        group = rows.start // 24
        assert np.array_equal(scale.data[0, :, 0], np.asarray(scales[:, group], np.float32))
