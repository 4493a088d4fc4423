"""The mixture of experts: exact, dropless, and reading no more weights than the tokens need.

A few tokens take their experts one by one; many are sorted by expert and go through in blocks.
``jax.lax.ragged_dot`` would be shorter, but computes every expert on CPUs and, by default, GPUs.
Where experts are dealt out to devices, each takes the pairs of token and expert that are its own;
what the others give is added by the one sum over devices that tensor parallelism needs anyway.

Routing as in Grok-1's published reference: softmax over all experts in float32, then the top ones,
their probabilities not normalised again.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from grokdist_runtime import grouped_experts
from grokdist_runtime.native.grouped_matmul import grouped_matmul
from grokdist_runtime.params import LayerWeights
from grokdist_runtime.quantised import dot, matmul
from grokdist_runtime.spec import ModelSpec

_MIN_BLOCK = 8
_MAX_BLOCK = 64


def route(
    x: jax.Array, router: jax.Array, layer: jax.Array, spec: ModelSpec
) -> tuple[jax.Array, jax.Array]:
    """Probabilities ``[n, k]`` float32 and indices ``[n, k]`` of each token's experts.

    Args:
        x: ``[n, D]``.
        router: ``[L, D, E]`` float32.
        layer: Which layer.
        spec: The model.
    """
    w = lax.dynamic_index_in_dim(router, layer, keepdims=False)
    probabilities = jax.nn.softmax(dot("nd,de->ne", x, w), -1)
    return lax.top_k(probabilities, spec.config.num_selected_experts)


def experts(
    x: jax.Array,
    in_use: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """Routes tokens through their experts and sums what comes back.

    Args:
        x: ``[n, D]``, normalised.
        in_use: ``[n]`` bool, false for rows that only fill a chunk; their result is arbitrary.
        weights: All layers.
        layer: Which one.
        spec: The model.

    Returns:
        ``[n, D]`` float32, summed over devices.
    """
    gate, chosen = route(x, weights.router, layer, spec)
    chosen = _here(chosen, in_use, spec)
    if spec.kernels == "native" and not weights.gate.is_int4:
        out = _natively(x, chosen, weights, layer, spec)  # [n, k, D]
    elif spec.kernels == "pallas" and grouped_experts.fits(chosen.size, weights):
        out = grouped_experts.all_at_once(x, chosen, weights, layer, spec)
    elif chosen.size <= spec.config.num_experts:
        out = _one_by_one(x, chosen, weights, layer, spec)
    else:
        out = _in_blocks(x, chosen, weights, layer, spec)
    # What is not here holds zeros, or what a block that reached too far left there.
    here = (chosen < spec.local_experts)[..., None]
    mixed = jnp.sum(jnp.where(here, gate[..., None] * out, 0.0), axis=1)  # [n, D] float32
    summed: jax.Array = lax.psum(mixed, (*spec.rules.ffn, *spec.rules.experts))
    return summed


def expert(
    x: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    index: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """One expert on ``x [n, D]``: this device's part of ``[n, D]`` float32, still to be summed."""
    at = (layer, index)
    hidden = jax.nn.gelu(matmul(x, weights.gate, at, spec), approximate=True)  # [n, F]
    hidden = hidden * matmul(x, weights.up, at, spec)
    return matmul(hidden, weights.down, at, spec)


def _here(chosen: jax.Array, in_use: jax.Array, spec: ModelSpec) -> jax.Array:
    """Places ``[n, k]`` among this device's experts; past the last where there is nothing to do.

    That is for experts of another device, and for rows that are not in use.
    """
    count = spec.local_experts
    place = chosen - lax.axis_index(spec.rules.experts) * count
    return jnp.where((place >= 0) & (place < count) & in_use[:, None], place, count)


def _natively(
    x: jax.Array,
    chosen: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """``[n, k, D]`` float32: the kernel puts together the rows of each expert; none gives zero."""
    experts = weights.gate.values.shape[1]
    flat = chosen.reshape(-1)
    matrix = jnp.where(flat < experts, layer * experts + flat, -1)  # [n * k]
    stacks = [(w.values, w.scales) for w in (weights.gate, weights.up, weights.down)]
    gate, up = grouped_matmul(x.astype(spec.dtype), matrix, stacks[:2])  # [n * k, F]
    (out,) = grouped_matmul(jax.nn.gelu(gate, approximate=True) * up, matrix, stacks[2:])
    return out.reshape(*chosen.shape, -1)


def _one_by_one(
    x: jax.Array,
    chosen: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """``[n, k, D]`` float32: each (token, expert) pair alone."""
    tokens, selected = chosen.shape
    flat = chosen.reshape(-1)

    def add_pair(pair: jax.Array, out: jax.Array) -> jax.Array:
        row = lax.dynamic_slice_in_dim(x, pair // selected, 1)  # [1, D]
        result = expert(row, weights, layer, flat[pair], spec)
        return lax.dynamic_update_slice_in_dim(out, result, pair, 0)

    def add_pair_if_here(pair: jax.Array, out: jax.Array) -> jax.Array:
        here = flat[pair] < spec.local_experts
        extended: jax.Array = lax.cond(here, add_pair, lambda _, out: out, pair, out)
        return extended

    # A single token is always in use: where all experts are here too, nothing is to be asked.
    add = add_pair if tokens == 1 and not spec.rules.experts else add_pair_if_here
    out = jnp.zeros((tokens * selected, x.shape[1]), jnp.float32)
    results: jax.Array = lax.fori_loop(0, tokens * selected, add, out)
    return results.reshape(tokens, selected, -1)


def _in_blocks(
    x: jax.Array,
    chosen: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """``[n, k, D]`` float32: pairs sorted by expert, each block within one expert.

    Blocks are as long as an expert's fair share. A block that reaches past its expert's rows
    writes there too; the next block, which starts exactly there, overwrites that.
    """
    tokens, selected = chosen.shape
    count, pairs = spec.local_experts, tokens * selected
    share = pairs // spec.config.num_experts
    block = min(_MAX_BLOCK, max(_MIN_BLOCK, 1 << (share - 1).bit_length()))
    flat = chosen.reshape(-1)  # places; ``count`` where there is nothing to do
    order = jnp.argsort(flat, stable=True)  # [pairs]
    sizes = jnp.sum(flat[:, None] == jnp.arange(count), axis=0, dtype=jnp.int32)  # [E]
    starts = jnp.cumsum(sizes) - sizes  # [E] first row of each expert
    last_block = jnp.cumsum(-(-sizes // block))  # [E] blocks up to and with each expert
    gathered = jnp.pad(x[order // selected], ((0, block), (0, 0)))  # [pairs + block, D]

    def add_block(i: jax.Array, out: jax.Array) -> jax.Array:
        index = jnp.sum(last_block <= i, dtype=jnp.int32)
        before = jnp.where(index > 0, last_block[index - 1], 0)
        start = starts[index] + (i - before) * block
        rows = lax.dynamic_slice_in_dim(gathered, start, block)  # [block, D]
        result = expert(rows, weights, layer, index, spec)
        return lax.dynamic_update_slice_in_dim(out, result, start, 0)

    out = jnp.zeros((pairs + block, x.shape[1]), jnp.float32)
    results: jax.Array = lax.fori_loop(0, last_block[-1], add_block, out)
    back = jnp.argsort(order)  # [pairs] sorted place of each pair
    return results[back].reshape(tokens, selected, -1)
