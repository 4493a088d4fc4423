"""Nothing inside a model directory leads a write or a read out of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from grokdist.errors import StoreError, UnsafePathError
from grokdist.transfer.tree import ModelTree, split

WRITE = os.O_WRONLY | os.O_CREAT


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a\0b"])
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        split(path)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is not a directory"):
        ModelTree(tmp_path / "file")
    with pytest.raises(StoreError, match="is not a directory"):
        ModelTree.create(tmp_path / "file")
    with pytest.raises(StoreError, match="is not a directory"):
        ModelTree.create(tmp_path / "file" / "below")


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    (inside / "new").symlink_to(outside / "new")
    with ModelTree(inside) as tree:
        for path in ("folder/secret", "folder/new", "file", "new"):
            with pytest.raises(UnsafePathError):
                tree.open(path, WRITE, create_folders=True)
        for path in ("folder/secret", "file"):
            with pytest.raises(UnsafePathError):
                tree.open(path, os.O_RDONLY)
        with pytest.raises(UnsafePathError):
            tree.write_small("folder/new", b"x")
        tree.write_small("new", b"x")
        tree.write_small("other", b"x")
        with pytest.raises(UnsafePathError):
            tree.rename("other", "folder/new")
        tree.remove("file")
    assert sorted(each.name for each in outside.iterdir()) == ["secret"]
    assert (inside / "new").read_bytes() == b"x"
    assert not (inside / "new").is_symlink()


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with ModelTree(tmp_path) as tree:
        for path in ("pipe", "folder"):
            for flags in (os.O_RDONLY, WRITE):
                with pytest.raises(UnsafePathError, match="expected a regular file"):
                    tree.open(path, flags)


def test_small_files_are_replaced_in_one_step_and_bounded(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        assert tree.read_small("a/b", 10) is None
        tree.write_small("a/b", b"one")
        tree.write_small("a/b", b"three")
        assert tree.read_small("a/b", 5) == b"three"
        with pytest.raises(StoreError, match="at most 4 bytes"):
            tree.read_small("a/b", 4)
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["b"]


def test_a_rename_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    with ModelTree(tmp_path) as tree, pytest.raises(UnsafePathError):
        tree.rename("file", "folder")


def test_walk_reports_links_and_leaves_out_own_state(tmp_path: Path) -> None:
    (tmp_path / ".grokdist").mkdir()
    (tmp_path / ".grokdist" / "lock").write_text("")
    (tmp_path / "b" / ".grokdist").mkdir(parents=True)
    (tmp_path / "b" / ".grokdist" / "x").write_text("")
    (tmp_path / "a").write_text("")
    (tmp_path / "link").symlink_to("/")
    with ModelTree(tmp_path) as tree:
        assert [path for path, _ in tree.walk()] == ["a", "link", "b/.grokdist/x"]


def test_a_link_in_the_place_of_own_state_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".grokdist").symlink_to("/")
    with ModelTree(tmp_path) as tree:
        assert [path for path, _ in tree.walk()] == [".grokdist"]


def test_a_small_file_that_cannot_be_written_leaves_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ModelTree(tmp_path) as tree:
        tree.write_small("a", b"old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            tree.write_small("a", b"new")
    assert caught.value.filename == str(tmp_path / "a")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
