"""The parts of a decoder layer but the experts, as free functions inside ``shard_map``.

Sizes are one device's: ``H`` query heads, ``K`` key and value heads, ``V`` rows of the embedding.
``B`` sequences, ``T`` new tokens, ``S`` places in the cache, ``D`` residual width.

Formulas: Grok-1's published reference; RMSNorm (Zhang and Sennrich 2019), rotary embedding
(Su et al. 2021) in its half-split form, grouped queries (Ainslie et al. 2023).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime.kv_cache import KVCache, extended
from grokdist_runtime.native.attention import attention_over_cache
from grokdist_runtime.native.row_products import row_products
from grokdist_runtime.params import LayerWeights
from grokdist_runtime.quantised import dot, matmul, matmuls
from grokdist_runtime.spec import ModelSpec

_FEW_ROWS = 32
_TABLE_PART = 1024
# Large enough to vanish in the softmax, and finite: a row with no visible key gives no NaN.
_MASKED = -1e30


def embed(embedding: jax.Array, tokens: jax.Array, spec: ModelSpec) -> jax.Array:
    """Rows of the vocabulary-sharded table, times the embedding multiplier.

    Args:
        embedding: ``[V, D]``, this device's rows.
        tokens: ``[B, T]`` int32.
        spec: The model.

    Returns:
        ``[B, T, D]`` float32.
    """
    rows = embedding.shape[0]
    local = tokens - lax.axis_index(spec.rules.vocab) * rows
    mine = (local >= 0) & (local < rows)
    found = jnp.take(embedding, jnp.clip(local, 0, rows - 1), axis=0)  # [B, T, D]
    found = jnp.where(mine[..., None], found.astype(jnp.float32), 0.0)
    summed: jax.Array = lax.psum(found, spec.rules.vocab)
    return summed * spec.config.embedding_multiplier_scale


def unembed(embedding: jax.Array, h: jax.Array, spec: ModelSpec) -> jax.Array:
    """Logits of every token of the vocabulary.

    Args:
        embedding: ``[V, D]``, this device's rows.
        h: ``[n, D]``.
        spec: The model.

    Returns:
        ``[n, vocab]`` float32, the same on every device.
    """
    logits = _times_table(h.astype(spec.dtype), embedding, spec)
    gathered: jax.Array = lax.all_gather(logits, spec.rules.vocab, axis=1, tiled=True)
    return gathered * spec.config.output_multiplier_scale


def _times_table(h: jax.Array, table: jax.Array, spec: ModelSpec) -> jax.Array:
    """``[n, V]`` float32: the product of each row of ``h [n, D]`` with each of ``[V, D]``."""
    if spec.kernels == "native" and h.shape[0] <= _FEW_ROWS:
        return row_products(h, table)
    if h.dtype == table.dtype:
        return dot("nd,vd->nv", h, table)
    # A part at a time, since XLA on a CPU writes the widened operand of a product to memory.
    rows, width = table.shape
    part = max(size for size in range(1, _TABLE_PART + 1) if rows % size == 0)
    parts = table.reshape(-1, part, width)
    products = lax.map(lambda part: dot("nd,vd->nv", h, part.astype(h.dtype)), parts)
    return jnp.swapaxes(products, 0, 1).reshape(h.shape[0], rows)


def rms_norm(x: jax.Array, scale: jax.Array, spec: ModelSpec) -> jax.Array:
    """``scale * x / sqrt(mean(x^2) + eps)`` over the last axis; all float32."""
    mean = jnp.mean(jnp.square(x), -1, keepdims=True)
    return scale * (x * lax.rsqrt(mean + spec.config.rms_eps))


def rope_angles(positions: jax.Array, spec: ModelSpec) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines ``[B, T, 1, key / 2]`` float32 for positions ``[B, T]``."""
    half = spec.config.key_size // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / half
    frequencies = 1.0 / spec.config.rope_base**exponents  # [key / 2]
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates ``x [B, T, heads, key]``: the first half of the head against the second."""
    cos, sin = angles
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def attention(
    x: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    cache: KVCache[jax.Array],
    starts: jax.Array,
    mask: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    spec: ModelSpec,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    """Grouped-query attention with capped logits over the cache and the new tokens.

    Args:
        x: ``[B, T, D]``, normalised.
        weights: All layers.
        layer: Which one.
        cache: Of all layers.
        starts: ``[B]`` tokens already in the cache.
        mask: ``[B, T, S]`` true where a token may look.
        angles: From ``rope_angles``.
        spec: The model.

    Returns:
        ``[B, T, D]`` float32 summed over devices, and the extended cache.
    """
    config = spec.config
    batch, new, _ = x.shape
    key_size = config.key_size
    stacks = (weights.query, weights.key, weights.value)
    projected = matmuls(x.reshape(batch * new, -1), stacks, (layer,), spec)
    # [B, T, H, key], and twice [B, T, K, key] once the heads of this device are taken out
    q, k, v = (flat.reshape(batch, new, -1, key_size) for flat in projected)
    k, v = _keep_heads(k, spec), _keep_heads(v, spec)
    q, k = rotate(q, angles), rotate(k, angles)
    cache = extended(cache, k, v, layer, starts)
    q = q.reshape(batch, new, k.shape[2], -1, key_size)  # [B, T, K, H / K, key]
    one = spec.kernels == "native" and new == 1
    mixed = (_attend_natively if one else _attend)(q, cache, layer, mask, spec)
    flat = mixed.reshape(batch * new, -1)  # [B * T, H * key]
    out = lax.psum(matmul(flat, weights.output, (layer,), spec), spec.rules.q_dim)
    return out.reshape(batch, new, -1), cache


def _attend(
    q: jax.Array, cache: KVCache[jax.Array], layer: jax.Array, mask: jax.Array, spec: ModelSpec
) -> jax.Array:
    """``[B, T, K, H / K, key]`` float32 for queries of that shape and a mask ``[B, T, S]``."""
    config = spec.config
    keys = _of_layer(cache.keys, layer).astype(spec.dtype)  # [B, K, S, key]
    logits = dot("btkgd,bksd->bkgts", q.astype(spec.dtype), keys)  # [B, K, H / K, T, S]
    if cache.key_scales is not None:
        logits = logits * _of_layer(cache.key_scales, layer)[:, :, None, None]
    logits = logits * config.attn_output_multiplier
    logits = config.attn_logit_cap * jnp.tanh(logits / config.attn_logit_cap)
    logits = jnp.where(mask[:, None, None], logits, _MASKED)
    weight = jax.nn.softmax(logits, -1)
    if cache.value_scales is not None:
        weight = weight * _of_layer(cache.value_scales, layer)[:, :, None, None]
    values = _of_layer(cache.values, layer).astype(spec.dtype)
    return dot("bkgts,bksd->btkgd", weight.astype(spec.dtype), values)


def _attend_natively(
    q: jax.Array, cache: KVCache[jax.Array], layer: jax.Array, mask: jax.Array, spec: ModelSpec
) -> jax.Array:
    """The same for one token of each sequence, read where it lies in the cache."""
    config = spec.config
    q = q[:, 0] * (config.attn_output_multiplier / config.attn_logit_cap)
    stacks = [cache.keys, cache.values]
    if cache.key_scales is not None and cache.value_scales is not None:
        stacks += [cache.key_scales, cache.value_scales]
    return attention_over_cache(q, stacks, layer, mask[:, 0], cap=config.attn_logit_cap)[:, None]


def _of_layer(stack: jax.Array, layer: jax.Array) -> jax.Array:
    part: jax.Array = lax.dynamic_index_in_dim(stack, layer, keepdims=False)
    return part


def _keep_heads(x: jax.Array, spec: ModelSpec) -> jax.Array:
    """Of keys or values for all heads ``[B, T, heads, key]``, those this device's queries use."""
    table = spec.kv_head_table()
    if table is None:
        return x
    return jnp.take(x, jnp.asarray(table)[lax.axis_index(spec.rules.q_dim)], axis=2)
