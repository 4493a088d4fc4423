"""Bucket sizes and the bytes they take; keys and values rounded to int8."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime.errors import DeviceError
from grokdist_runtime.kv_cache import MIN_BUCKET, bucket_size, cache_bytes, rounded
from grokdist_runtime.runner import MAX_CHUNK, MIN_CHUNK, chunk_size
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model, load_runner
from tests.runtime.numpy_oracle import Oracle
from tests.runtime.random_checkpoint import small_config
from tests.runtime.test_loader import GROK_1


@pytest.mark.parametrize(
    ("tokens", "size"), [(0, 128), (1, 128), (128, 128), (129, 256), (256, 256), (8192, 8192)]
)
def test_buckets_are_powers_of_two(tokens: int, size: int) -> None:
    assert bucket_size(tokens) == size


def test_chunks_always_fill_a_bucket_exactly() -> None:
    for tokens in range(1, 2000):
        chunk = chunk_size(tokens)
        assert MIN_CHUNK <= chunk <= MAX_CHUNK
        padded = -(-tokens // chunk) * chunk
        assert padded <= bucket_size(padded)
        assert max(MIN_BUCKET, chunk) % chunk == 0


def test_grok_1_takes_what_its_heads_say() -> None:
    """262,144 bytes a token in bfloat16, over 8 devices; a CPU keeps float32, twice that."""
    spec = ModelSpec.create(GROK_1, make_mesh("1x8"))
    assert cache_bytes(spec, 1, 1) == 2 * 262_144 // 8
    accelerated = dataclasses.replace(spec, on_cpu=False)
    assert cache_bytes(accelerated, 2, 8192) == 2 * 8192 * 262_144 // 8


def test_int8_takes_a_byte_for_each_and_a_scale_for_each_head() -> None:
    spec = ModelSpec.create(GROK_1, make_mesh("1x8"), kv_cache="int8")
    per_head = 128 + 4
    assert cache_bytes(spec, 2, 8192) == 2 * 8192 * 2 * 64 * per_head
    plain = ModelSpec.create(GROK_1, make_mesh("1x8"))
    assert cache_bytes(plain, 2, 8192) / cache_bytes(spec, 2, 8192) == 512 / per_head


def test_another_dtype_is_refused() -> None:
    with pytest.raises(DeviceError, match="the cache's dtype is 'int4'; expected int8"):
        ModelSpec.create(small_config(), make_mesh("1x1"), kv_cache="int4")


def test_rounding_is_to_the_nearest_step_of_each_head(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 5, 16)).astype(np.float32) * rng.uniform(0.01, 100, (3, 5, 1))
    x[1, 2] = 0
    values, scales = rounded(jnp.asarray(x, jnp.float32))
    assert values.dtype == jnp.int8
    assert np.abs(np.asarray(values)).max(-1).tolist() == np.where(x.any(-1), 127, 0).tolist()
    back = np.asarray(values, np.float32) * np.asarray(scales)[..., None]
    assert (np.abs(back - x) <= np.asarray(scales)[..., None] * 0.5001).all()


@pytest.mark.parametrize(
    ("mesh", "changes"), [("1x2", {}), ("1x8", {"num_kv_heads": 2}), ("2x2", {})]
)
def test_an_int8_cache_gives_what_rounded_keys_and_values_give(
    make_model: Callable[..., Model], mesh: str, changes: dict[str, int]
) -> None:
    """A chunk, a larger bucket, then a token at a time; two sequences of unlike length."""
    model = make_model(sequence_len=256, **changes)
    oracle = Oracle(model.config, model.weights, rounds_cache=True)
    runner = load_runner(model.directory, mesh, "float32", "int8")
    rows = np.random.default_rng(3).integers(1, 96, (2, 38)).astype(np.int32)
    counts = [32, 29]
    logits, cache = runner.score(runner.new_cache(2, 32), rows[:, :32], counts)
    kept = jax.tree.map(np.asarray, cache)
    cache = runner.with_room(cache, 129)
    assert cache.keys.shape[3] == cache.key_scales.shape[3] == 256
    assert cache.keys.dtype == cache.values.dtype == jnp.int8
    assert np.array_equal(cache.key_scales[..., :128], kept.key_scales)
    for row, count in enumerate(counts):
        expected = oracle.logits(rows[row, :count])
        assert rms(np.asarray(logits)[row, :count] - expected) <= NEAR * expected.std()
    for step in range(4):
        tokens = np.array([rows[row, count + step] for row, count in enumerate(counts)])
        logits, cache = runner.decode(cache, tokens.astype(np.int32))
    for row, count in enumerate(counts):
        expected = oracle.logits(rows[row, : count + 4])[-1]
        assert rms(np.asarray(logits)[row] - expected) <= NEAR * expected.std()
        plain = model.oracle.logits(rows[row, : count + 4])[-1]
        assert rms(expected - plain) > 2 * NEAR * expected.std()  # rounding would be noticed


NEAR = 1e-3


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
