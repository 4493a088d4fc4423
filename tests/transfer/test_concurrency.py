"""How many connections a source gets, against servers that are only a formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from grokdist.transfer.concurrency import Concurrency

MB = 1_000_000


def _run(
    lane: Concurrency,
    rate: Callable[[int], float],
    seconds: float,
    *,
    active: Callable[[int], int] = lambda allowed: allowed,
    start: float = 100.0,
    received: int = 0,
) -> tuple[list[int], int]:
    """Drive a lane four times a second; returns what it allowed over time, and the bytes."""
    seen = []
    now = start
    lane.observe(now, received, 0)
    while now < start + seconds:
        now += 0.25
        working = active(lane.allowed)
        received += int(rate(working) * 0.25)
        lane.observe(now, received, working)
        seen.append(lane.allowed)
    return seen, received


def test_more_connections_while_they_bring_more() -> None:
    lane = Concurrency(16, adapts=True)
    seen, _ = _run(lane, lambda n: n * MB, 60)
    assert seen[0] == 4
    assert seen[-1] >= 15


@pytest.mark.parametrize("line", [6, 10])
def test_no_more_than_the_line_carries(line: int) -> None:
    lane = Concurrency(32, adapts=True)
    seen, _ = _run(lane, lambda n: min(n, line) * MB, 300)
    assert max(seen[-400:]) <= line + 2
    assert min(seen[-400:]) >= line - 1


def test_a_source_whose_rate_does_not_grow_keeps_few() -> None:
    lane = Concurrency(32, adapts=True)
    seen, _ = _run(lane, lambda _: 10 * MB, 300)
    assert max(seen) <= 8
    # Most of the time it is not trying out another number.
    assert sorted(seen)[len(seen) // 2] <= 6


def test_it_never_passes_what_the_source_has_and_never_ends_at_none() -> None:
    for most in (1, 2, 5):
        lane = Concurrency(most, adapts=True)
        for rate in (lambda n: n * MB, lambda _: MB):
            seen, _ = _run(lane, rate, 60)
            assert set(seen) <= set(range(1, most + 1))
            lane.refused()
    lane = Concurrency(8, adapts=True)
    for _ in range(10):
        lane.refused()
    assert lane.allowed == 1


def test_a_refusal_halves_and_is_remembered_for_a_while() -> None:
    lane = Concurrency(16, adapts=True)
    _, received = _run(lane, lambda n: n * MB, 60)
    assert lane.allowed >= 15
    before = lane.allowed
    lane.refused()
    assert lane.allowed == before // 2
    seen, received = _run(lane, lambda n: n * MB, 20, start=160.0, received=received)
    assert set(seen) == {before // 2}
    seen, _ = _run(lane, lambda n: n * MB, 60, start=180.0, received=received)
    assert seen[-1] > before // 2


def test_idle_connections_say_nothing_of_their_number() -> None:
    lane = Concurrency(16, adapts=True)
    seen, _ = _run(lane, lambda n: n * MB, 60, active=lambda _: 2)
    assert set(seen) == {4}


def test_a_source_that_knows_best_is_left_alone() -> None:
    lane = Concurrency(64, adapts=False)
    assert lane.allowed == 64
    seen, _ = _run(lane, lambda n: n * MB, 20)
    assert set(seen) == {64}


def test_a_source_that_has_brought_nothing_is_not_judged() -> None:
    lane = Concurrency(16, adapts=True)
    seen, _ = _run(lane, lambda _: 0, 60)
    assert set(seen) == {4}
