"""Ranges against the plainest model there is: one label a byte."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from grokdist.transfer.ranges import RangeMap, brought_alone, gaps

SIZE = 40
_SPAN = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda two: (min(two), max(two)))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _SPAN, st.sampled_from("abc")),
        st.tuples(st.just("remove"), _SPAN, st.just("")),
        st.tuples(st.just("forget"), st.just((0, 0)), st.sampled_from("abc")),
        st.tuples(st.just("cut"), _SPAN, st.just("")),
    ),
    max_size=25,
)


def _runs(cells: list[str]) -> list[tuple[int, int, str]]:
    """The ranges of equal labels, as a map of ranges must show them."""
    found: list[tuple[int, int, str]] = []
    for place, label in enumerate(cells):
        if label and found and found[-1][1:] == (place, label):
            found[-1] = (found[-1][0], place + 1, label)
        elif label:
            found.append((place, place + 1, label))
    return found


@given(_STEPS)
def test_a_map_of_ranges_is_a_label_a_byte(steps: list[tuple[str, tuple[int, int], str]]) -> None:
    ranges, cells = RangeMap(), [""] * SIZE
    for what, (start, end), label in steps:
        if what == "add":
            ranges.add(start, end, label)
            cells[start:end] = [label] * (end - start)
        elif what == "remove":
            ranges.remove(start, end)
            cells[start:end] = [""] * (end - start)
        elif what == "forget":
            ranges.remove_label(label)
            cells = ["" if cell == label else cell for cell in cells]
        else:
            ranges.cut(end)
            cells[end:] = [""] * (SIZE - end)
        assert list(ranges) == _runs(cells)
    assert len(ranges) == len(_runs(cells))
    assert ranges.size == sum(map(bool, cells))
    assert ranges.end == max((place + 1 for place, cell in enumerate(cells) if cell), default=0)
    assert ranges.labels() == {label: cells.count(label) for label in cells if label}
    for start in range(SIZE):
        reach = start
        while reach < SIZE and cells[reach]:
            reach += 1
        assert ranges.contiguous(start) == reach


@given(st.lists(_SPAN, max_size=8), st.lists(_SPAN, max_size=8))
def test_gaps_are_the_bytes_that_nothing_covers(
    one: list[tuple[int, int]], two: list[tuple[int, int]]
) -> None:
    covered = {place for start, end in [*one, *two] for place in range(start, end)}
    found = gaps(SIZE, one, two)
    assert [p for start, end in found for p in range(start, end)] == [
        place for place in range(SIZE) if place not in covered
    ]
    assert all(start < end for start, end in found)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(found))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc")), min_size=1, max_size=12),
    st.data(),
)
def test_who_brought_a_whole_unit_alone(runs: list[tuple[int, str]], data: st.DataObject) -> None:
    cells = "".join(label * count for count, label in runs)
    filled = RangeMap()
    for place, label in enumerate(cells):
        filled.add(place, place + 1, label)
    units = [(at, min(at + 4, len(cells))) for at in range(0, len(cells), 4)]
    wrong = sorted(data.draw(st.sets(st.sampled_from(units))))
    joined: list[tuple[int, int]] = []
    for start, end in wrong:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    alone = {cells[start] for start, end in wrong if len(set(cells[start:end])) == 1}
    assert brought_alone(filled, joined, 4) == alone


def test_ranges_beyond_the_file_make_no_gap_in_it() -> None:
    assert gaps(10, [(12, 20)]) == [(0, 10)]
    assert gaps(10, [(0, 20)]) == []
    assert gaps(0) == []


def test_a_copy_changes_on_its_own() -> None:
    ranges = RangeMap([(0, 5, "a")])
    other = ranges.copy()
    other.add(5, 9, "b")
    assert list(ranges) == [(0, 5, "a")]
    assert list(other) == [(0, 5, "a"), (5, 9, "b")]
