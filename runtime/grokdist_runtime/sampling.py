"""Choosing the next token from logits: greedy, temperature, top-k, top-p, min-p; on the device.

``SamplingParams`` is what a user asks for, checked; ``SamplingState`` is the same as arrays, so
that one compiled program serves every setting; ``sample`` is the pure function.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from grokdist_runtime.errors import PromptError

_MAX_SEED = (1 << 64) - 1
_MAX_TOP_K = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to choose a token; every instance has passed the checks below.

    The filters apply in the order top-k, top-p, min-p to the distribution after the temperature.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token (greedy).
        top_k: Keep this many most likely tokens; 0 keeps all.
        top_p: Keep the fewest most likely tokens whose probabilities reach this sum; 1 keeps all.
        min_p: Keep tokens at least this fraction as likely as the most likely one; 0 keeps all.
        seed: Same seed, prompt, settings and mesh give the same tokens.

    Raises:
        PromptError: A value has the wrong type or is out of bounds.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0.0, 100.0)
        _check_integer("top_k", self.top_k, _MAX_TOP_K)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise PromptError("top_p is 0; expected a number above 0 and at most 1")
        _check_number("min_p", self.min_p, 0.0, 1.0)
        _check_integer("seed", self.seed, _MAX_SEED)

    @classmethod
    def greedy(cls) -> SamplingParams:
        """Always the most likely token."""
        return cls(temperature=0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingState:
    """``SamplingParams`` as scalars on the device.

    Attributes:
        key: ``[2]`` uint32, the raw random key.
        temperature: Scalar float32.
        top_k: Scalar int32; 0 keeps all.
        top_p: Scalar float32.
        min_p: Scalar float32.
    """

    key: jax.Array | np.ndarray
    temperature: jax.Array | np.ndarray
    top_k: jax.Array | np.ndarray
    top_p: jax.Array | np.ndarray
    min_p: jax.Array | np.ndarray

    @classmethod
    def start(cls, params: SamplingParams) -> SamplingState:
        """The state for a new text; plain NumPy, so that making it compiles nothing."""
        seed = params.seed
        return cls(
            key=np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32),
            temperature=np.array(params.temperature, np.float32),
            top_k=np.array(params.top_k, np.int32),
            top_p=np.array(params.top_p, np.float32),
            min_p=np.array(params.min_p, np.float32),
        )


def sample(
    logits: jax.Array, state: SamplingState, positions: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Chooses one token a row.

    Args:
        logits: ``[B, V]`` float32.
        state: The settings, and the key that all positions share.
        positions: ``[B]`` int32, where in its text each token will stand; folded into the key, so
            that a token depends on the seed and its place and not on how the prompt was cut.

    Returns:
        ``[B]`` int32 tokens, and ``[B]`` float32 log-probabilities of these under the model
        itself, before temperature and filters.
    """
    tokens = lax.cond(state.temperature == 0, _greedy, _draw, logits, state, positions)
    chosen = jnp.take_along_axis(logits, tokens[:, None], -1)[:, 0]  # [B]
    return tokens, chosen - jax.nn.logsumexp(logits, axis=-1)


def _greedy(logits: jax.Array, state: SamplingState, positions: jax.Array) -> jax.Array:
    del state, positions
    return jnp.argmax(logits, -1).astype(jnp.int32)


def _draw(logits: jax.Array, state: SamplingState, positions: jax.Array) -> jax.Array:
    vocab = logits.shape[-1]
    temperature = jnp.maximum(state.temperature, np.finfo(np.float32).tiny)
    scaled = (logits - logits.max(-1, keepdims=True)) / temperature  # [B, V], at most 0
    # Sorting by (-logit, id) makes ties go to the lower id on every platform.
    ids = jnp.broadcast_to(jnp.arange(vocab, dtype=jnp.int32), logits.shape)
    keys, order = lax.sort((-scaled, ids), num_keys=2)  # [B, V] ascending
    weights = jnp.exp(-keys)  # [B, V] descending; the first is 1
    rank = jnp.arange(vocab, dtype=jnp.int32)
    kept = jnp.where(state.top_k > 0, rank < state.top_k, True)  # [V]
    weights = jnp.where(kept, weights, 0.0)
    before = jnp.cumsum(weights, -1) - weights  # [B, V] mass of more likely tokens
    total = weights.sum(-1, keepdims=True)
    in_nucleus = (before < state.top_p * total) | (state.top_p >= 1)
    likely_enough = weights >= state.min_p
    # The most likely token always stays, whatever rounding says.
    weights = jnp.where((in_nucleus & likely_enough) | (rank == 0), weights, 0.0)
    summed = jnp.cumsum(weights, -1)  # [B, V]
    uniform = _uniform(state.key, positions)  # [B] in [0, 1)
    # Kept tokens are a prefix, so the drawn rank is the number of sums not above the draw; the
    # minimum guards against a draw that rounds up to the whole sum.
    drawn = (summed <= uniform[:, None] * summed[:, -1:]).sum(-1)
    last = jnp.maximum((weights > 0).sum(-1) - 1, 0)
    return jnp.take_along_axis(order, jnp.minimum(drawn, last)[:, None], -1)[:, 0]


def _uniform(key: jax.Array | np.ndarray, positions: jax.Array) -> jax.Array:
    base = jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(base, positions)
    return jax.vmap(jax.random.uniform)(keys)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise PromptError(f"{name} is {value!r}; expected a number from {low:g} to {high:g}")


def _check_integer(name: str, value: object, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
        raise PromptError(f"{name} is {value!r}; expected an integer from 0 to {high}")
