"""Choosing the next token from logits: greedy, temperature, top-k, top-p, min-p; on the device.

``SamplingParams`` is what a user asks for, checked; ``SamplingState`` is that of every row of a
batch as arrays, so that one compiled program serves every mixture of settings; ``sample`` is the
pure function. A row's token depends on its own logits, settings, seed and position alone: not on
which row it is, nor on the others.
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

MAX_TOP_LOGPROBS = 20
"""At most so many of the most likely tokens are reported beside the chosen one."""


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
        top_logprobs: Report the log-probabilities of so many most likely tokens as well.

    Raises:
        PromptError: A value has the wrong type or is out of bounds.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0.0, 100.0)
        _check_integer("top_k", self.top_k, _MAX_TOP_K)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise PromptError("top_p is 0; expected a number above 0 and at most 1")
        _check_number("min_p", self.min_p, 0.0, 1.0)
        _check_integer("seed", self.seed, _MAX_SEED)
        _check_integer("top_logprobs", self.top_logprobs, MAX_TOP_LOGPROBS)

    @classmethod
    def greedy(cls) -> SamplingParams:
        """Always the most likely token."""
        return cls(temperature=0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingState:
    """The ``SamplingParams`` of each row, as arrays.

    Attributes:
        key: ``[B, 2]`` uint32, raw random keys.
        temperature: ``[B]`` float32.
        top_k: ``[B]`` int32; 0 keeps all.
        top_p: ``[B]`` float32.
        min_p: ``[B]`` float32.
        top_logprobs: ``[B]`` int32; 0 reports none.
    """

    key: jax.Array | np.ndarray
    temperature: jax.Array | np.ndarray
    top_k: jax.Array | np.ndarray
    top_p: jax.Array | np.ndarray
    min_p: jax.Array | np.ndarray
    top_logprobs: jax.Array | np.ndarray

    @classmethod
    def start(cls, *rows: SamplingParams) -> SamplingState:
        """The state of rows with these settings; plain NumPy, so that making it compiles nothing.

        A state of one row serves any number of rows alike.
        """
        seeds = [(row.seed >> 32, row.seed & 0xFFFFFFFF) for row in rows]
        return cls(
            key=np.array(seeds, np.uint32),
            temperature=np.array([row.temperature for row in rows], np.float32),
            top_k=np.array([row.top_k for row in rows], np.int32),
            top_p=np.array([row.top_p for row in rows], np.float32),
            min_p=np.array([row.min_p for row in rows], np.float32),
            top_logprobs=np.array([row.top_logprobs for row in rows], np.int32),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampled:
    """What was chosen for each row.

    Attributes:
        tokens: ``[B]`` int32.
        logprobs: ``[B]`` float32, their log-probabilities under the model itself, before
            temperature and filters.
        top_tokens: ``[B, MAX_TOP_LOGPROBS]`` int32, the most likely first; zeros if no row asks.
        top_logprobs: ``[B, MAX_TOP_LOGPROBS]`` float32, theirs.
    """

    tokens: jax.Array
    logprobs: jax.Array
    top_tokens: jax.Array
    top_logprobs: jax.Array


def sample(logits: jax.Array, state: SamplingState, positions: jax.Array) -> Sampled:
    """Chooses one token a row.

    Args:
        logits: ``[B, V]`` float32.
        state: The settings of each row, or of all.
        positions: ``[B]`` int32, where in its text each token will stand; folded into the key, so
            that a token depends on the seed and its place and not on how the prompt was cut.
    """
    greedy = jnp.argmax(logits, -1).astype(jnp.int32)
    # Drawing sorts the vocabulary: only if some row asks for it.
    drawn = lax.cond(
        jnp.any(state.temperature > 0), _draw, lambda *_: greedy, logits, state, positions
    )
    tokens = jnp.where(state.temperature == 0, greedy, drawn)
    total = jax.nn.logsumexp(logits, axis=-1)  # [B]
    chosen = jnp.take_along_axis(logits, tokens[:, None], -1)[:, 0]  # [B]
    top, ids = lax.cond(jnp.any(state.top_logprobs > 0), _top, _no_top, logits)
    return Sampled(
        tokens=tokens,
        logprobs=chosen - total,
        top_tokens=ids,
        top_logprobs=top - total[:, None],
    )


def _top(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    top, ids = lax.top_k(logits, min(MAX_TOP_LOGPROBS, logits.shape[-1]))
    room = ((0, 0), (0, MAX_TOP_LOGPROBS - top.shape[-1]))
    return jnp.pad(top, room), jnp.pad(ids, room)


def _no_top(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = (logits.shape[0], MAX_TOP_LOGPROBS)
    return jnp.zeros(shape, logits.dtype), jnp.zeros(shape, jnp.int32)


def _draw(logits: jax.Array, state: SamplingState, positions: jax.Array) -> jax.Array:
    vocab = logits.shape[-1]
    temperature, top_k, top_p, min_p = (
        jnp.asarray(setting)[:, None]  # [B, 1]
        for setting in (state.temperature, state.top_k, state.top_p, state.min_p)
    )
    temperature = jnp.maximum(temperature, np.finfo(np.float32).tiny)
    scaled = (logits - logits.max(-1, keepdims=True)) / temperature  # [B, V], at most 0
    # Sorting by (-logit, id) makes ties go to the lower id on every platform.
    ids = jnp.broadcast_to(jnp.arange(vocab, dtype=jnp.int32), logits.shape)
    keys, order = lax.sort((-scaled, ids), num_keys=2)  # [B, V] ascending
    weights = jnp.exp(-keys)  # [B, V] descending; the first is 1
    rank = jnp.arange(vocab, dtype=jnp.int32)
    kept = (rank < top_k) | (top_k == 0)  # [B, V]
    weights = jnp.where(kept, weights, 0.0)
    before = jnp.cumsum(weights, -1) - weights  # [B, V] mass of more likely tokens
    total = weights.sum(-1, keepdims=True)
    in_nucleus = (before < top_p * total) | (top_p >= 1)
    likely_enough = weights >= min_p
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
    rows = jnp.broadcast_to(jnp.asarray(key), (*positions.shape, 2))
    base = jax.random.wrap_key_data(rows, impl="threefry2x32")
    keys = jax.vmap(jax.random.fold_in)(base, positions)
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
