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
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime import kv_cache, model
from grokdist_runtime.cache_rows import arranged_cache, inserted_cache
from grokdist_runtime.kv_cache import KVCache, bucket_size
from grokdist_runtime.params import Weights
from grokdist_runtime.sampling import Sampled, SamplingParams, SamplingState, sample
from grokdist_runtime.spec import ModelSpec

MIN_CHUNK = 32
MAX_CHUNK = 512
"""Prompts are taken in by chunks of a power of two between these."""

_DONATED = {"prefill": (1,), "decode": (1,), "score": (1,), "insert": (0,)}
"""Which argument of a program is the cache that it uses up."""

T = TypeVar("T")

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
IntArray = np.ndarray[Any, np.dtype[np.int32]]
Cache = KVCache[jax.Array]


def chunk_size(tokens: int) -> int:
    """The chunk for a prompt of so many tokens: few sizes, so that few programs are compiled."""
    return min(MAX_CHUNK, max(MIN_CHUNK, 1 << max(tokens - 1, 0).bit_length()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Which program, for which shapes.

    Attributes:
        name: ``prefill``, ``decode``, ``score``, ``sample``, ``empty``, ``arrange`` or ``insert``.
        batch: Sequences.
        size: The cache's bucket; 0 where it does not matter.
        new: New tokens; for ``arrange`` and ``insert`` the bucket of the other cache.
        rows: For ``arrange``, sequences of the new cache.
    """

    name: str
    batch: int
    size: int = 0
    new: int = 1
    rows: int = 0


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

    def compiled_s(self) -> float:
        """``compile_s`` now."""
        return self.compile_s

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

    def prepare_step(self, *, batch: int, tokens: int) -> None:
        """Starts compiling a step for so many rows with room for so many tokens."""
        self._submit(Program(name="decode", batch=batch, size=bucket_size(tokens)))

    def new_cache(self, batch: int, tokens: int) -> Cache:
        """An empty cache with room for at least so many tokens in each sequence."""
        cache: Cache = self._run(Program(name="empty", batch=batch, size=bucket_size(tokens)))
        return cache

    def with_room(self, cache: Cache, tokens: int) -> Cache:
        """The cache itself, or a copy in a bucket with room for so many tokens in all."""
        batch, size = cache.visible.shape
        if tokens <= size:
            return cache
        return self.arranged(cache, range(batch), [tokens] * batch, tokens)

    def arranged(
        self, cache: Cache, rows: Sequence[int], limits: Sequence[int], tokens: int
    ) -> Cache:
        """A copy of some rows with room for so many tokens; see ``arranged_cache``."""
        batch, size = cache.visible.shape
        program = Program(
            name="arrange", batch=batch, size=size, new=bucket_size(tokens), rows=len(rows)
        )
        new: Cache = self._run(program, cache, np.array(rows, np.int32), np.array(limits, np.int32))
        return new

    def inserted(self, cache: Cache, row: Cache, slot: int) -> Cache:
        """The cache, which is used up, with a cache of one row in a slot."""
        batch, size = cache.visible.shape
        program = Program(name="insert", batch=batch, size=size, new=row.visible.shape[1])
        joined: Cache = self._run(program, cache, row, np.int32(slot))
        return joined

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
        """``[B, V]`` logits after ``tokens [B]``, by the program that ``step`` runs."""
        everything = np.ones(tokens.shape, bool)
        state = SamplingState.start(*[SamplingParams.greedy()] * len(tokens))
        _, logits, cache = self._decode(cache, tokens, everything, state)
        return logits, cache

    def step(
        self,
        cache: Cache,
        tokens: IntArray | jax.Array,
        in_use: BoolArray | jax.Array,
        state: SamplingState,
    ) -> tuple[Sampled, Cache]:
        """Takes in a token of each row in use and chooses the next; does not wait for it.

        One program does both, so that the chosen tokens can be given to the next step without
        coming to the host first.

        Args:
            cache: Used up.
            tokens: ``[B]``.
            in_use: ``[B]``; the others cost no expert and what is chosen for them is arbitrary.
            state: How each row chooses.
        """
        sampled, _, cache = self._decode(cache, tokens, in_use, state)
        sampled.tokens.copy_to_host_async()
        sampled.logprobs.copy_to_host_async()
        return sampled, cache

    def sample(self, logits: jax.Array, cache: Cache, state: SamplingState) -> Sampled:
        """The next token of each row, from ``logits [B, V]``; does not wait for it."""
        program = Program(name="sample", batch=logits.shape[0])
        sampled: Sampled = self._run(program, logits, state, cache.lengths)
        return sampled

    def on_device(self, values: T) -> T:
        """Small arrays copied to every device, to be given to many steps."""

        # Not ``device_put``, by which several hosts would first compare what they have.
        def copied(array: Any) -> jax.Array:
            return jax.make_array_from_callback(array.shape, self._everywhere, array.__getitem__)

        put: T = jax.tree.map(copied, values)
        return put

    def _decode(self, cache: Cache, *inputs: Any) -> tuple[Sampled, jax.Array, Cache]:
        batch, size = cache.visible.shape
        program = Program(name="decode", batch=batch, size=size)
        result: tuple[Sampled, jax.Array, Cache]
        result = self._run(program, self.weights, cache, *inputs)
        return result

    def _step(
        self, name: str, cache: Cache, tokens: IntArray, *rest: IntArray
    ) -> tuple[jax.Array, Cache]:
        batch, size = cache.visible.shape
        program = Program(name=name, batch=batch, size=size, new=tokens.shape[1])
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
        donate = _DONATED.get(program.name, ())
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
        state = jax.tree.map(
            lambda x: self._abstract(x.shape, x.dtype),
            SamplingState.start(*[SamplingParams()] * batch),
        )
        if program.name == "sample":
            logits = self._abstract((batch, spec.config.vocab_size), jnp.float32)
            lengths = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=cached.lengths)
            return sample, (logits, state, lengths), self._everywhere
        cache = jax.tree.map(_abstract_like, jax.eval_shape(empty), cached)
        if program.name == "arrange":
            rows = self._abstract((program.rows,), jnp.int32)
            arrange = functools.partial(arranged_cache, size=program.new)
            return arrange, (cache, rows, rows), kv_cache.cache_shardings(spec, program.rows)
        if program.name == "insert":
            one = jax.eval_shape(functools.partial(kv_cache.empty_cache, spec, 1, program.new))
            row = jax.tree.map(_abstract_like, one, kv_cache.cache_shardings(spec, 1))
            return inserted_cache, (cache, row, self._abstract((), jnp.int32)), cached
        weights = jax.tree.map(lambda x: _abstract_like(x, x.sharding), self.weights)
        tokens = self._abstract((batch, program.new), jnp.int32)
        shardings = (self._everywhere, cached)
        if program.name == "decode":
            by_row = PartitionSpec(kv_cache.batch_partition(spec, batch))
            results = (self._everywhere, NamedSharding(spec.mesh, by_row), cached)
            in_use = self._abstract((batch,), jnp.bool_)
            decode = functools.partial(_decode_and_sample, spec=spec)
            return decode, (weights, cache, counts, in_use, state), results
        function = model.score if program.name == "score" else model.prefill
        return functools.partial(function, spec=spec), (weights, cache, tokens, counts), shardings

    def _abstract(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._everywhere)


def _decode_and_sample(
    weights: Weights[jax.Array],
    cache: Cache,
    tokens: jax.Array,
    in_use: jax.Array,
    state: SamplingState,
    spec: ModelSpec,
) -> tuple[Sampled, jax.Array, Cache]:
    logits, cache = model.decode_step(weights, cache, tokens, spec, in_use)
    return sample(logits, state, cache.lengths), logits, cache


def _abstract_like(array: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
