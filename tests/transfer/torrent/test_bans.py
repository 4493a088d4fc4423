"""Bans: for a week, so many and no more, and never by what somebody wrote into the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grokdist.transfer.sources.torrent_bans import BANNED_FOR_S, BANS, MAX_BANS, Bans


def test_remembered_until_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / ".grokdist").mkdir()
    now = [1_000_000.0]
    first = Bans(tmp_path, clock=lambda: now[0])
    first.add(("192.0.2.1", 6881))
    first.add(("2001:db8::1", 1))
    again = Bans(tmp_path, clock=lambda: now[0])
    assert again.peers == (("192.0.2.1", 6881), ("2001:db8::1", 1))
    assert again.filter().access("192.0.2.1") == 1
    assert again.filter().access("2001:db8::1") == 1
    assert again.filter().access("192.0.2.2") == 0
    now[0] += BANNED_FOR_S + 1
    assert Bans(tmp_path, clock=lambda: now[0]).peers == ()


def test_bounded(tmp_path: Path) -> None:
    (tmp_path / ".grokdist").mkdir()
    rows = [["192.0.2.1", port, 10.0] for port in range(1, MAX_BANS + 500)]
    (tmp_path / BANS).write_text(json.dumps(rows))
    bans = Bans(tmp_path, clock=lambda: 0.0)
    assert len(bans.peers) == MAX_BANS
    bans.add(("192.0.2.2", 1))
    assert len(bans.peers) == MAX_BANS
    assert ("192.0.2.2", 1) in Bans(tmp_path, clock=lambda: 0.0).peers


def test_peers_of_this_machine_are_told_apart_by_port(tmp_path: Path) -> None:
    bans = Bans(tmp_path)
    bans.add(("127.0.0.1", 5))
    assert bans.filter().access("127.0.0.1") == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 100_000,
        b"[[]]",
        b'[["192.0.2.1", 5]]',
        b'[["192.0.2.1", 5, "never"]]',
        b'[["192.0.2.1", 5, 1e300]]',
        b'[["192.0.2.1", 0, 5]]',
        b'[["example.org", 5, 5]]',
        b"\xff",
        b" " * (2 << 20),
    ],
)
def test_what_is_not_well_formed_is_no_ban(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ".grokdist").mkdir()
    (tmp_path / BANS).write_bytes(data)
    assert Bans(tmp_path, clock=lambda: 0.0).peers == ()
