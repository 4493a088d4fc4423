"""Moving whole sequences between caches: to join a batch, to leave it, to be kept for later.

Arrays of a cache are stacks ``[L, B, K, S, ...]`` or, beside them, ``[B, S]`` and ``[B]``; what is
done here holds for any of these. All functions are to be called under ``jax.jit``.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime.kv_cache import KVCache


def arranged_cache(
    cache: KVCache[jax.Array], rows: jax.Array, limits: jax.Array, *, size: int
) -> KVCache[jax.Array]:
    """A cache made of some of another's sequences, or of their beginnings.

    Args:
        cache: Any cache.
        rows: ``[B]`` which of its sequences, in order; -1 for an empty one.
        limits: ``[B]`` keep no more than so many tokens of each.
        size: The new cache's bucket; tokens beyond it are lost.
    """

    def taken(array: jax.Array) -> jax.Array:
        picked = jnp.take(array, jnp.maximum(rows, 0), axis=_row_axis(array))
        return picked if array.ndim == 1 else _resized(picked, size)

    new = jax.tree.map(taken, cache)
    lengths = jnp.where(rows < 0, 0, jnp.minimum(new.lengths, limits))
    kept = jnp.arange(size) < lengths[:, None]  # [B, S]
    return dataclasses.replace(new, visible=new.visible & kept, lengths=lengths)


def inserted_cache(
    cache: KVCache[jax.Array], row: KVCache[jax.Array], slot: jax.Array
) -> KVCache[jax.Array]:
    """The cache with one sequence replaced by that of a cache of one, whose bucket is no larger.

    Behind that bucket old keys stay; nobody sees them before they are overwritten.
    """
    row = dataclasses.replace(row, visible=_resized(row.visible, cache.visible.shape[1]))

    def written(array: jax.Array, new: jax.Array) -> jax.Array:
        start: list[jax.Array | int] = [0] * array.ndim
        start[_row_axis(array)] = slot
        return lax.dynamic_update_slice(array, new, start)

    result: KVCache[jax.Array] = jax.tree.map(written, cache, row)
    return result


def _row_axis(array: jax.Array) -> int:
    return 1 if array.ndim > 2 else 0


def _resized(array: jax.Array, size: int) -> jax.Array:
    """Cut or filled up with zeros to ``size`` places."""
    axis = _row_axis(array) + (2 if array.ndim > 2 else 1)
    cut = lax.slice_in_dim(array, 0, min(size, array.shape[axis]), axis=axis)
    room = [(0, 0)] * array.ndim
    room[axis] = (0, size - cut.shape[axis])
    return jnp.pad(cut, room)
