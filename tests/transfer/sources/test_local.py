"""Folders of this machine as sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, NoSourceError, UsageError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.local import LocalSource, bundled
from tests.transfer.models import HASTY, assert_complete, content, plan_for

FILES = {"a": content("a", 3_000_000), "folder/b": b"b"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy" / "folder").mkdir(parents=True)
    for path, data in FILES.items():
        (tmp_path / "copy" / path).write_bytes(data)
    return tmp_path / "copy"


def test_a_folder_is_copied_and_checked(copy: Path, tmp_path: Path) -> None:
    result = fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)
    assert result.sources == {f"local:{copy}": 3_000_001}
    assert_complete(tmp_path / "m", FILES)


def test_a_part_is_continued(copy: Path, tmp_path: Path) -> None:
    parts = tmp_path / "m/.grokdist/parts"
    parts.mkdir(parents=True)
    (parts / "a.part").write_bytes(FILES["a"][:1_234_567])
    result = fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)
    assert result.fetched_bytes == 3_000_001 - 1_234_567
    assert_complete(tmp_path / "m", FILES)


def test_wrong_bytes_and_wrong_lengths_are_mismatches(copy: Path, tmp_path: Path) -> None:
    (copy / "folder/b").write_bytes(b"c")
    with pytest.raises(DigestMismatchError, match="folder/b"):
        fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)
    (copy / "folder/b").write_bytes(b"cc")
    with pytest.raises(DigestMismatchError, match="got 2 bytes"):
        fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "folder"])
def test_only_regular_files_inside_the_folder_are_read(
    copy: Path, tmp_path: Path, kind: str
) -> None:
    place = copy / "folder/b"
    place.unlink()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b").write_bytes(b"b")
    if kind == "link":
        place.symlink_to(tmp_path / "outside" / "b")
    elif kind == "folder link":
        place.parent.rmdir()
        place.parent.symlink_to(tmp_path / "outside")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(NoSourceError):
        fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)
    assert (tmp_path / "m" / "a").read_bytes() == FILES["a"]


def test_a_folder_that_is_not_there_offers_nothing(tmp_path: Path) -> None:
    plan = plan_for(FILES, tmp_path / "m", LocalSource(tmp_path / "nowhere"))
    assert plan.sourceless == ("a", "folder/b")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", ".hidden"])
def test_bundled_folders_have_plain_names(name: str) -> None:
    with pytest.raises(UsageError):
        bundled(name)
