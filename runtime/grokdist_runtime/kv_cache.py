"""Keys and values of the tokens seen so far, in buckets that grow by doubling.

The cache is donated to every step, which returns it extended. Attention reads the whole bucket,
so a bucket no larger than needed is also the fastest; each size is one more compiled program.

As an option keys and values are int8, with a scale for each token and head; they are rounded once,
when they are written. Attention applies a key's scale to its logit and a value's to its weight in
the softmax, so that the cache is read as int8.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime.axis_rules import Axes
from grokdist_runtime.spec import ModelSpec

MIN_BUCKET = 128
"""Tokens that the smallest cache has room for."""

T = TypeVar("T")

_SCALE = jnp.float32
_AXES = {
    "keys": ("layer", "batch", "kv_heads", None, None),
    "values": ("layer", "batch", "kv_heads", None, None),
    "key_scales": ("layer", "batch", "kv_heads", None),
    "value_scales": ("layer", "batch", "kv_heads", None),
    "visible": ("batch", None),
    "lengths": ("batch",),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class KVCache(Generic[T]):
    """One bucket.

    Attributes:
        keys: ``[L, B, K, S, key]``, rotated; ``S`` is the bucket's size.
        values: ``[L, B, K, S, key]``.
        key_scales: ``[L, B, K, S]`` float32 where keys are int8, else None.
        value_scales: The same for values.
        visible: ``[B, S]`` bool; false for pad tokens, whose keys are masked, and where nothing
            was written.
        lengths: ``[B]`` int32 tokens written.
    """

    keys: T
    values: T
    key_scales: T | None = None
    value_scales: T | None = None
    visible: T
    lengths: T


def bucket_size(tokens: int) -> int:
    """The bucket with room for so many tokens: a power of two."""
    return max(MIN_BUCKET, 1 << max(tokens - 1, 0).bit_length())


def cache_bytes(spec: ModelSpec, batch: int, size: int) -> int:
    """Bytes of keys and values on one device."""
    heads = 2 * spec.config.num_layers * spec.local_kv_heads
    scale = jnp.dtype(_SCALE).itemsize if spec.kv_cache == "int8" else 0
    per_head = spec.config.key_size * jnp.dtype(spec.cache_dtype).itemsize + scale
    return heads * batch * size * per_head


def partition_specs(spec: ModelSpec, batch: int) -> KVCache[PartitionSpec]:
    """How a cache is split: sequences where they divide, heads as queries."""
    return KVCache(**{name: _partition(spec, batch, _AXES[name]) for name in _fields(spec)})


def batch_partition(spec: ModelSpec, batch: int) -> Axes | None:
    """Mesh axes that a batch of this size is split over, if it divides."""
    return None if batch % spec.parts("batch") else spec.rules.batch or None


def empty_cache(spec: ModelSpec, batch: int, size: int) -> KVCache[jax.Array]:
    """A cache with room for ``size`` tokens in each of ``batch`` sequences.

    To be called under ``jax.jit`` with ``cache_shardings`` as output shardings.
    """
    config = spec.config
    heads = spec.local_kv_heads * spec.parts("kv_heads")
    shape = (config.num_layers, batch, heads, size, config.key_size)
    scales = {
        name: jnp.zeros(shape[:-1], _SCALE)
        for name in ("key_scales", "value_scales")
        if name in _fields(spec)
    }
    return KVCache(
        keys=jnp.zeros(shape, spec.cache_dtype),
        values=jnp.zeros(shape, spec.cache_dtype),
        **scales,
        visible=jnp.zeros((batch, size), bool),
        lengths=jnp.zeros((batch,), jnp.int32),
    )


def cache_shardings(spec: ModelSpec, batch: int) -> KVCache[NamedSharding]:
    """``partition_specs`` on the mesh."""
    specs = partition_specs(spec, batch)
    return KVCache(
        **{name: NamedSharding(spec.mesh, getattr(specs, name)) for name in _fields(spec)}
    )


def extended(
    cache: KVCache[jax.Array], keys: jax.Array, values: jax.Array, layer: jax.Array, at: jax.Array
) -> KVCache[jax.Array]:
    """The cache with one layer's new keys and values; rounded to int8 where it holds that.

    Args:
        cache: The cache.
        keys: ``[B, T, K, key]``.
        values: The same.
        layer: Which layer to write.
        at: ``[B]`` where each sequence's first new token goes.
    """
    if cache.key_scales is None or cache.value_scales is None:
        return dataclasses.replace(
            cache,
            keys=write_rows(cache.keys, keys, layer, at),
            values=write_rows(cache.values, values, layer, at),
        )
    keys, key_scales = rounded(keys)
    values, value_scales = rounded(values)
    return dataclasses.replace(
        cache,
        keys=write_rows(cache.keys, keys, layer, at),
        values=write_rows(cache.values, values, layer, at),
        key_scales=write_rows(cache.key_scales, key_scales, layer, at),
        value_scales=write_rows(cache.value_scales, value_scales, layer, at),
    )


def rounded(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x [..., key]`` as int8, nearest, and the float32 scales ``[...]`` that give it back."""
    scales = jnp.max(jnp.abs(x), -1).astype(_SCALE) / 127
    # Where all is zero any scale will do, but for zero itself.
    steps = x / jnp.where(scales > 0, scales, 1)[..., None]
    return jnp.round(steps).astype(jnp.int8), scales


def write_rows(stack: jax.Array, new: jax.Array, layer: jax.Array, at: jax.Array) -> jax.Array:
    """Writes each sequence's new keys (or values, or scales of them) behind its old ones.

    Args:
        stack: ``[L, B, K, S, key]``, or ``[L, B, K, S]``.
        new: ``[B, T, K, key]``, or ``[B, T, K]``.
        layer: Which layer to write.
        at: ``[B]`` where each sequence's first new token goes; ``at + T`` must not pass ``S``.
    """
    rows = jnp.swapaxes(new, 1, 2)[None].astype(stack.dtype)  # [1, B, K, T, key]

    def write(row: jax.Array | int, stack: jax.Array) -> jax.Array:
        block = lax.dynamic_slice_in_dim(rows, row, 1, 1)
        return lax.dynamic_update_slice(stack, block, (layer, row, 0, at[row], 0)[: stack.ndim])

    # A loop and no scatter: XLA updates in place, and one row needs no loop at all.
    return write(0, stack) if rows.shape[1] == 1 else lax.fori_loop(0, rows.shape[1], write, stack)


def write_visible(visible: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
    """The same for ``visible [B, S]`` and ``new [B, T]``."""
    return jax.vmap(lax.dynamic_update_slice)(visible, new, (at,))


def _fields(spec: ModelSpec) -> list[str]:
    return [name for name in _AXES if spec.kv_cache == "int8" or not name.endswith("_scales")]


def _partition(spec: ModelSpec, batch: int, axes: tuple[str | None, ...]) -> PartitionSpec:
    names: list[Axes | None] = []
    for axis in axes:
        if axis == "batch":
            names.append(batch_partition(spec, batch))
        else:
            names.append(None if axis is None else spec.rules.axes(axis) or None)
    return PartitionSpec(*names)
