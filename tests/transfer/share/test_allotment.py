"""Which bytes a machine takes from the origin, by what it knows of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grokdist.transfer.ranges import Range
from grokdist.transfer.share import allotment as allotment_module
from grokdist.transfer.share.allotment import Allotment, Health
from grokdist.transfer.share.content import Content, SharedFile
from grokdist.transfer.share.members import Members
from grokdist.transfer.share.ownership import owner
from grokdist.transfer.share.shelf import Shelf
from grokdist.transfer.share.status import Status
from tests.transfer.share.machines import MIB, Moving, settings

ME, OTHER, THIRD = "11" * 16, "22" * 16, "33" * 16
SIZE = 400 * MIB
FILE = SharedFile(sha256="ab" * 32, size=SIZE, paths=("big",))
CONTENT = Content(files=(FILE,), share_id="0" * 40, chunk=4 * MIB)
WHOLE = [(0, SIZE)]


class Cluster:
    """This machine and what it has heard of the others."""

    def __init__(self, directory: Path) -> None:
        self.members = Members(ME, lambda _: None)
        self.shelf = Shelf(CONTENT, directory)
        self.settings = settings(steal_after=1000.0, stuck=1000.0)
        self.allotment = Allotment(CONTENT, self.members, self.shelf, self.settings)
        self.allotment.origin(self, Health.WELL)
        self.allotment.settled.set()

    def hear(self, member: str, **changes: Any) -> None:
        fields: dict[str, Any] = {"port": 1, "cursor": 1, "whole": True}
        status = Status(member=member, **(fields | changes))
        self.members.update(status, (f"10.0.0.{int(member[0])}", 1))

    def may(self, gaps: list[Range] | None = None) -> set[int]:
        """The chunks that may be taken."""
        found = self.allotment.may_take(0, gaps or WHOLE)
        return {start // CONTENT.chunk for start, end in found}

    def be_idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Allotment, "idle", property(lambda _: True))


def _owned(by: str, *members: str) -> set[int]:
    return {place for place in range(100) if owner(members, FILE.sha256, place) == by}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_alone_everything_is_ours(cluster: Cluster) -> None:
    assert cluster.may() == set(range(100))


def test_nothing_is_taken_before_the_members_had_time_to_meet(cluster: Cluster) -> None:
    cluster.allotment.settled.clear()
    assert cluster.may() == set()


def test_everyone_takes_its_own_chunks(cluster: Cluster) -> None:
    cluster.hear(OTHER)
    cluster.hear(THIRD)
    assert cluster.may() == _owned(ME, ME, OTHER, THIRD)
    assert 20 < len(cluster.may()) < 47


def test_what_a_member_has_or_is_bringing_is_left_to_it(cluster: Cluster) -> None:
    chunk = CONTENT.chunk
    cluster.hear(OTHER, files={0: ((0, 30 * chunk),)}, takings=[(0, 30 * chunk, 60 * chunk)])
    mine = _owned(ME, ME, OTHER)
    assert cluster.may() == {place for place in mine if place >= 60}


@pytest.mark.parametrize(
    "changes",
    [{"able": False}, {"skips": frozenset({0})}, {"complete": True}],
    ids=["no origin", "not wanted", "done"],
)
def test_one_that_cannot_or_will_not_owns_nothing(cluster: Cluster, changes: Any) -> None:
    cluster.hear(OTHER, **changes)
    assert cluster.may() == set(range(100))


def test_one_that_gives_nothing_owns_nothing(cluster: Cluster) -> None:
    cluster.hear(OTHER, files={0: ((0, 1),)})
    (other,) = cluster.members.live
    for _ in range(3):
        assert len(cluster.may()) < 100
        cluster.members.served(other, ok=False)
    assert len(cluster.may()) == 100
    cluster.members.served(other, ok=True)
    assert len(cluster.may()) < 100


def test_the_chunks_of_one_that_is_gone_fall_to_the_others(cluster: Cluster) -> None:
    cluster.hear(OTHER)
    cluster.hear(THIRD)
    cluster.members.gone(OTHER)
    assert cluster.may() == _owned(ME, ME, THIRD)


def test_without_an_origin_of_ours_nothing_is_ours(cluster: Cluster) -> None:
    cluster.hear(OTHER)
    cluster.allotment.origin(cluster, Health.AILING)
    assert not cluster.allotment.able
    assert cluster.may() == set()
    cluster.allotment.origin(cluster, Health.WELL)
    assert cluster.may() == _owned(ME, ME, OTHER)


def test_who_is_idle_takes_its_share_of_what_nobody_has_begun(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.hear(OTHER)
    cluster.hear(THIRD, idle=True)
    mine = _owned(ME, ME, OTHER, THIRD)
    theirs = [
        (place * CONTENT.chunk, (place + 1) * CONTENT.chunk)
        for place in range(100)
        if place not in mine
    ]
    assert cluster.may(theirs) == set()
    cluster.be_idle(monkeypatch)
    assert cluster.may(theirs) == _owned(ME, ME, THIRD) - mine


def test_an_overdue_range_is_raced_within_a_bound(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.hear(OTHER, takings=[(0, 0, SIZE)])
    cluster.be_idle(monkeypatch)
    assert cluster.allotment.may_take(0, WHOLE) == []
    monkeypatch.setattr(allotment_module, "_OVERDUE", -1.0)
    # A twentieth of the payload, divided by two members, is 10 MiB.
    assert cluster.allotment.may_take(0, WHOLE) == []
    gap = [(SIZE - 8 * MIB, SIZE)]
    assert cluster.allotment.may_take(0, gap) == [(SIZE - 4 * MIB, SIZE)]
    cluster.allotment.begin(0, SIZE - 4 * MIB, SIZE)
    cluster.allotment.begin(0, 0, 14 * MIB)
    assert cluster.allotment.may_take(0, gap) == []


def test_a_file_in_doubt_is_taken_from_the_origin_alone(cluster: Cluster) -> None:
    cluster.hear(OTHER, files={0: ((0, SIZE),)})
    assert cluster.may() == set()
    cluster.allotment.doubt(0)
    assert cluster.allotment.may_take(0, WHOLE) == WHOLE


def test_where_nothing_moves_everything_may_be_taken(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.hear(OTHER, files={0: ((0, SIZE),)})
    cluster.allotment._settings = settings(stuck=-1.0)
    # Its word is not taken for it: everything is, and the third time for good.
    for _ in range(3):
        cluster.allotment.moving()
        assert cluster.allotment.may_take(0, WHOLE) == WHOLE
    cluster.allotment._settings = settings(stuck=1000.0)
    assert cluster.allotment.may_take(0, WHOLE) == WHOLE


def test_bytes_that_come_slowly_are_no_standstill(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.hear(OTHER, files={0: ((0, SIZE),)})
    coming = Moving(start=0, offset=0, end=CONTENT.chunk)
    with cluster.shelf.taking(0, coming):
        cluster.allotment.may_take(0, WHOLE)
        seen = cluster.shelf.moved
        assert cluster.shelf.moved == seen
        coming.offset += 1
        assert cluster.shelf.moved > seen


def test_there_is_hope_while_an_origin_may_get_well(cluster: Cluster) -> None:
    cluster.allotment._settings = settings(stuck=-1.0)
    assert not cluster.allotment.hopeless
    cluster.allotment.origin(cluster, Health.AILING)
    assert not cluster.allotment.hopeless
    cluster.allotment.origin(cluster, Health.LOST)
    assert cluster.allotment.hopeless
