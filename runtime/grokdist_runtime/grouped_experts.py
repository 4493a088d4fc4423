"""All experts of all tokens in two launches of the GPU kernel, whatever experts they chose.

A loop over pairs of token and expert would wait for each launch, and one of unknown length for the
host as well. Here the pairs are laid out in blocks that each belong to one expert; the kernel reads
on the device which one. The number of blocks is fixed by the number of pairs, and those that stay
empty cost nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from grokdist_runtime.params import LayerWeights
from grokdist_runtime.spec import ModelSpec

_MIN_BLOCK = 16  # rows, as few as tensor cores take
_MAX_BLOCK = 64


def fits(pairs: int, weights: LayerWeights[jax.Array]) -> bool:
    """Whether so many pairs of token and expert can be computed by this module."""
    from grokdist_runtime.pallas_matmul import tiles_for

    blocks, rows = _layout(pairs, weights.gate.values.shape[1])
    stacks = (weights.gate, weights.up, weights.down)
    return all(tiles_for(w, blocks, rows) is not None for w in stacks)


def all_at_once(
    x: jax.Array,
    chosen: jax.Array,
    weights: LayerWeights[jax.Array],
    layer: jax.Array,
    spec: ModelSpec,
) -> jax.Array:
    """What each token's experts make of it.

    Args:
        x: ``[n, D]``.
        chosen: ``[n, k]`` places among this device's experts; a place past the last for none.
        weights: All layers.
        layer: Which one.
        spec: The model.

    Returns:
        ``[n, k, D]`` float32, this device's part of the sums; zero where there is no expert.
    """
    # Here and not above: it takes a while to import, and few need it.
    from grokdist_runtime.pallas_matmul import products, tiles_for

    tokens, selected = chosen.shape
    experts = weights.gate.values.shape[1]
    blocks, rows = _layout(chosen.size, experts)
    flat = chosen.reshape(-1)
    slots, owners = _slots(flat, experts, blocks, rows)
    numbers = jnp.where(owners < experts, layer * experts + owners, -1)
    # Slots that no pair has take the first token's row: whatever they hold is not looked at.
    sources = (
        jnp.zeros(blocks * rows, jnp.int32)
        .at[slots]
        .set(jnp.arange(flat.size) // selected, mode="drop")
    )
    block = x.astype(spec.dtype)[sources].reshape(blocks, rows, -1)

    def times(x: jax.Array, *names: str) -> tuple[jax.Array, ...]:
        stacks = tuple(getattr(weights, name) for name in names)
        tiles = tiles_for(stacks[0], blocks, rows)
        if tiles is None:
            raise ValueError(f"no tiles for {names}; ask fits() first")
        return products(x.astype(spec.dtype), stacks, numbers, tiles, interpret=spec.on_cpu)

    gate, up = times(block, "gate", "up")  # [blocks, rows, F]
    (out,) = times(jax.nn.gelu(gate, approximate=True) * up, "down")  # [blocks, rows, D]
    found = jnp.take(out.reshape(blocks * rows, -1), slots, axis=0, mode="clip")
    found = jnp.where((flat < experts)[:, None], found, 0.0)
    return found.reshape(tokens, selected, -1)


def _layout(pairs: int, experts: int) -> tuple[int, int]:
    """Blocks and rows of each: with few pairs each alone, else as many as could be begun.

    A block is about as long as an expert's fair share.
    """
    if pairs <= experts:
        return pairs, 1
    share = 1 << (pairs // experts - 1).bit_length()
    rows = min(_MAX_BLOCK, max(_MIN_BLOCK, share))
    return (pairs + experts * (rows - 1)) // rows, rows


def _slots(flat: jax.Array, experts: int, blocks: int, rows: int) -> tuple[jax.Array, jax.Array]:
    """Where each pair goes ``[pairs]``, and whose each block is ``[blocks]``.

    Slots are rows of all blocks together, past the last for pairs without an expert; owners are
    experts, past the last for empty blocks.
    """
    if rows == 1:
        return jnp.arange(flat.size, dtype=jnp.int32), flat
    mine = flat[:, None] == jnp.arange(experts)  # [pairs, E]
    before = jnp.cumsum(mine, axis=0, dtype=jnp.int32) - mine  # earlier pairs of each expert
    begun = -(-mine.sum(0, dtype=jnp.int32) // rows)  # [E] blocks of each expert
    last = jnp.cumsum(begun)  # [E] blocks up to and with each expert
    slot = (last - begun) * rows + before  # [pairs, E], if the pair were the expert's
    slots = jnp.where(mine, slot, 0).sum(1)
    owners = jnp.sum(last[None] <= jnp.arange(blocks)[:, None], axis=1, dtype=jnp.int32)
    return jnp.where(flat < experts, slots, blocks * rows), owners
