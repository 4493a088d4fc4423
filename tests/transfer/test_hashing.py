"""Many tasks at once: in order, ended early, and no error swallowed; a file that is at rest."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from grokdist.transfer import front_to_back
from grokdist.transfer.hashing import (
    Task,
    Worker,
    check_file,
    check_files,
    cores,
    default_jobs,
    in_parallel,
)
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.trees import SPAN, load_tree
from grokdist.trust.merkle import hash_blocks, root
from tests.transfer.models import content, entry_of


def _giving(value: int) -> Task[int]:
    return lambda worker: value


@pytest.mark.parametrize("jobs", [0, 1, 3])
@pytest.mark.parametrize("number", [0, 1, 50])
def test_every_task_gives_its_result_once(number: int, jobs: int) -> None:
    tasks = [_giving(value) for value in range(number)]
    assert sorted(in_parallel(tasks, jobs=jobs)) == list(range(number))


def test_one_thread_works_in_order() -> None:
    assert list(in_parallel([_giving(value) for value in range(20)], jobs=1)) == list(range(20))


def test_the_first_error_ends_all_and_is_raised() -> None:
    stopped = threading.Event()

    def fail(worker: Worker) -> int:
        raise OSError("broken")

    def linger(worker: Worker) -> int:
        assert worker.stop.wait(20)
        stopped.set()
        return 1

    with pytest.raises(OSError, match="broken"):
        list(in_parallel([linger, fail, _giving(2)], jobs=2))
    assert stopped.is_set()


def test_closing_stops_the_threads_and_waits_for_them() -> None:
    def linger(worker: Worker) -> int:
        worker.stop.wait(20)
        return 1

    before = threading.active_count()
    results = in_parallel([_giving(0), linger, linger], jobs=2)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_jobs_follow_the_cores_that_may_be_used() -> None:
    assert cores() <= default_jobs() <= 2 * cores()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(content("f", 3 * SPAN + 5))
    return tmp_path


ENTRY = entry_of("f", content("f", 3 * SPAN + 5))


def test_hashing_is_told_as_it_goes_on_and_can_be_stopped(model: Path) -> None:
    stop = threading.Event()
    counts: list[int] = []

    def count(path: str, number: int) -> None:
        counts.append(number)
        if len(counts) == 2:
            stop.set()

    with ModelTree(model) as tree, pytest.raises(HashingStoppedError, match="f was interrupted"):
        check_file(tree, ENTRY, stop=stop, on_bytes=count)
    assert counts == [SPAN, SPAN]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: os.truncate(path, SPAN),
        lambda path: path.write_bytes(bytes(4 * SPAN)),
        lambda path: path.unlink(),
        lambda path: path.rename(path.with_name("moved")),
        lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")),
    ],
)
def test_a_file_that_is_not_at_rest_is_not_right(
    model: Path, meddle: Callable[[Path], object]
) -> None:
    once = iter([meddle])

    def on_bytes(path: str, number: int) -> None:
        for each in once:
            each(model / "f")

    with ModelTree(model) as tree:
        found = check_file(tree, ENTRY, stop=threading.Event(), on_bytes=on_bytes, keep_tree=True)
    assert found is not None
    assert (found.expected, found.got) == ("a file at rest", "one changed while read")
    assert not list(model.rglob("*.tree*"))


def test_a_file_that_cannot_be_read_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails, which cannot be had here, in the place of the one call that reads."""

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(front_to_back, "read_full", fail)
    with ModelTree(model) as tree:
        ((_, found),) = check_files(tree, [ENTRY], jobs=1, on_bytes=lambda path, count: None)
    assert found is not None
    assert (found.expected, found.got) == ("a readable file", "Input/output error")


def test_a_tree_is_kept_beside_the_digest(model: Path) -> None:
    with ModelTree(model) as tree:
        ((_, found),) = check_files(
            tree, [ENTRY], jobs=1, on_bytes=lambda path, count: None, keep_trees=True
        )
        assert found is not None
        assert found.ok
        assert found.pieces_root == root(hash_blocks(content("f", 3 * SPAN + 5))).hex()
        assert load_tree(tree, "f", ENTRY.size, found.pieces_root) is not None
