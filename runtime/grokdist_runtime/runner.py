"""Compiled programs for one model, and the cache they work on.

Each program is compiled once for its shapes, ahead of the call, so that compiling and running are
timed apart and several programs can be compiled at once. Knows nothing of text.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime import kv_cache, model
from grokdist_runtime.kv_cache import KVCache, bucket_size
from grokdist_runtime.params import Weights
from grokdist_runtime.sampling import SamplingParams, SamplingState, sample
from grokdist_runtime.spec import ModelSpec

MIN_CHUNK = 32
MAX_CHUNK = 256
"""Prompts are taken in by chunks of a power of two between these."""

IntArray = np.ndarray[Any, np.dtype[np.int32]]
Cache = KVCache[jax.Array]


def chunk_size(tokens: int) -> int:
    """The chunk for a prompt of so many tokens: few sizes, so that few programs are compiled."""
    return min(MAX_CHUNK, max(MIN_CHUNK, 1 << max(tokens - 1, 0).bit_length()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Which program, for which shapes.

    Attributes:
        name: ``prefill``, ``decode``, ``score``, ``sample``, ``empty`` or ``grow``.
        batch: Sequences.
        size: The cache's bucket; 0 where it does not matter.
        new: New tokens; for ``grow`` the new bucket.
    """

    name: str
    batch: int
    size: int = 0
    new: int = 1


class Runner:
    """One model on its devices.

    Attributes:
        spec: Its sizes and mesh.
        weights: Its arrays.
        compile_s: Seconds that callers have waited for compiling so far.
    """

    def __init__(self, spec: ModelSpec, weights: Weights[jax.Array]) -> None:
        self.spec = spec
        self.weights = weights
        self.compile_s = 0.0
        self._everywhere = NamedSharding(spec.mesh, PartitionSpec())
        self._programs: dict[Program, Future[Callable[..., Any]]] = {}
        self._lock = threading.Lock()
        # Two, since generating needs two large programs; XLA compiles outside Python's lock.
        self._compilers = ThreadPoolExecutor(2, thread_name_prefix="compile")

    def prepare(self, *, batch: int, chunk: int, tokens: int) -> None:
        """Starts compiling all that generating with these sizes needs, and does not wait."""
        size = bucket_size(tokens)
        for program in (
            Program(name="prefill", batch=batch, size=size, new=chunk),
            Program(name="decode", batch=batch, size=size),
            Program(name="empty", batch=batch, size=size),
            Program(name="sample", batch=batch),
        ):
            self._submit(program)

    def new_cache(self, batch: int, tokens: int) -> Cache:
        """An empty cache with room for at least so many tokens in each sequence."""
        cache: Cache = self._run(Program(name="empty", batch=batch, size=bucket_size(tokens)))
        return cache

    def with_room(self, cache: Cache, tokens: int) -> Cache:
        """The cache itself, or a copy in a bucket with room for so many tokens in all."""
        batch, size = cache.visible.shape
        if tokens <= size:
            return cache
        program = Program(name="grow", batch=batch, size=size, new=bucket_size(tokens))
        grown: Cache = self._run(program, cache)
        return grown

    def score(
        self, cache: Cache, tokens: IntArray, counts: Sequence[int]
    ) -> tuple[jax.Array, Cache]:
        """``[B, T, V]`` logits after each token of ``tokens [B, T]``; see ``model.score``."""
        return self._step("score", cache, tokens, np.array(counts, np.int32))

    def prefill(
        self, cache: Cache, tokens: IntArray, counts: Sequence[int]
    ) -> tuple[jax.Array, Cache]:
        """``[B, V]`` logits after the last of ``tokens [B, T]``; see ``model.prefill``."""
        return self._step("prefill", cache, tokens, np.array(counts, np.int32))

    def decode(self, cache: Cache, tokens: IntArray) -> tuple[jax.Array, Cache]:
        """``[B, V]`` logits after ``tokens [B]``; see ``model.decode_step``."""
        return self._step("decode", cache, tokens)

    def sample(
        self, logits: jax.Array, cache: Cache, state: SamplingState
    ) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.float32]]]:
        """Waits for the next tokens ``[B]`` and their log-probabilities; see ``sampling``."""
        program = Program(name="sample", batch=logits.shape[0])
        tokens, logprobs = self._run(program, logits, state, cache.lengths)
        return np.asarray(tokens), np.asarray(logprobs)

    def _step(
        self, name: str, cache: Cache, tokens: IntArray, *rest: IntArray
    ) -> tuple[jax.Array, Cache]:
        batch, size = cache.visible.shape
        new = tokens.shape[1] if tokens.ndim == 2 else 1
        program = Program(name=name, batch=batch, size=size, new=new)
        result: tuple[jax.Array, Cache]
        result = self._run(program, self.weights, cache, tokens, *rest)
        return result

    def _run(self, program: Program, *arguments: Any) -> Any:
        future = self._submit(program)
        if future.done():
            return future.result()(*arguments)
        start = time.perf_counter()
        compiled = future.result()
        self.compile_s += time.perf_counter() - start
        return compiled(*arguments)

    def _submit(self, program: Program) -> Future[Callable[..., Any]]:
        with self._lock:
            if program not in self._programs:
                self._programs[program] = self._compilers.submit(self._compile, program)
            return self._programs[program]

    def _compile(self, program: Program) -> Callable[..., Any]:
        function, arguments, shardings = self._recipe(program)
        donate = (1,) if program.name in ("prefill", "decode", "score") else ()
        jitted = jax.jit(function, out_shardings=shardings, donate_argnums=donate)
        compiled: Callable[..., Any] = jitted.lower(*arguments).compile()
        return compiled

    def _recipe(self, program: Program) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """What to compile, for which abstract arguments, and where its results go."""
        batch, spec = program.batch, self.spec
        cached = kv_cache.cache_shardings(spec, batch)
        counts = self._abstract((batch,), jnp.int32)
        empty = functools.partial(kv_cache.empty_cache, spec, batch, program.size)
        if program.name == "empty":
            return empty, (), cached
        if program.name == "sample":
            logits = self._abstract((batch, spec.config.vocab_size), jnp.float32)
            state = SamplingState.start(SamplingParams())
            lengths = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=cached.lengths)
            return sample, (logits, state, lengths), self._everywhere
        cache = jax.tree.map(_abstract_like, jax.eval_shape(empty), cached)
        if program.name == "grow":
            return functools.partial(kv_cache.grown_cache, size=program.new), (cache,), cached
        weights = jax.tree.map(lambda x: _abstract_like(x, x.sharding), self.weights)
        tokens = self._abstract((batch, program.new), jnp.int32)
        shardings = (self._everywhere, cached)
        if program.name == "decode":
            decode = functools.partial(model.decode_step, spec=spec)
            return decode, (weights, cache, counts), shardings
        function = model.score if program.name == "score" else model.prefill
        return functools.partial(function, spec=spec), (weights, cache, tokens, counts), shardings

    def _abstract(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._everywhere)


def _abstract_like(array: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
