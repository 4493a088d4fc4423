"""Counting what happens in a fetch."""

from __future__ import annotations

import pytest

from grokdist.cli.tally import MovingRate, Tally
from grokdist.transfer.progress import DISK, SourceCondition, SourceState


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = MovingRate(0.0)
    for second in range(30):
        rate.add(float(second), 1000 if second < 20 else 100)
    assert rate.at(29.0) == pytest.approx((10 * 100 + 1000) / 10, rel=0.1)
    assert rate.at(200.0) == 0


def test_a_rate_in_its_first_moments_is_no_rocket() -> None:
    rate = MovingRate(0.0)
    rate.add(0.001, 1_000_000)
    assert rate.at(0.001) == 2_000_000


def test_what_was_here_before_counts_as_done_and_not_as_rate(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("fetch", files=2, size=1_000, have=600)
    clock.now += 5
    assert (tally.view().done, tally.view().rate, tally.view().eta) == (600, 0, None)
    tally.advance("hub", "a", 100)
    view = tally.view()
    assert (view.done, view.rate, view.eta) == (700, 20.0, 15.0)


def test_each_source_and_each_file_is_counted(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("fetch", files=2, size=1_000, have=0)
    tally.file_begun("a", size=700, have=50)
    tally.claim("hub", "a", 50)
    tally.claim("swarm", "a", 400)
    clock.now += 2
    tally.advance("hub", "a", 200)
    tally.advance("swarm", "a", 100)
    tally.source("swarm", SourceState(peers=3, connections=2))
    view = tally.view()
    assert [(file.path, file.size, file.done) for file in view.active] == [("a", 700, 350)]
    assert [(s.name, s.received, s.rate) for s in view.sources] == [
        ("hub", 200, 100.0),
        ("swarm", 100, 50.0),
    ]
    assert view.sources[0].state.connections == 1
    assert view.sources[1].state.peers == 3
    tally.release("hub", "a")
    assert len(tally.view().active) == 1
    assert tally.view().sources[0].state.condition is SourceCondition.IDLE
    tally.release("swarm", "a")
    assert tally.view().active == ()
    tally.file_done("a", 700, "hub")
    assert tally.view().files_done == 1


def test_lost_bytes_come_off_again(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("fetch", files=1, size=1_000, have=0)
    tally.claim("hub", "a", 0)
    tally.advance("hub", "a", 900)
    tally.lost("a", 900)
    view = tally.view()
    assert (view.done, view.active[0].done, view.sources[0].received) == (0, 0, 900)


def test_files_that_are_hashed_are_active_without_a_claim(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("verify", files=1, size=10, have=0)
    tally.advance(DISK, "a", 5)
    assert [file.path for file in tally.view().active] == ["a"]


def test_a_stage_forgets_the_one_before(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("check", files=1, size=10, have=0)
    tally.advance(DISK, "a", 5)
    tally.begin("fetch", files=3, size=30, have=0)
    view = tally.view()
    assert (view.task, view.files, view.done, view.sources, view.active) == ("fetch", 3, 0, (), ())


def test_trees_become_a_stage_once_the_files_are_done(clock: Clock) -> None:
    tally = Tally(clock)
    tally.begin("fetch", files=3, size=30, have=0)
    tally.trees(1, 3)
    assert (tally.view().task, tally.view().trees) == ("fetch", (1, 3))
    tally.end()
    tally.trees(3, 3)
    assert tally.view().task == "fetch"
    tally.trees(2, 3)
    assert (tally.view().task, tally.view().files_done, tally.view().files) == ("trees", 2, 3)
    tally.trees(3, 3)
    assert tally.view().files_done == 3
