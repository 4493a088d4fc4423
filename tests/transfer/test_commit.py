"""Names are given to synced files only, in batches, and an error of the disk is not swallowed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.transfer.commit import Committer, Finished
from grokdist.transfer.part import Part
from grokdist.transfer.tree import ModelTree, StatMark
from tests.transfer.models import content, entry_of


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


class Told:
    """What the committer said."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.said: list[tuple[str, str]] = []
        self.marks: dict[str, StatMark] = {}
        self.unbatched: set[str] = set()

    def batch(self) -> None:
        self.unbatched.clear()

    def finished(self, part: Part) -> Finished:
        path = part.entry.path

        def done(mark: StatMark) -> None:
            self.said.append((path, "done"))
            self.marks[path] = mark
            self.unbatched.add(path)

        return Finished(part=part, named=lambda: self.said.append((path, "named")), done=done)


def _part(tree: ModelTree, path: str, size: int = 100) -> Part:
    data = content(path, size)
    part = Part(tree, entry_of(path, data))
    segment = part.claim(0, size, "hub")
    segment.append(data)
    part.release(segment)
    part.check()
    return part


def _held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Have syncs wait, so that what comes meanwhile is one batch: the first has begun, go on."""
    begun, go, sync = threading.Event(), threading.Event(), os.fsync

    def slow(fd: int) -> None:
        begun.set()
        go.wait(30)
        sync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    return begun, go


@pytest.mark.parametrize("count", [1, 7, 30])
def test_files_get_their_names_and_marks(tree: ModelTree, tmp_path: Path, count: int) -> None:
    told = Told()
    committer = Committer(tree, told.errors.append, on_batch=told.batch)
    paths = [f"folder-{place % 3}/f{place}" for place in range(count)]
    for path in paths:
        committer.submit(told.finished(_part(tree, path)))
    committer.close()
    assert told.errors == []
    assert sorted(told.said) == sorted(
        [(path, what) for path in paths for what in ("named", "done")]
    )
    assert not told.unbatched
    for path in paths:
        assert (tmp_path / path).read_bytes() == content(path, 100)
        assert told.marks[path] == StatMark.of((tmp_path / path).stat())
        assert told.said.index((path, "named")) < told.said.index((path, "done"))
    assert not [each for each in (tmp_path / ".grokdist/parts").rglob("*") if each.is_file()]


@pytest.mark.parametrize("count", [3, 20])
def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(
    tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_sync(fd: int) -> None:
        where = Path(f"/proc/self/fd/{fd}").readlink()
        events.append(f"sync {where.relative_to(tmp_path.resolve())}")
        fsync(fd)

    def noted_rename(old: str, new: str, **handles: int) -> None:
        events.append(f"rename {new}")
        rename(old, new, **handles)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the names of open files")
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    begun, go = _held(monkeypatch)
    told = Told()
    committer = Committer(tree, told.errors.append, on_batch=told.batch)
    committer.submit(told.finished(_part(tree, "first")))
    assert begun.wait(30)
    for place in range(count):
        committer.submit(told.finished(_part(tree, f"d/f{place}")))
    go.set()
    committer.close()
    assert told.errors == []
    assert events[0] == "sync .grokdist/parts/first.part"
    for place in range(count):
        named = events.index(f"rename f{place}")
        before, after = events[:named], events[named:]
        assert f"sync .grokdist/parts/d/f{place}.part" in before
        assert "sync d" in after
        assert "sync .grokdist/parts/d" in after
    assert events.count("sync d") == 1


def test_an_error_of_the_disk_ends_it_and_gives_no_name(
    tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    committer = Committer(tree, told.errors.append, on_batch=told.batch)
    part = _part(tree, "f")

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    committer.submit(told.finished(part))
    committer.close()
    assert [str(error) for error in told.errors] == ["[Errno 5] Input/output error"]
    assert told.said == []
    assert not (tmp_path / "f").exists()
    part.close()


def test_closing_without_work_ends_the_thread(tree: ModelTree) -> None:
    committer = Committer(tree, lambda _: None, on_batch=lambda: None)
    committer.close()
    assert "grokdist-commit" not in {each.name for each in threading.enumerate()}
