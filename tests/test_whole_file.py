"""A file that a person asked for is written whole or not at all, and the dead leave nothing."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from grokdist.errors import StoreError
from grokdist.whole_file import write_whole


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    dead, alive, other = (
        tmp_path / name
        for name in (".report.html.0123abcd.part", ".report.html.4567cdef.part", ".x.part")
    )
    for each in (dead, alive, other):
        each.write_bytes(b"half")
    with alive.open("rb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        write_whole(tmp_path / "report.html", b"whole")
    assert (tmp_path / "report.html").read_bytes() == b"whole"
    assert {each.name for each in tmp_path.iterdir()} == {alive.name, other.name, "report.html"}


def test_a_name_with_signs_of_patterns(tmp_path: Path) -> None:
    (tmp_path / ".[a].0123abcd.part").write_bytes(b"half")
    (tmp_path / ".a.0123abcd.part").write_bytes(b"another's")
    write_whole(tmp_path / "[a]", b"whole")
    assert {each.name for each in tmp_path.iterdir()} == {"[a]", ".a.0123abcd.part"}


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder cannot be written: "):
        write_whole(tmp_path / "folder", b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
