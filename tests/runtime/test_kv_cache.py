"""Bucket sizes, and the bytes they take."""

from __future__ import annotations

import dataclasses

import pytest

from grokdist_runtime.kv_cache import MIN_BUCKET, bucket_size, cache_bytes
from grokdist_runtime.runner import MAX_CHUNK, MIN_CHUNK, chunk_size
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
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
