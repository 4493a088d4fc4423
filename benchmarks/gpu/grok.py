"""Grok-1's layers with random weights, made on the device: as many as fit, or a device's share.

Two models. ``layers``: layers of true size, as many as one device holds. ``share``: what each of
several devices holds of the whole model, with all 64 layers; its matrices are as narrow as they are
there, so that its steps take what a step takes there but for the sums over devices.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.mesh_shape import MeshShape
from grokdist_runtime.params import ParamInfo, Weights, abstract_weights
from grokdist_runtime.plan import weight_bytes
from grokdist_runtime.spec import ModelSpec

_MANIFEST = Path(__file__).parents[2] / "manifests/models/grok-1.json"


def grok_1() -> ModelConfig:
    """The release's sizes, from its manifest."""
    return ModelConfig.from_mapping(json.loads(_MANIFEST.read_text("utf-8"))["config"])


def small() -> ModelConfig:
    """The same in small, to try the program with."""
    return dataclasses.replace(
        grok_1(),
        vocab_size=512,
        emb_size=128,
        ffn_size=256,
        key_size=16,
        num_q_heads=8,
        num_layers=2,
        sequence_len=256,
    )


def share(config: ModelConfig, devices: int) -> ModelConfig:
    """What each of ``devices`` holds, as a model of its own."""
    return dataclasses.replace(
        config,
        vocab_size=config.vocab_size // devices,
        ffn_size=config.ffn_size // devices,
        num_q_heads=config.num_q_heads // devices,
        num_kv_heads=config.num_kv_heads // devices,
        quantised_for_model_shards=1,  # each device's rows are one group
    )


def layers_that_fit(config: ModelConfig, room: int) -> int:
    """How many layers' weights ``room`` bytes hold beside the embedding, at most all of them."""
    one, two = (
        weight_bytes(
            dataclasses.replace(config, num_layers=n), MeshShape(), config.compute_dtype
        ).total
        for n in (1, 2)
    )
    return max(1, min(config.num_layers, 1 + (room - one) // (two - one)))


def with_layers(config: ModelConfig, layers: int) -> ModelConfig:
    """The same with another depth."""
    return dataclasses.replace(config, num_layers=layers)


def random_weights(spec: ModelSpec) -> Weights[jax.Array]:
    """A model whose activations stay near unit size; nothing crosses from the host."""
    infos, structure = jax.tree.flatten(abstract_weights(spec))

    def make() -> list[jax.Array]:
        width = spec.config.emb_size
        return [_make(info, seed, width) for seed, info in enumerate(infos)]

    arrays = jax.jit(make, out_shardings=[info.sharding(spec) for info in infos])()
    made: Weights[jax.Array] = jax.tree.unflatten(structure, arrays)
    return made


def abstract(spec: ModelSpec) -> Weights[jax.ShapeDtypeStruct]:
    """The same without arrays, to compile for."""

    def leaf(info: ParamInfo) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(info.shape, jnp.dtype(info.dtype), sharding=info.sharding(spec))

    found: Weights[jax.ShapeDtypeStruct] = jax.tree.map(leaf, abstract_weights(spec))
    return found


def smallest_matrix(config: ModelConfig) -> int:
    """Elements of the smallest int8 matrix of a layer."""
    narrow = min(config.ffn_size, config.kv_size, config.q_size)
    return config.emb_size * narrow


def _make(info: ParamInfo, seed: int, width: int) -> jax.Array:
    if info.part == "scales":  # 73 is the values' spread
        return (0.5 + _noise(info.shape, seed)) / (73 * math.sqrt(width))
    if info.dtype == "int8":
        return lax.bitcast_convert_type((_hash(info.shape, seed) >> 24).astype(jnp.uint8), jnp.int8)
    if info.axes[-1] == "emb" and info.axes[0] != "vocab":
        return jnp.ones(info.shape, info.dtype)  # a norm
    return (0.1 * (_noise(info.shape, seed) - 0.5)).astype(info.dtype)


def _noise(shape: tuple[int, ...], seed: int) -> jax.Array:
    """Numbers from 0 to 1."""
    return (_hash(shape, seed) >> 8).astype(jnp.float32) * 2.0**-24


def _hash(shape: tuple[int, ...], seed: int) -> jax.Array:
    """Random bits ``uint32``, mixed from each element's place: one loop, and no memory but its own.

    ``jax.random`` would need several times the array's bytes. Mixing after Murmur3's last step.
    """
    bits = jnp.full(shape, jnp.uint32((seed * 0x9E3779B9) & 0xFFFFFFFF))
    stride = 1
    for axis in reversed(range(len(shape))):
        bits += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride & 0xFFFFFFFF)
        stride *= shape[axis]
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return bits ^ (bits >> 16)
