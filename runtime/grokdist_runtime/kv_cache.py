"""Keys and values of the tokens seen so far, in buckets that grow by doubling.

The cache is donated to every step, which returns it extended. Attention reads the whole bucket,
so a bucket no larger than needed is also the fastest; each size is one more compiled program.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime.spec import ModelSpec

MIN_BUCKET = 128
"""Tokens that the smallest cache has room for."""

T = TypeVar("T")

_AXES = {
    "keys": ("layer", "batch", "kv_heads", None, None),
    "values": ("layer", "batch", "kv_heads", None, None),
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
        visible: ``[B, S]`` bool; false for pad tokens, whose keys are masked, and where nothing
            was written.
        lengths: ``[B]`` int32 tokens written.
    """

    keys: T
    values: T
    visible: T
    lengths: T


def bucket_size(tokens: int) -> int:
    """The bucket with room for so many tokens: a power of two."""
    return max(MIN_BUCKET, 1 << max(tokens - 1, 0).bit_length())


def cache_bytes(spec: ModelSpec, batch: int, size: int) -> int:
    """Bytes of keys and values on one device."""
    config = spec.config
    per_token = 2 * config.num_layers * spec.local_kv_heads * config.key_size
    return per_token * batch * size * jnp.dtype(spec.dtype).itemsize


def partition_specs(spec: ModelSpec, batch: int) -> KVCache[PartitionSpec]:
    """How a cache is split: sequences over ``data`` where they divide, heads over ``model``."""
    return KVCache(**{name: _partition(spec, batch, axes) for name, axes in _AXES.items()})


def batch_partition(spec: ModelSpec, batch: int) -> str | None:
    """Mesh axis that a batch of this size is split over, if it divides."""
    axis = spec.rules.batch
    return axis if axis is not None and batch % spec.mesh.shape[axis] == 0 else None


def empty_cache(spec: ModelSpec, batch: int, size: int) -> KVCache[jax.Array]:
    """A cache with room for ``size`` tokens in each of ``batch`` sequences.

    To be called under ``jax.jit`` with ``cache_shardings`` as output shardings.
    """
    config = spec.config
    heads = spec.local_kv_heads * spec.model_shards
    shape = (config.num_layers, batch, heads, size, config.key_size)
    return KVCache(
        keys=jnp.zeros(shape, spec.dtype),
        values=jnp.zeros(shape, spec.dtype),
        visible=jnp.zeros((batch, size), bool),
        lengths=jnp.zeros((batch,), jnp.int32),
    )


def grown_cache(cache: KVCache[jax.Array], size: int) -> KVCache[jax.Array]:
    """The same cache in a larger bucket; to be called under ``jax.jit``."""
    extra = size - cache.visible.shape[1]
    room = ((0, 0), (0, 0), (0, 0), (0, extra), (0, 0))
    return KVCache(
        keys=jnp.pad(cache.keys, room),
        values=jnp.pad(cache.values, room),
        visible=jnp.pad(cache.visible, ((0, 0), (0, extra))),
        lengths=cache.lengths,
    )


def cache_shardings(spec: ModelSpec, batch: int) -> KVCache[NamedSharding]:
    """``partition_specs`` on the mesh."""
    specs = partition_specs(spec, batch)
    return KVCache(**{name: NamedSharding(spec.mesh, getattr(specs, name)) for name in _AXES})


def write_rows(stack: jax.Array, new: jax.Array, layer: jax.Array, at: jax.Array) -> jax.Array:
    """Writes each sequence's new keys (or values) behind its old ones.

    Args:
        stack: ``[L, B, K, S, key]``.
        new: ``[B, T, K, key]``.
        layer: Which layer to write.
        at: ``[B]`` where each sequence's first new token goes; ``at + T`` must not pass ``S``.
    """
    rows = jnp.swapaxes(new, 1, 2)[None].astype(stack.dtype)  # [1, B, K, T, key]

    def write(row: jax.Array | int, stack: jax.Array) -> jax.Array:
        block = lax.dynamic_slice_in_dim(rows, row, 1, 1)
        return lax.dynamic_update_slice(stack, block, (layer, row, 0, at[row], 0))

    # A loop and no scatter: XLA updates in place, and one row needs no loop at all.
    return write(0, stack) if rows.shape[1] == 1 else lax.fori_loop(0, rows.shape[1], write, stack)


def write_visible(visible: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
    """The same for ``visible [B, S]`` and ``new [B, T]``."""
    return jax.vmap(lax.dynamic_update_slice)(visible, new, (at,))


def _partition(spec: ModelSpec, batch: int, axes: tuple[str | None, ...]) -> PartitionSpec:
    names = []
    for axis in axes:
        if axis == "batch":
            names.append(batch_partition(spec, batch))
        else:
            names.append(None if axis is None else getattr(spec.rules, axis))
    return PartitionSpec(*names)
