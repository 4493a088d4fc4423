"""The runtime's own programs, compiled for chosen sizes: what is measured is what ``run`` runs."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime import kv_cache, model
from grokdist_runtime.spec import ModelSpec


def compile_step(spec: ModelSpec, weights: Any, *, batch: int, new: int, cache: int) -> Any:
    """``decode_step`` for one new token, else ``prefill``, for arrays like ``weights``.

    Args:
        spec: The model; its depth may be less than the weights'.
        weights: Arrays or their abstract shapes.
        batch: Sequences.
        new: New tokens of each.
        cache: Tokens that the cache's bucket holds.
    """
    everywhere = NamedSharding(spec.mesh, PartitionSpec())
    shardings = kv_cache.cache_shardings(spec, batch)
    empty = jax.eval_shape(functools.partial(kv_cache.empty_cache, spec, batch, cache))
    abstract_cache = jax.tree.map(_like, empty, shardings)
    abstract_weights = jax.tree.map(lambda each: _like(each, each.sharding), weights)
    counts = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=everywhere)
    tokens = jax.ShapeDtypeStruct((batch, new), jnp.int32, sharding=everywhere)
    function, arguments = (
        (model.decode_step, (counts,)) if new == 1 else (model.prefill, (tokens, counts))
    )
    jitted = jax.jit(
        functools.partial(function, spec=spec),
        donate_argnums=1,
        out_shardings=(everywhere, shardings),
    )
    return jitted.lower(abstract_weights, abstract_cache, *arguments).compile()


def filled_cache(spec: ModelSpec, *, batch: int, cache: int, tokens: int) -> Any:
    """A cache that holds ``tokens`` tokens of each sequence, all zeros."""

    def make() -> Any:
        empty = kv_cache.empty_cache(spec, batch, cache)
        lengths = jnp.full_like(empty.lengths, tokens)
        visible = jnp.broadcast_to(jnp.arange(cache) < tokens, empty.visible.shape)
        return dataclasses.replace(empty, visible=visible, lengths=lengths)

    return jax.jit(make, out_shardings=kv_cache.cache_shardings(spec, batch))()


def _like(array: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
