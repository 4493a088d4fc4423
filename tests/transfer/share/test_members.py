"""What is known of the others, and whom to ask."""

from __future__ import annotations

from typing import Any

import pytest

from grokdist.transfer.share import members as members_module
from grokdist.transfer.share.members import Members, Taking
from grokdist.transfer.share.status import Status

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


def _status(member: str, **changes: Any) -> Status:
    fields: dict[str, Any] = {"port": 1, "cursor": 1, "whole": True}
    return Status(member=member, **(fields | changes))


@pytest.fixture
def members() -> Members:
    made = Members("ff" * 16, lambda _: None)
    made.update(_status(A, files={0: ((0, 10),), 1: ((0, 5),)}), ("10.0.0.1", 1))
    made.update(_status(B, files={0: ((5, 30),)}, uploads=4), ("10.0.0.2", 1))
    return made


def test_what_any_member_has(members: Members) -> None:
    assert members.held(0) == [(0, 30)]
    assert members.held(1) == [(0, 5)]
    assert members.held(2) == []
    assert members.offered(0, frozenset({A})) == [(5, 30)]


def test_news_add_to_what_was_said_and_a_whole_list_replaces_it(members: Members) -> None:
    members.update(_status(A, whole=False, files={1: ((0, 9),)}), ("10.0.0.1", 1))
    assert (members.held(0), members.held(1)) == ([(0, 30)], [(0, 9)])
    members.update(_status(A, files={1: ((0, 3),)}), ("10.0.0.1", 1))
    assert (members.held(0), members.held(1)) == ([(5, 30)], [(0, 3)])


def test_the_one_with_least_to_do_is_asked(members: Members) -> None:
    first = members.choose(0, 6, 30)
    assert first is not None
    assert (first[0].id, first[1]) == (A, 10)
    assert [members.choose(0, 6, 30) for _ in range(3)][-1] is not None
    # A has four requests of ours now, as many as B says it serves: B reaches further.
    chosen = members.choose(0, 6, 30)
    assert chosen is not None
    assert (chosen[0].id, chosen[1]) == (B, 30)
    assert members.choose(0, 30, 40) is None
    assert members.choose(0, 0, 5, frozenset({A})) is None


def test_one_that_fails_is_left_alone_for_a_while(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = members.choose(1, 0, 5)
    assert chosen is not None
    members.served(chosen[0], ok=False)
    assert members.choose(1, 0, 5) is None
    assert members.offered(1, frozenset()) == []
    # What it has is still counted on, until it has failed some times.
    assert members.held(1) == [(0, 5)]
    monkeypatch.setattr(members_module, "_SHUN", 0.0)
    for _ in range(2):
        members.served(chosen[0], ok=True)
        members.served(chosen[0], ok=False)
    assert members.choose(1, 0, 5) is not None


def test_one_that_is_gone_counts_no_more_until_it_comes_back(members: Members) -> None:
    epoch = members.epoch
    members.gone(A)
    assert (members.held(1), len(members.live)) == ([], 1)
    assert members.epoch > epoch
    members.update(_status(A, files={1: ((0, 2),)}), ("10.0.0.1", 1))
    assert members.held(1) == [(0, 2)]


def test_one_that_is_banned_never_comes_back(members: Members) -> None:
    members.ban(A, "lied")
    assert members.banned(("10.0.0.1", 1))
    assert not members.update(_status(A, files={1: ((0, 2),)}), ("10.0.0.9", 1))
    assert not members.update(_status(C, files={1: ((0, 2),)}), ("10.0.0.1", 1))
    assert members.held(1) == []


def test_one_member_is_asked_at_one_address(members: Members) -> None:
    assert not members.update(_status(A), ("192.168.0.1", 1))
    members.gone(A)
    assert members.update(_status(A), ("192.168.0.1", 1))


def test_what_others_are_taking(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    members.update(_status(A, takings=[(0, 50, 90)]), ("10.0.0.1", 1))
    assert members.taken(0, 60.0) == ([(0, 50, 90)], [])
    members.update(_status(A, takings=[(0, 60, 90)]), ("10.0.0.1", 1))
    assert members.taken(0, 60.0) == ([(0, 60, 90)], [])
    assert members.taken(0, -1.0) == ([], [(0, 60, 90)])
    # What does not move at all counts as not begun.
    monkeypatch.setattr(members_module, "_STILL_S", -1.0)
    assert members.taken(0, 60.0) == ([], [])
    monkeypatch.undo()
    members.gone(A)
    assert members.taken(0, 60.0) == ([], [])


def test_a_taking_is_overdue_when_it_is_old_and_far_from_its_end() -> None:
    assert not Taking(start=0, offset=0, end=100, since=0.0).overdue(3.0, 4.0)
    assert Taking(start=0, offset=0, end=100, since=0.0).overdue(5.0, 4.0)
    assert Taking(start=0, offset=40, end=100, since=0.0).overdue(5.0, 4.0)
    assert not Taking(start=0, offset=60, end=100, since=0.0).overdue(5.0, 4.0)
