"""Which pieces of a torrent are wanted, as libtorrent is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libtorrent as lt
import pytest

from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_metainfo import TorrentFile
from grokdist.transfer.sources.torrent_session import end_session, open_session
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.sources.torrent_swarm import Swarm
from grokdist.transfer.torrent_create import TorrentVersion
from tests.transfer.torrent.swarms import PIECE, make_model

# Both files lie in the third piece.
SIZES = {"a": 2 * PIECE + 100, "b": 3 * PIECE}
A, B = {0, 1, 2}, {2, 3, 4, 5}


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    """A swarm of nobody else."""
    made = make_model(tmp_path / "source", SIZES).torrent(TorrentVersion.V1)
    path = tmp_path / "model.torrent"
    path.write_bytes(made.data)
    invitation = Invitation(path)
    files = invitation.files
    assert files is not None
    (tmp_path / "swarm").mkdir()
    session = open_session(SwarmSettings.on_loopback())
    pump = AlertPump(session)
    params = invitation.join(files, [])
    try:
        swarm = Swarm(session, pump, files, params, tmp_path / "swarm", files.files)
        try:
            yield swarm
        finally:
            swarm.close()
    finally:
        pump.close()
        end_session(session)


def _file(swarm: Swarm, path: str) -> TorrentFile:
    return next(file for file in swarm._files.files if file.path == path)


def _wanted(swarm: Swarm) -> set[int]:
    priorities = swarm._handle.get_piece_priorities()
    return {piece for piece, priority in enumerate(priorities) if priority}


def test_a_piece_that_two_files_share_is_wanted_until_neither_does(swarm: Swarm) -> None:
    a, b = _file(swarm, "a"), _file(swarm, "b")
    assert _wanted(swarm) == set()
    swarm.want(a, 0, a.size)
    assert _wanted(swarm) == A
    swarm.want(b, 0, b.size)
    assert _wanted(swarm) == A | B
    swarm.leave(a)
    assert _wanted(swarm) == B
    swarm.want(b, PIECE, b.size)
    assert _wanted(swarm) == {3, 4, 5}
    swarm.leave(b)
    assert _wanted(swarm) == set()
    swarm.want(a, 0, a.size)
    assert _wanted(swarm) == A


def test_libtorrent_is_told_of_nothing_that_is_here(swarm: Swarm) -> None:
    a = _file(swarm, "a")
    told: list[list[tuple[int, int]]] = []

    class Handle:
        """Notes what is said."""

        def prioritize_pieces(self, pieces: list[tuple[int, int]]) -> None:
            told.append(pieces)

    handle, swarm._handle = swarm._handle, Handle()
    try:
        swarm._have[1] = 1
        swarm.want(a, 0, a.size)
        swarm.want(a, 0, a.size)
        swarm._have[0] = swarm._have[2] = 1
        swarm.leave(a)
    finally:
        swarm._handle = handle
    assert told == [[(0, 4), (2, 4)]]


def test_a_halted_swarm_writes_no_more(swarm: Swarm) -> None:
    swarm.want(_file(swarm, "a"), 0, PIECE)
    swarm.halt()
    assert swarm._handle.flags() & lt.torrent_flags.paused
