"""Compiled programs for one model, and the cache they work on.

Each program is compiled once for its shapes, ahead of the call, so that compiling and running are
timed apart. Knows nothing of text.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime import kv_cache, model
from grokdist_runtime.kv_cache import KVCache, bucket_size
from grokdist_runtime.model import Step
from grokdist_runtime.params import Weights
from grokdist_runtime.sampling import SamplingState
from grokdist_runtime.spec import ModelSpec

MIN_CHUNK = 32
MAX_CHUNK = 256
"""Prompts are taken in by chunks of a power of two between these."""

IntArray = np.ndarray[Any, np.dtype[np.int32]]
Cache = KVCache[jax.Array]


def chunk_size(tokens: int) -> int:
    """The chunk for a prompt of so many tokens: few sizes, so that few programs are compiled."""
    return min(MAX_CHUNK, max(MIN_CHUNK, 1 << max(tokens - 1, 0).bit_length()))


class Runner:
    """One model on its devices.

    Attributes:
        spec: Its sizes and mesh.
        weights: Its arrays.
        compile_s: Seconds spent compiling so far.
    """

    def __init__(self, spec: ModelSpec, weights: Weights[jax.Array]) -> None:
        self.spec = spec
        self.weights = weights
        self.compile_s = 0.0
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        self._lock = threading.Lock()
        self._everywhere = NamedSharding(spec.mesh, PartitionSpec())

    def new_cache(self, batch: int, tokens: int) -> Cache:
        """An empty cache with room for at least so many tokens in each sequence."""
        size = bucket_size(tokens)
        make = functools.partial(kv_cache.empty_cache, self.spec, batch, size)
        shardings = kv_cache.cache_shardings(self.spec, batch)
        program = self._compiled(("cache", batch, size), make, shardings, ())
        cache: Cache = program()
        return cache

    def with_room(self, cache: Cache, tokens: int) -> Cache:
        """The cache itself, or a copy in a bucket with room for so many tokens in all."""
        batch, size = cache.visible.shape
        if tokens <= size:
            return cache
        size = bucket_size(tokens)
        grow = functools.partial(kv_cache.grown_cache, size=size)
        shardings = kv_cache.cache_shardings(self.spec, batch)
        program = self._compiled(("grow", cache.visible.shape, size), grow, shardings, (cache,))
        grown: Cache = program(cache)
        return grown

    def score(
        self, cache: Cache, tokens: IntArray, counts: Sequence[int]
    ) -> tuple[jax.Array, Cache]:
        """``[B, T, V]`` logits after each token of ``tokens [B, T]``; see ``model.score``."""
        arguments = (self.weights, cache, tokens, np.array(counts, np.int32))
        result: tuple[jax.Array, Cache] = self._run("score", model.score, arguments)
        return result

    def prefill(
        self, cache: Cache, tokens: IntArray, counts: Sequence[int], sampling: SamplingState
    ) -> tuple[Step, Cache]:
        """Takes in ``tokens [B, T]`` and samples; see ``model.prefill``."""
        arguments = (self.weights, cache, tokens, np.array(counts, np.int32), sampling)
        result: tuple[Step, Cache] = self._run("prefill", model.prefill, arguments)
        return result

    def decode(self, cache: Cache, tokens: IntArray, sampling: SamplingState) -> tuple[Step, Cache]:
        """Takes in ``tokens [B]`` and samples; see ``model.decode_step``."""
        arguments = (self.weights, cache, tokens, sampling)
        result: tuple[Step, Cache] = self._run("decode", model.decode_step, arguments)
        return result

    def _run(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        cache: Cache = arguments[1]
        batch = cache.visible.shape[0]
        shardings = (self._everywhere, kv_cache.cache_shardings(self.spec, batch))
        key = (name, cache.visible.shape, arguments[2].shape)
        bound = functools.partial(function, spec=self.spec)
        return self._compiled(key, bound, shardings, arguments)(*arguments)

    def _compiled(
        self,
        key: Hashable,
        function: Callable[..., Any],
        out_shardings: Any,
        arguments: tuple[Any, ...],
    ) -> Callable[..., Any]:
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                start = time.perf_counter()
                steps = len(arguments) > 1  # those take weights, cache and more
                jitted = jax.jit(
                    function, out_shardings=out_shardings, donate_argnums=(1,) if steps else ()
                )
                program = jitted.lower(*arguments).compile()
                self._programs[key] = program
                self.compile_s += time.perf_counter() - start
        return program
