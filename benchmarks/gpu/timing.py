"""Seconds a step and bytes a second, on whatever device JAX has first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.programs import compile_step, filled_cache
from grokdist_runtime.spec import ModelSpec

Seconds = tuple[float, ...]
"""Of each run."""


def median(runs: Seconds) -> float:
    """The middle one."""
    return statistics.median(runs)


def decode(
    spec: ModelSpec, weights: Any, *, batch: int, cache: int, steps: int, runs: int
) -> tuple[Seconds, str]:
    """Seconds of a step in each run, half of the cache being filled; and the optimised HLO."""
    compiled = compile_step(spec, weights, batch=batch, new=1, cache=cache)
    tokens = some_tokens(spec, (batch,))
    found = []
    for run in range(runs + 1):
        state = filled_cache(spec, batch=batch, cache=cache, tokens=cache // 2)
        logits, state = jax.block_until_ready(compiled(weights, state, tokens))
        start = time.perf_counter()
        for _ in range(steps):
            logits, state = compiled(weights, state, tokens)
        jax.block_until_ready(logits)
        if run > 0:  # the first warms up
            found.append((time.perf_counter() - start) / steps)
    return tuple(found), compiled.as_text()


def prefill(
    spec: ModelSpec, weights: Any, *, chunk: int, cache: int, runs: int
) -> tuple[Seconds, str]:
    """Seconds of taking in a chunk of one sequence into an empty cache; and the optimised HLO."""
    compiled = compile_step(spec, weights, batch=1, new=chunk, cache=cache)
    tokens = some_tokens(spec, (1, chunk))
    counts = np.array([chunk], np.int32)
    found = []
    for run in range(runs + 1):
        state = jax.block_until_ready(filled_cache(spec, batch=1, cache=cache, tokens=0))
        start = time.perf_counter()
        jax.block_until_ready(compiled(weights, state, tokens, counts))
        if run > 0:
            found.append(time.perf_counter() - start)
    return tuple(found), compiled.as_text()


def copy_bytes_per_s(nbytes: int, runs: int) -> float:
    """Bandwidth of a copy within the device's memory, counting what is read and what is written."""
    x = jnp.ones(nbytes // 4, jnp.uint32)
    return 2 * nbytes / _best(jax.jit(lambda x: x + 1), x, runs)


def read_bytes_per_s(nbytes: int, runs: int) -> float:
    """Bandwidth of reading only: a sum."""
    x = jnp.ones(nbytes // 4, jnp.uint32)
    return nbytes / _best(jax.jit(jnp.sum), x, runs)


def seconds_of(function: Callable[..., Any], arguments: Sequence[Any], repeats: int) -> float:
    """The best of five times of ``repeats`` calls in a row, a call."""
    jax.block_until_ready(function(*arguments))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            out = function(*arguments)
        jax.block_until_ready(out)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def _best(function: Callable[..., Any], x: jax.Array, runs: int) -> float:
    """A bandwidth is a ceiling: the best run counts."""
    return min(seconds_of(function, (x,), 3) for _ in range(runs))


def some_tokens(spec: ModelSpec, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Ids that differ, so that sequences choose different experts."""
    rng = np.random.default_rng(0)
    return rng.integers(3, spec.config.vocab_size, shape).astype(np.int32)
