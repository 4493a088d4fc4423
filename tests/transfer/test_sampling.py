"""A sample holds what was asked for, and says no more than it may."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokdist.errors import UsageError
from grokdist.transfer.sampling import SampleSize, draw
from grokdist.trust.merkle import BLOCK, count

_SIZES = st.lists(st.integers(0, 70 * BLOCK), max_size=8)


@pytest.mark.parametrize(
    ("text", "share", "blocks"),
    [("1%", 0.01, None), ("0.5%", 0.005, None), ("100%", 1.0, None), ("500", None, 500)],
)
def test_forms_of_a_size(text: str, share: float | None, blocks: int | None) -> None:
    assert SampleSize.parse(text) == SampleSize(share=share, blocks=blocks)


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "-1", "101%", "1.5", "1e3", "%", "1%%", "x", "nan%", "9" * 19, "٣"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="expected a share of the blocks like 1%"):
        SampleSize.parse(text)


@given(sizes=_SIZES, blocks=st.integers(1, 200), seed=st.integers(0, 99))
def test_ranges_lie_in_their_files_and_never_overlap(
    sizes: list[int], blocks: int, seed: int
) -> None:
    sample = draw(sizes, SampleSize(blocks=blocks), seed)
    assert sample.of_blocks == sum(count(size) for size in sizes)
    assert sample.blocks == min(blocks, sample.of_blocks)
    assert draw(sizes, SampleSize(blocks=blocks), seed) == sample
    for file, ranges in sample.ranges.items():
        before = 0
        for start, end in ranges:
            assert before <= start < end <= sizes[file]
            assert start % BLOCK == 0
            assert end - start == BLOCK or end == sizes[file]
            before = end


def test_another_seed_draws_others() -> None:
    sizes = [1000 * BLOCK]
    size = SampleSize(blocks=10)
    assert draw(sizes, size, 1).ranges != draw(sizes, size, 2).ranges


def test_a_share_is_rounded_up_and_all_is_all() -> None:
    sizes = [5 * BLOCK + 1, 0, 1]
    assert draw(sizes, SampleSize(share=0.01), 0).blocks == 1
    whole = draw(sizes, SampleSize(share=1.0), 0)
    assert whole.blocks == whole.of_blocks == 7
    assert whole.missed(0.01) == 0.0
    assert sum(end - start for each in whole.ranges.values() for start, end in each) == sum(sizes)


def test_large_samples_read_longer_ranges() -> None:
    sizes = [400 << 20] * 700
    sample = draw(sizes, SampleSize(share=0.01), 0)
    assert sample.span == 512 << 10
    assert abs(sample.blocks / sample.of_blocks - 0.01) < 0.0001
    assert sample.units >= 4096
    everything = draw([1 << 50], SampleSize(share=1.0), 0)
    assert everything.units <= 1 << 18


def test_nothing_can_be_drawn_from_nothing() -> None:
    sample = draw([], SampleSize(share=1.0), 0)
    assert (sample.units, sample.blocks, sample.ranges) == (0, 0, {})


def test_the_probability_is_that_of_drawing_without_replacement() -> None:
    sample = draw([100 * BLOCK], SampleSize(blocks=10), 0)
    expected = math.comb(95, 10) / math.comb(100, 10)
    assert math.isclose(sample.missed(0.05), expected, rel_tol=1e-9)
    assert math.isclose(sample.missed(0.0), 0.9, rel_tol=1e-9)
    assert sample.missed(1.0) == 0.0


def test_the_probability_holds_against_the_worst_placement() -> None:
    """Bad blocks side by side, in as few ranges as they can be, are missed no more often."""
    sizes = [3000 * BLOCK] * 9
    sample = draw(sizes, SampleSize(share=0.7), 0)
    assert sample.span > BLOCK
    length = sample.span // BLOCK
    bad = 3 * length / sample.of_blocks
    assert math.isclose(
        sample.missed(bad),
        math.comb(sample.of_units - 3, sample.units) / math.comb(sample.of_units, sample.units),
        rel_tol=1e-6,
    )


def test_damage_is_missed_about_as_often_as_is_said() -> None:
    sizes = [50 * BLOCK, 49 * BLOCK + 5]
    bad = set(random.Random(5).sample(range(100), 5))
    misses = 0
    for seed in range(2000):
        sample = draw(sizes, SampleSize(blocks=20), seed)
        drawn = {
            file * 50 + start // BLOCK for file, each in sample.ranges.items() for start, _ in each
        }
        misses += not drawn & bad
    # 2,000 draws at p = 0.32: three standard deviations are 0.03.
    assert abs(misses / 2000 - sample.missed(0.05)) < 0.04
