"""The native kernel of attention against plain arithmetic in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grokdist_runtime.kv_cache import rounded
from grokdist_runtime.native.attention import attention_over_cache
from grokdist_runtime.native.library import register
from tests.runtime.conftest import native_library

_CAP = 30.0


@pytest.fixture
def native() -> None:
    register(native_library())


def plain(q: np.ndarray, keys: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    q, keys, values = (x.astype(np.float64) for x in (q, keys, values))
    logits = _CAP * np.tanh(np.einsum("bkgd,bksd->bkgs", q, keys))
    seen = mask[:, None, None]
    weights = np.exp(logits - logits.max(-1, keepdims=True, where=seen, initial=-_CAP)) * seen
    total = weights.sum(-1, keepdims=True)
    return np.einsum("bkgs,bksd->bkgd", weights / np.where(total, total, 1), values)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("spread", [0.02, 1.0])
@pytest.mark.parametrize(
    ("heads", "group", "depth", "places"),
    [(1, 1, 8, 128), (2, 6, 128, 1300), (3, 5, 43, 520), (2, 4, 16, 33)],
)
def test_equals_plain_arithmetic(
    heads: int,
    group: int,
    depth: int,
    places: int,
    spread: float,
    int8: bool,
    rng: np.random.Generator,
) -> None:
    """Any number of queries, vectors not filled, several jobs, pads, a row that sees nothing."""
    q = (spread * rng.normal(size=(4, heads, group, depth))).astype(np.float32)
    stacks = [rng.normal(size=(3, 4, heads, places, depth)).astype(np.float32) for _ in range(2)]
    mask = np.arange(places) < np.array([places, 1, places // 2, 0])[:, None]
    mask[0, rng.integers(0, places, 9)] = False
    mask[2, : places // 4] = False
    held = [jnp.asarray(x) for x in stacks]
    if int8:
        (keys, key_scales), (values, value_scales) = rounded(held[0]), rounded(held[1])
        held = [keys, values, key_scales, value_scales]
        stacks = [
            np.asarray(v, np.float32) * np.asarray(s)[..., None]
            for v, s in ((keys, key_scales), (values, value_scales))
        ]
    call = jax.jit(
        lambda q, held, mask: attention_over_cache(q, held, jnp.int32(1), mask, cap=_CAP)
    )
    found = np.asarray(call(q, held, mask))
    wanted = plain(q, stacks[0][1], stacks[1][1], mask)
    # A logit of up to 30 is off by a few units of its last place.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-5 * max(1, np.abs(wanted).max()))
    assert not found[3].any()


def test_shapes_and_dtypes_are_checked() -> None:
    q, keys = jnp.zeros((2, 3, 4, 8)), jnp.zeros((5, 2, 3, 16, 8))
    layer, mask = jnp.int32(0), jnp.zeros((2, 16), bool)
    with pytest.raises(ValueError, match="expected"):
        attention_over_cache(q, [keys, keys[:, :, :, :8]], layer, mask, cap=_CAP)
    with pytest.raises(ValueError, match="expected"):
        attention_over_cache(q, [keys, keys], layer, mask[:, :8], cap=_CAP)
    with pytest.raises(TypeError, match="expected float32 queries"):
        attention_over_cache(q, [keys.astype(jnp.int8)] * 2, layer, mask, cap=_CAP)
