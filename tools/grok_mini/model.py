"""Grok-1's architecture as a function to differentiate: what training and evaluation share.

The arithmetic is that of the release: sandwich RMSNorms, half-split rotary embeddings, attention
logits capped at 30, a softmax over all experts of which the two largest are used without
renormalisation, tanh-approximated GELU, a tied output head. Parameters are a flat dictionary under
the release's tensor names, so that writing the checkpoint needs no mapping.

The experts can be computed in two ways. ``capacity=None`` is the exact model: every expert on every
token, weighted by its gate. With a capacity each expert takes at most that many assignments a
batch and the rest are dropped: four times cheaper, and equal to the exact model where nothing is
dropped. Training uses the second, every reported figure the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    FINAL_NORM,
    layer_prefix,
    tensor_table,
)
from grokdist_runtime.config import ModelConfig

Params = dict[str, Array]


GROK_MINI = ModelConfig(
    vocab_size=3072,
    emb_size=256,
    widening_factor=1.125,
    ffn_size=192,
    key_size=32,
    num_q_heads=8,
    num_kv_heads=8,
    num_layers=5,
    num_experts=8,
    num_selected_experts=2,
    sequence_len=256,
    attn_output_multiplier=32**-0.5,
    output_multiplier_scale=0.5773502691896257,
    embedding_multiplier_scale=16.0,
    compute_dtype="float32",
)
"""The shipped model. Eight key and value heads, so that it splits over eight devices as Grok-1."""


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """What differs between training and use; the defaults are use."""

    capacity: int | None = None
    dropout: float = 0.0


EXACT = Regularisation()
ATTENTION_BLOCK = 64
NORMS = ("rms_norm", "rms_norm_1", "rms_norm_2", "rms_norm_3")


@partial(jax.jit, static_argnums=(0, 1))
def init_params(config: ModelConfig, seed: int) -> Params:
    """Random parameters: unit-variance activations, and branch outputs that start small."""
    params: Params = {}
    for index, spec in enumerate(tensor_table(config)):
        name, shape = spec.name, spec.shape
        key = jax.random.fold_in(jax.random.key(seed), index)
        if name.endswith("/scale"):
            # The norm after a branch scales what joins the residual stream.
            after = name.endswith(("/rms_norm_1/scale", "/rms_norm_3/scale"))
            params[name] = jnp.full(shape, config.num_layers**-0.5 if after else 1.0)
        elif name == EMBEDDINGS:
            params[name] = jax.random.normal(key, shape) / config.embedding_multiplier_scale
        else:
            params[name] = jax.random.normal(key, shape) * shape[-2] ** -0.5
    return params


@jax.custom_vjp
def _embedded(embeddings: Array, tokens: Array) -> Array:
    """Rows of the embedding table, with a gradient by matrix product instead of scatter."""
    return embeddings[tokens]


def _embedded_forward(embeddings: Array, tokens: Array) -> tuple[Array, tuple[Array, int]]:
    return embeddings[tokens], (tokens, embeddings.shape[0])


def _embedded_backward(saved: tuple[Array, int], gradient: Array) -> tuple[Array, None]:
    tokens, vocab_size = saved
    rows = gradient.reshape(-1, gradient.shape[-1])
    return jax.nn.one_hot(tokens.reshape(-1), vocab_size).T @ rows, None


_embedded.defvjp(_embedded_forward, _embedded_backward)


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
    """Root-mean-square normalisation over the last axis."""
    return scale * x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def rotate(x: Array, base: float) -> Array:
    """Half-split rotary embedding of ``x`` ``[batch, time, heads, key]`` at positions 0, 1, ..."""
    half = x.shape[-1] // 2
    frequency = base ** -(jnp.arange(half) / half)
    angle = jnp.arange(x.shape[1])[:, None] * frequency
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attention(
    params: Mapping[str, Array], name: str, x: Array, allowed: Array, config: ModelConfig
) -> Array:
    """Causal grouped-query attention; ``allowed`` ``[batch, time]`` is false at padding keys."""
    c = config
    batch, time, _ = x.shape

    def heads(weight: str, count: int) -> Array:
        projected = x @ params[f"{name}/{weight}/w"]
        return projected.reshape(batch, time, count, c.key_size)

    query = rotate(heads("query", c.num_q_heads), c.rope_base)
    key = rotate(heads("key", c.num_kv_heads), c.rope_base)
    shared = c.num_q_heads // c.num_kv_heads
    query = query.swapaxes(1, 2) * c.attn_output_multiplier
    key = jnp.repeat(key, shared, axis=2).swapaxes(1, 2)
    value = jnp.repeat(heads("value", c.num_kv_heads), shared, axis=2).swapaxes(1, 2)
    mixed = []
    # In blocks of queries, since a block needs no key that comes after it.
    for start in range(0, time, ATTENTION_BLOCK):
        stop = min(start + ATTENTION_BLOCK, time)
        logits = jnp.einsum("bhtd,bhsd->bhts", query[:, :, start:stop], key[:, :, :stop])
        logits = c.attn_logit_cap * jnp.tanh(logits / c.attn_logit_cap)
        causal = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)
        mask = causal & allowed[:, None, None, :stop]
        # The cap bounds the logits, so exp cannot overflow and needs no maximum subtracted.
        weight = jnp.where(mask, jnp.exp(logits), 0.0)
        total = jnp.sum(weight, axis=-1, keepdims=True) + 1e-30
        mixed.append(jnp.einsum("bhts,bhsd->bhtd", weight, value[:, :, :stop]) / total)
    joined = jnp.concatenate(mixed, axis=2).swapaxes(1, 2)
    return joined.reshape(batch, time, -1) @ params[f"{name}/linear/w"]


def experts(params: Mapping[str, Array], name: str, x: Array) -> Array:
    """Each expert on its own rows: ``[experts, rows, emb]`` to the same shape."""
    gate = jax.nn.gelu(jnp.einsum("erd,edf->erf", x, params[f"{name}/linear/w"]), approximate=True)
    up = jnp.einsum("erd,edf->erf", x, params[f"{name}/linear_v/w"])
    return jnp.einsum("erf,efd->erd", gate * up, params[f"{name}/linear_1/w"])


@jax.custom_vjp
def _take_rows(x: Array, rows: Array, inverse: Array) -> Array:
    """Rows of ``x``, where index ``len(x)`` reads zeros.

    ``inverse`` ``[len(x), n]`` names, for each row of ``x``, the places it went to, so that the
    gradient is a gather as well: a scatter on a CPU is a serial loop.
    """
    padded = jnp.concatenate([x, jnp.zeros_like(x[:1])])
    return padded[rows]


def _take_rows_forward(x: Array, rows: Array, inverse: Array) -> tuple[Array, Array]:
    return _take_rows(x, rows, inverse), inverse


def _take_rows_backward(inverse: Array, gradient: Array) -> tuple[Array, None, None]:
    padded = jnp.concatenate([gradient, jnp.zeros_like(gradient[:1])])
    return padded[inverse].sum(axis=1), None, None


_take_rows.defvjp(_take_rows_forward, _take_rows_backward)


def _dispatched_experts(
    params: Mapping[str, Array], name: str, x: Array, chosen: Array, gates: Array, capacity: int
) -> Array:
    """The chosen experts on ``x`` ``[tokens, emb]``, at most ``capacity`` rows an expert."""
    tokens, selected = chosen.shape
    num_experts = params[f"{name}/linear/w"].shape[0]
    assignment_expert = chosen.reshape(-1)
    order = jnp.argsort(assignment_expert, stable=True)
    counts = jnp.sum(jax.nn.one_hot(assignment_expert, num_experts, dtype=jnp.int32), axis=0)
    starts = jnp.cumsum(counts) - counts
    # slot (e, i) holds the i-th assignment of expert e; an empty slot reads the row of zeros
    within = jnp.arange(capacity)
    filled = within[None] < counts[:, None]
    sorted_place = jnp.minimum(starts[:, None] + within[None], tokens * selected - 1)
    slot_assignment = jnp.where(filled, order[sorted_place], tokens * selected).reshape(-1)
    rank = jnp.argsort(order) - starts[assignment_expert]
    slots = num_experts * capacity
    assignment_slot = jnp.where(rank < capacity, assignment_expert * capacity + rank, slots)
    token_slots = assignment_slot.reshape(tokens, selected)
    slot_token = jnp.where(slot_assignment < tokens * selected, slot_assignment // selected, tokens)
    rows = _take_rows(x, slot_token, token_slots).reshape(num_experts, capacity, -1)
    outputs = experts(params, name, rows).reshape(slots, -1)
    mixed = _take_rows(outputs, assignment_slot, slot_assignment[:, None])
    return jnp.sum(mixed.reshape(tokens, selected, -1) * gates[..., None], axis=1)


def mixture(
    params: Mapping[str, Array], name: str, x: Array, config: ModelConfig, capacity: int | None
) -> tuple[Array, Array]:
    """Mixture of experts, and its load-balancing loss (Switch Transformer, eq. 4).

    The loss is 1 when every expert gets the same share.
    """
    tokens = x.reshape(-1, config.emb_size)
    probability = jax.nn.softmax(tokens @ params[f"{name}/router/w"], axis=-1)
    gates, chosen = jax.lax.top_k(probability, config.num_selected_experts)
    hot = jax.nn.one_hot(chosen, config.num_experts)
    share = jnp.mean(jnp.sum(hot, axis=1), axis=0) / config.num_selected_experts
    balance = config.num_experts * jnp.sum(share * jnp.mean(probability, axis=0))
    if capacity is None:
        every = jnp.broadcast_to(tokens, (config.num_experts, *tokens.shape))
        outputs = experts(params, f"{name}/moe", every)
        mixed = jnp.einsum("erd,rke,rk->rd", outputs, hot, gates)
    else:
        mixed = _dispatched_experts(params, f"{name}/moe", tokens, chosen, gates, capacity)
    return mixed.reshape(x.shape), balance


def _dropped(x: Array, rate: float, key: Array | None) -> Array:
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def logits_and_balance(
    params: Mapping[str, Array],
    tokens: Array,
    config: ModelConfig,
    how: Regularisation = EXACT,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """Next-token logits ``[batch, time, vocab]`` for ``tokens`` ``[batch, time]``.

    Also the load-balancing loss averaged over layers. ``key`` turns dropout on.
    """
    keys = [None] * (2 * config.num_layers + 1)
    if key is not None:
        keys = list(jax.random.split(key, 2 * config.num_layers + 1))
    allowed = tokens != config.pad_token
    h = _embedded(params[EMBEDDINGS], tokens) * config.embedding_multiplier_scale
    h = _dropped(h, how.dropout, keys[0])
    balances = []
    for layer in range(config.num_layers):
        name = layer_prefix(layer).removesuffix("/")
        scale = [params[f"{name}/{norm}/scale"] for norm in NORMS]
        x = rms_norm(h, scale[0], config.rms_eps)
        x = attention(params, f"{name}/multi_head_attention", x, allowed, config)
        x = rms_norm(x, scale[1], config.rms_eps)
        h = h + _dropped(x, how.dropout, keys[2 * layer + 1])
        x = rms_norm(h, scale[2], config.rms_eps)
        x, balance = mixture(params, name, x, config, how.capacity)
        x = rms_norm(x, scale[3], config.rms_eps)
        h = h + _dropped(x, how.dropout, keys[2 * layer + 2])
        balances.append(balance)
    h = rms_norm(h, params[FINAL_NORM], config.rms_eps)
    logits = (h @ params[EMBEDDINGS].T) * config.output_multiplier_scale
    return logits, jnp.mean(jnp.stack(balances))


def token_losses(logits: Array, targets: Array) -> Array:
    """Cross-entropy of each target in nats; ``[batch, time]``."""
    here = jnp.arange(logits.shape[-1]) == targets[..., None]
    chosen = jnp.sum(jnp.where(here, logits, 0.0), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen
