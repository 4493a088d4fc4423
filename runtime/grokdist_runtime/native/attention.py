"""The kernel for attention over a cache as a JAX operation, for programs that run on a CPU.

``attention.cc`` says how it computes and trusts the shapes that are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from grokdist_runtime.native.library import target


def attention_over_cache(
    queries: jax.Array,
    stacks: Sequence[jax.Array],
    layer: jax.Array,
    mask: jax.Array,
    *,
    cap: float,
) -> jax.Array:
    """Attention of one token of each sequence, with logits ``cap * tanh(query . key)``.

    Args:
        queries: ``[B, K, G, D]`` float32, ``G`` to a key head, divided by ``cap`` and with every
            other factor of the logits.
        stacks: Keys and values ``[L, B, K, S, D]`` float32; or int8, and behind them the scales of
            both ``[L, B, K, S]`` float32.
        layer: ``[]`` int32, which of the ``L``.
        mask: ``[B, S]`` bool, true where the token may look.
        cap: Of the logits.

    Returns:
        ``[B, K, G, D]`` float32; zeros for a token that may look nowhere.
    """
    keys, values, *scales = stacks
    batch, heads, _, depth = queries.shape
    place = (batch, heads, mask.shape[-1])
    fits = (
        keys.shape[1:] == (*place, depth)
        and values.shape == keys.shape
        and mask.shape[0] == batch
        and all(scale.shape == keys.shape[:-1] for scale in scales)
    )
    if not fits:
        shapes = [array.shape for array in (queries, *stacks, mask)]
        raise ValueError(
            f"got shapes {shapes}; expected [B, K, G, D], [L, B, K, S, D] twice, [L, B, K, S]"
            " for scales and [B, S]"
        )
    dtypes = [array.dtype for array in (queries, *stacks, layer, mask)]
    held = [jnp.int8] * 2 + [jnp.float32] * 2 if scales else [jnp.float32] * 2
    if dtypes != [jnp.float32, *held, jnp.int32, jnp.bool_]:
        raise TypeError(
            f"got {', '.join(map(str, dtypes))}; expected float32 queries, keys and values of"
            " float32, or of int8 with float32 scales, an int32 layer and a mask of bool"
        )
    call = jax.ffi.ffi_call(target("attention"), jax.ShapeDtypeStruct(queries.shape, jnp.float32))
    out: jax.Array = call(queries, keys, values, layer, mask, *scales, cap=np.float32(cap))
    return out
