"""The forward pass: prefill, decode and score as pure functions over a cache.

All layers are one loop over stacked weights, so that one layer is compiled whatever the depth. The
body runs inside ``shard_map`` over the mesh; sums over devices stand where they are made, in
``layers`` and ``moe``: two a layer, after attention and after the experts.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from grokdist_runtime import kv_cache, params
from grokdist_runtime.kv_cache import KVCache
from grokdist_runtime.layers import attention, embed, rms_norm, rope_angles, unembed
from grokdist_runtime.moe import experts
from grokdist_runtime.params import Weights
from grokdist_runtime.spec import ModelSpec


def score(
    weights: Weights[jax.Array],
    cache: KVCache[jax.Array],
    tokens: jax.Array,
    counts: jax.Array,
    spec: ModelSpec,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    """Logits after each token of a chunk.

    Args:
        weights: The model.
        cache: What came before; there must be room for ``T`` more tokens.
        tokens: ``[B, T]`` int32, filled up behind with anything.
        counts: ``[B]`` how many of them count.
        spec: The model's sizes and mesh.

    Returns:
        ``[B, T, V]`` float32, arbitrary where tokens do not count, and the extended cache.
    """
    return _sharded(weights, cache, tokens, counts, spec, last_only=False)


def prefill(
    weights: Weights[jax.Array],
    cache: KVCache[jax.Array],
    tokens: jax.Array,
    counts: jax.Array,
    spec: ModelSpec,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    """Takes in a chunk as ``score`` does; gives ``[B, V]`` logits after its last token only."""
    logits, cache = _sharded(weights, cache, tokens, counts, spec, last_only=True)
    return logits[:, 0], cache


def decode_step(
    weights: Weights[jax.Array],
    cache: KVCache[jax.Array],
    tokens: jax.Array,
    spec: ModelSpec,
    in_use: jax.Array | None = None,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    """Takes in one token ``[B]`` of each sequence; gives ``[B, V]`` logits for the next.

    Rows that are not ``in_use [B]`` stay as long as they are, and no expert is read for them;
    their logits are arbitrary.
    """
    counts = jnp.ones_like(tokens) if in_use is None else in_use.astype(jnp.int32)
    return prefill(weights, cache, tokens[:, None], counts, spec)


def _sharded(
    weights: Weights[jax.Array],
    cache: KVCache[jax.Array],
    tokens: jax.Array,
    counts: jax.Array,
    spec: ModelSpec,
    *,
    last_only: bool,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    batch = tokens.shape[0]
    rows = PartitionSpec(kv_cache.batch_partition(spec, batch))
    cache_specs = kv_cache.partition_specs(spec, batch)

    def body(
        weights: Weights[jax.Array],
        cache: KVCache[jax.Array],
        tokens: jax.Array,
        counts: jax.Array,
    ) -> tuple[jax.Array, KVCache[jax.Array]]:
        return _forward(weights, cache, tokens, counts, spec, last_only=last_only)

    return jax.shard_map(
        body,
        mesh=spec.mesh,
        in_specs=(params.partition_specs(spec), cache_specs, rows, rows),
        out_specs=(rows, cache_specs),
        # Replicated outputs come out of psum and all_gather; the checker cannot follow these
        # through loops whose carry starts out unreplicated.
        check_vma=False,
    )(weights, cache, tokens, counts)


def _forward(
    weights: Weights[jax.Array],
    cache: KVCache[jax.Array],
    tokens: jax.Array,
    counts: jax.Array,
    spec: ModelSpec,
    *,
    last_only: bool,
) -> tuple[jax.Array, KVCache[jax.Array]]:
    """One device's part: ``[B, T, V]`` logits, or ``[B, 1, V]`` after each last token."""
    batch, new = tokens.shape
    offsets = jnp.arange(new, dtype=jnp.int32)
    in_use = offsets < counts[:, None]  # [B, T]
    starts = cache.lengths
    positions = starts[:, None] + offsets  # [B, T]
    seen = in_use & (tokens != spec.config.pad_token)
    visible = kv_cache.write_visible(cache.visible, seen, starts)  # [B, S]
    places = jnp.arange(visible.shape[1], dtype=jnp.int32)
    mask = visible[:, None] & (places <= positions[..., None])  # [B, T, S]
    angles = rope_angles(positions, spec)
    layers = weights.layers

    def layer_body(
        layer: jax.Array, carry: tuple[jax.Array, KVCache[jax.Array]]
    ) -> tuple[jax.Array, KVCache[jax.Array]]:
        h, cache = carry
        x = rms_norm(h, layers.attention_norm[layer], spec)
        a, cache = attention(x, layers, layer, cache, starts, mask, angles, spec)
        h = h + rms_norm(a, layers.attention_post_norm[layer], spec)
        x = rms_norm(h, layers.moe_norm[layer], spec)
        m = experts(x.reshape(batch * new, -1), in_use.reshape(-1), layers, layer, spec)
        h = h + rms_norm(m.reshape(h.shape), layers.moe_post_norm[layer], spec)
        return h, cache

    h = embed(weights.embedding, tokens, spec)  # [B, T, D]
    h, cache = lax.fori_loop(0, spec.config.num_layers, layer_body, (h, cache))
    if last_only:
        h = jnp.take_along_axis(h, jnp.maximum(counts - 1, 0)[:, None, None], axis=1)
    h = rms_norm(h, weights.final_norm, spec)
    logits = unembed(weights.embedding, h.reshape(-1, h.shape[-1]), spec)
    cache = dataclasses.replace(cache, visible=visible, lengths=starts + counts)
    return logits.reshape(batch, h.shape[1], -1), cache
