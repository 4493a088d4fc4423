"""The original algorithm in a few lines of JAX: the baseline.

As the model code of the release computes it, on one device: every weight is dequantised in full
before its product, all experts are computed for each row and the chosen one is picked by a one-hot
sum, prompts are padded to 1024 tokens and the cache has room for the whole context from the start.
In float32, which a CPU computes faster than bfloat16. Layers are compiled one at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS, FINAL_NORM, layer_prefix
from grokdist_runtime.config import ModelConfig

PADDED = 1024
"""Every prompt is padded to so many tokens."""

Layer = Mapping[str, Any]
Cache = tuple[jax.Array, jax.Array]


def load(checkpoint: Checkpoint) -> dict[str, Any]:
    """Copies every tensor to the device: an array, or int8 values with their scales."""
    weights: dict[str, Any] = {}
    for spec in checkpoint.specs:
        shard = checkpoint[spec.name]
        values = jnp.array(shard.weight.array())
        scales = None if shard.scales is None else jnp.array(shard.scales.array())
        weights[spec.name] = values if scales is None else (values, scales)
    return weights


def layer_of(weights: Mapping[str, Any], index: int) -> Layer:
    """One layer's weights, by their names within it."""
    prefix = layer_prefix(index)
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


def empty_cache(config: ModelConfig) -> Cache:
    """Keys and values of one layer, ``[S, heads, key]``, for the whole context."""
    shape = (config.sequence_len, config.num_kv_heads, config.key_size)
    return jnp.zeros(shape), jnp.zeros(shape)


@functools.partial(jax.jit, static_argnames="config")
def embed(embedding: jax.Array, tokens: jax.Array, config: ModelConfig) -> jax.Array:
    """``[T, D]`` for tokens ``[T]``."""
    return embedding[tokens] * config.embedding_multiplier_scale


@functools.partial(jax.jit, static_argnames="config")
def unembed(embedding: jax.Array, norm: jax.Array, h: jax.Array, config: ModelConfig) -> jax.Array:
    """Logits ``[T, V]``."""
    return (_norm(h, norm, config) @ embedding.T) * config.output_multiplier_scale


@functools.partial(jax.jit, static_argnames="config", donate_argnames="cache")
def decoder_layer(
    h: jax.Array, layer: Layer, cache: Cache, start: jax.Array, config: ModelConfig
) -> tuple[jax.Array, Cache]:
    """One layer over ``h [T, D]``, whose first token is at position ``start``."""
    x = _norm(h, layer["rms_norm/scale"], config)
    x, cache = _attention(x, layer, cache, start, config)
    h = h + _norm(x, layer["rms_norm_1/scale"], config)
    x = _experts(_norm(h, layer["rms_norm_2/scale"], config), layer, config)
    return h + _norm(x, layer["rms_norm_3/scale"], config), cache


def score(weights: Mapping[str, Any], tokens: jax.Array, config: ModelConfig) -> jax.Array:
    """Logits ``[T, V]`` after each of ``tokens [T]``."""
    h = embed(weights[EMBEDDINGS], tokens, config)
    for index in range(config.num_layers):
        cache = empty_cache(config)
        h, _ = decoder_layer(h, layer_of(weights, index), cache, jnp.int32(0), config)
    return unembed(weights[EMBEDDINGS], weights[FINAL_NORM], h, config)


def _dequantise(weight: tuple[jax.Array, jax.Array]) -> jax.Array:
    values, scales = weight
    *lead, _, columns = values.shape
    groups = values.astype(jnp.float32).reshape(*lead, scales.shape[-2], -1, columns)
    return (groups * scales[..., None, :].astype(jnp.float32)).reshape(values.shape)


def _experts(x: jax.Array, layer: Layer, config: ModelConfig) -> jax.Array:
    chosen_count = config.num_selected_experts
    shares, chosen = lax.top_k(jax.nn.softmax(x @ layer["router/w"]), chosen_count)
    rows = jnp.repeat(x, chosen_count, axis=0)
    pick = jax.nn.one_hot(chosen.reshape(-1), config.num_experts)

    def all_experts(rows: jax.Array, name: str) -> jax.Array:
        every = jnp.einsum("nk,ekm->nem", rows, _dequantise(layer[name]))
        return jnp.einsum("ne,nem->nm", pick, every)

    gate = jax.nn.gelu(all_experts(rows, "moe/linear/w"))
    out = all_experts(gate * all_experts(rows, "moe/linear_v/w"), "moe/linear_1/w")
    return jnp.sum(out.reshape(*shares.shape, -1) * shares[..., None], 1)


def _attention(
    x: jax.Array, layer: Layer, cache: Cache, start: jax.Array, config: ModelConfig
) -> tuple[jax.Array, Cache]:
    def project(name: str) -> jax.Array:
        matrix = _dequantise(layer[f"multi_head_attention/{name}/w"])
        return (x @ matrix).reshape(len(x), -1, config.key_size)

    positions = start + jnp.arange(len(x))
    q, k = _rotate(project("query"), positions, config), _rotate(project("key"), positions, config)
    keys = lax.dynamic_update_slice_in_dim(cache[0], k, start, 0)
    values = lax.dynamic_update_slice_in_dim(cache[1], project("value"), start, 0)
    q = q.reshape(len(x), config.num_kv_heads, -1, config.key_size)
    logits = jnp.einsum("tkgd,skd->kgts", q, keys) * config.attn_output_multiplier
    logits = config.attn_logit_cap * jnp.tanh(logits / config.attn_logit_cap)
    mask = jnp.arange(len(keys)) <= positions[:, None]
    weight = jax.nn.softmax(jnp.where(mask, logits, -1e30))
    mixed = jnp.einsum("kgts,skd->tkgd", weight, values).reshape(len(x), -1)
    return mixed @ _dequantise(layer["multi_head_attention/linear/w"]), (keys, values)


def _rotate(x: jax.Array, positions: jax.Array, config: ModelConfig) -> jax.Array:
    half = config.key_size // 2
    angles = positions[:, None, None] / config.rope_base ** (jnp.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def _norm(x: jax.Array, scale: jax.Array, config: ModelConfig) -> jax.Array:
    return scale * x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + config.rms_eps)
