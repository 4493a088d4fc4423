"""Who takes what: chunks, weights, and arithmetic of ranges."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from grokdist.transfer.share.ownership import (
    LEAST_CHUNK,
    MOST_CHUNK,
    chunk_size,
    meet,
    owner,
    without,
)

MEMBERS = [f"{place:032x}" for place in range(8)]


def _ranges() -> st.SearchStrategy[list[tuple[int, int]]]:
    edges = st.lists(st.integers(0, 60), unique=True, max_size=12).map(sorted)
    return edges.map(lambda e: list(zip(e[::2], e[1::2], strict=False)))


def _bytes(ranges: list[tuple[int, int]]) -> set[int]:
    return {place for start, end in ranges for place in range(start, end)}


@given(_ranges(), _ranges())
def test_ranges_meet_and_part_as_sets_do(
    ours: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    assert _bytes(meet(ours, others)) == _bytes(ours) & _bytes(others)
    assert _bytes(without(ours, others)) == _bytes(ours) - _bytes(others)
    for found in (meet(ours, others), without(ours, others)):
        assert all(start < end for start, end in found)
        assert found == sorted(found)


def test_chunks_are_small_for_small_payloads_and_bounded() -> None:
    assert chunk_size(0) == chunk_size(1 << 30) == LEAST_CHUNK
    assert chunk_size(20 << 30) == 16 << 20
    assert chunk_size(318_239_886_140) == MOST_CHUNK
    assert chunk_size(1 << 60) == MOST_CHUNK


def test_everyone_owns_about_the_same() -> None:
    owned = Counter(owner(MEMBERS, "ab" * 32, chunk) for chunk in range(4000))
    assert set(owned) == set(MEMBERS)
    assert max(owned.values()) < 1.3 * min(owned.values())


def test_the_order_of_the_members_does_not_matter() -> None:
    for chunk in range(50):
        assert owner(MEMBERS, "cd" * 32, chunk) == owner(MEMBERS[::-1], "cd" * 32, chunk)


def test_when_one_leaves_only_its_own_chunks_change_hands() -> None:
    for chunk in range(500):
        before = owner(MEMBERS, "ef" * 32, chunk)
        after = owner(MEMBERS[1:], "ef" * 32, chunk)
        assert after == before or before == MEMBERS[0]
    assert owner([], "ef" * 32, 0) is None
