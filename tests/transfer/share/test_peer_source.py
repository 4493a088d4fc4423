"""The members as one source: what it picks, and that their silence is no failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.transfer.part import Part
from grokdist.transfer.share.peer_source import PeerSource
from grokdist.transfer.share.session import ShareSession
from grokdist.transfer.share.status import Status, parse_status
from grokdist.transfer.stop import Stop
from grokdist.transfer.tree import ModelTree
from tests.transfer.models import content, entry_of, manifest_of
from tests.transfer.share.machines import MIB, Machine, payload, settings

ENTRY = entry_of("big", content("big", 6 * MIB))
OTHER = "22" * 16


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ShareSession]:
    with ShareSession(manifest_of([ENTRY]), tmp_path, settings()) as made:
        yield made


def _source(session: ShareSession) -> PeerSource:
    (source,) = session.wrap([])
    assert isinstance(source, PeerSource)
    return source


def _hear(session: ShareSession, *ranges: tuple[int, int]) -> None:
    status = Status(member=OTHER, port=1, cursor=1, whole=True, files={0: ranges})
    session.members.update(status, ("127.0.0.1", 1))


def test_it_picks_what_members_have(session: ShareSession) -> None:
    source, missing = _source(session), [(0, ENTRY.size)]
    assert source.pick(ENTRY, missing) is None
    _hear(session, (MIB, 3 * MIB + 5))
    assert source.pick(ENTRY, missing) == (MIB, 3 * MIB + 5)
    assert source.pick(ENTRY, [(0, MIB)]) is None
    assert source.pick(ENTRY, [(2 * MIB, 2 * MIB + 3)]) == (2 * MIB, 2 * MIB + 3)
    assert source.peers == 1


def test_crumbs_are_left_until_there_is_more(session: ShareSession) -> None:
    source, missing = _source(session), [(0, ENTRY.size)]
    _hear(session, (0, 1000))
    assert source.pick(ENTRY, missing) is None
    _hear(session, (MIB - 1000, MIB))
    assert source.pick(ENTRY, missing) == (MIB - 1000, MIB)
    _hear(session, (ENTRY.size - 10, ENTRY.size))
    assert source.pick(ENTRY, missing) == (ENTRY.size - 10, ENTRY.size)


def test_what_nobody_has_any_more_is_given_back(session: ShareSession, tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = Part(tree, ENTRY)
        segment = part.claim(0, MIB, "share")
        _source(session).fetch(ENTRY, segment, Stop())
        assert (segment.offset, segment.remaining) == (0, 0)
        part.release(segment)
        assert part.gaps() == [(0, ENTRY.size)]
        part.close()


def test_a_machine_says_which_files_it_does_not_want(tmp_path: Path) -> None:
    machine = Machine(tmp_path, payload(), include=("LICENSE.txt",))
    with machine.session as session:
        machine.listen()
        status = parse_status(session._describe(0, 0.0, "127.0.0.1"), session.content)
        assert status.skips == frozenset(range(len(session.content.files))) - {
            session.content.by_path["LICENSE.txt"]
        }
        again = session._describe(status.cursor, 0.0, "127.0.0.1")
        assert parse_status(again, session.content).skips is None
