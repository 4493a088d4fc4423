"""Trees are built by a child that harms nobody: slow, killed, orphaned or without a chance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.tree_builder import TreeBuilder
from grokdist.transfer.tree_worker import BuildFailedError, ParentGoneError, build
from grokdist.transfer.trees import SPAN, load_tree, tree_path
from grokdist.trust.merkle import hash_blocks, root
from grokdist.trust.sha256_of_many import use
from tests.transfer.models import small_files
from tests.trust.many import sha256_of_many

FILES = small_files()
BIG = "ckpt-0/tensor00002_000"
HUGE = 1 << 38
"""Bytes of a sparse file that no test waits for."""


@pytest.fixture
def model(tmp_path: Path) -> Iterator[ModelTree]:
    for path, data in FILES.items():
        (tmp_path / "m" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / path).write_bytes(data)
    with ModelTree(tmp_path / "m") as tree:
        yield tree


def _mark(tree: ModelTree, path: str) -> StatMark:
    status = tree.stat(path)
    assert status is not None
    return StatMark.of(status)


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _tree_files(tree: ModelTree) -> list[str]:
    return sorted(path.name for path in tree.path(".grokdist").rglob("*") if path.is_file())


def _huge(tree: ModelTree) -> None:
    with tree.path("huge").open("wb") as stream:
        stream.truncate(HUGE)


def _begun(tree: ModelTree) -> Callable[[], bool]:
    return lambda: tree.path(tree_path("huge") + ".new").exists()


def test_every_file_gets_its_tree(model: ModelTree) -> None:
    roots: dict[str, str] = {}
    told: list[tuple[int, int]] = []
    builder = TreeBuilder(model, on_done=roots.__setitem__)
    for path, data in FILES.items():
        builder.add(path, len(data), _mark(model, path))
    assert builder.wait(threading.Event(), lambda done, files: told.append((done, files)))
    builder.close()
    assert roots == {path: root(hash_blocks(data)).hex() for path, data in FILES.items() if data}
    assert told[-1] == builder.state == (6, 6)
    assert (builder.trouble, builder.failures) == (None, {})
    for path, known in roots.items():
        assert load_tree(model, path, len(FILES[path]), known) is not None


def test_the_child_hashes_with_what_its_parent_hashes_with(model: ModelTree) -> None:
    roots: dict[str, str] = {}
    builder = TreeBuilder(model, on_done=roots.__setitem__)
    library = sha256_of_many()
    use(library)
    try:
        builder.add(BIG, len(FILES[BIG]))
        assert builder.wait(threading.Event())
        assert builder._child is not None
        mapped = Path(f"/proc/{builder._child.pid}/maps").read_text()
    finally:
        use(None)
        builder.close()
    assert str(library.path) in mapped
    assert roots == {BIG: root(hash_blocks(FILES[BIG])).hex()}


def test_nothing_to_build_starts_nothing(model: ModelTree) -> None:
    builder = TreeBuilder(model, on_done=lambda path, root: None, python="/nowhere")
    builder.add("empty", 0)
    assert builder.wait(threading.Event())
    builder.close()
    builder.close()
    assert builder.trouble is None


def test_without_a_child_there_are_no_trees(model: ModelTree) -> None:
    builder = TreeBuilder(model, on_done=lambda path, root: None, python="/nowhere/python")
    builder.add(BIG, len(FILES[BIG]))
    builder.add("tokenizer.model", 2_229)
    assert not builder.wait(threading.Event())
    assert "does not start" in (builder.trouble or "")
    builder.close()
    assert not model.path(".grokdist").exists()


def test_a_child_that_cannot_run_is_trouble_and_no_wait(model: ModelTree) -> None:
    builder = TreeBuilder(model, on_done=lambda path, root: None, python="/bin/false")
    builder.add(BIG, len(FILES[BIG]))
    assert not builder.wait(threading.Event())
    assert "ended" in (builder.trouble or "")
    builder.close()


def test_files_that_are_not_what_was_hashed_get_no_tree(model: ModelTree) -> None:
    marks = {path: _mark(model, path) for path in FILES}
    model.path("tokenizer.model").write_bytes(b"x" * 2_229)
    model.path("LICENSE.txt").unlink()
    model.path("ckpt-0/tensor00001_000").unlink()
    model.path("ckpt-0/tensor00001_000").symlink_to("tensor00000_000")
    builder = TreeBuilder(model, on_done=lambda path, root: None)
    for path in ("tokenizer.model", "LICENSE.txt", "ckpt-0/tensor00001_000", BIG):
        builder.add(path, len(FILES[path]), marks[path])
    builder.add("ckpt-0/tensor00003_000", 65_535)
    assert not builder.wait(threading.Event())
    builder.close()
    reasons = builder.failures
    assert "not the file that was hashed" in reasons["tokenizer.model"]
    assert "No such file" in reasons["LICENSE.txt"]
    assert "link" in reasons["ckpt-0/tensor00001_000"]
    assert "not the file" in reasons["ckpt-0/tensor00003_000"]
    assert BIG not in reasons
    assert _tree_files(model) == ["tensor00002_000.tree"]


def test_a_hard_link_made_since_is_no_change(model: ModelTree) -> None:
    mark = _mark(model, BIG)
    model.path("link").hardlink_to(model.path(BIG))
    assert _mark(model, BIG) != mark
    builder = TreeBuilder(model, on_done=lambda path, root: None)
    builder.add(BIG, len(FILES[BIG]), mark)
    assert builder.wait(threading.Event())
    builder.close()


def test_a_listener_that_fails_does_not_hold_up_the_others(model: ModelTree) -> None:
    def refuse(path: str, root: str) -> None:
        if path == BIG:
            raise OSError("no room")

    builder = TreeBuilder(model, on_done=refuse)
    builder.add(BIG, len(FILES[BIG]))
    builder.add("LICENSE.txt", 1)
    assert not builder.wait(threading.Event())
    builder.close()
    assert builder.failures == {BIG: "its root could not be kept: no room"}


def test_a_stop_ends_the_wait_and_closing_ends_the_child(model: ModelTree) -> None:
    _huge(model)
    builder = TreeBuilder(model, on_done=lambda path, root: None)
    builder.add("huge", HUGE)
    _until(_begun(model))
    stop = threading.Event()
    stop.set()
    assert not builder.wait(stop)
    builder.close()
    assert _tree_files(model) == []
    builder.add(BIG, len(FILES[BIG]))
    assert not model.path(tree_path(BIG)).exists()


def test_a_killed_child_leaves_nothing_half(model: ModelTree) -> None:
    _huge(model)
    builder = TreeBuilder(model, on_done=lambda path, root: None)
    builder.add("huge", HUGE)
    _until(_begun(model))
    child = builder._child
    assert child is not None
    child.kill()
    assert not builder.wait(threading.Event())
    assert "ended" in (builder.trouble or "")
    builder.close()
    assert not model.path(tree_path("huge")).exists()
    # What it left is in nobody's way.
    model.path("huge").write_bytes(b"small")
    again = TreeBuilder(model, on_done=lambda path, root: None)
    again.add("huge", 5)
    assert again.wait(threading.Event())
    again.close()
    assert _tree_files(model) == ["huge.tree"]


_PARENT = """
import sys, time
from pathlib import Path
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_builder import TreeBuilder
tree = ModelTree(Path(sys.argv[1]))
builder = TreeBuilder(tree, on_done=print)
builder.add("huge", int(sys.argv[2]))
print(builder._child.pid, flush=True)
time.sleep(60)
"""


def test_the_child_dies_with_its_parent(model: ModelTree, repository: Path) -> None:
    _huge(model)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(model.directory), str(HUGE)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        _until(_begun(model))
        parent.send_signal(signal.SIGKILL)
    _until(lambda: not _begun(model)())

    def gone() -> bool:
        try:
            # An orphan that ended may wait for its new parent to notice.
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    _until(gone)


def test_the_child_runs_no_code_from_the_model_or_the_environment(
    model: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = model.path("grokdist")
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger ran')")
    model.path("hashlib.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(model.directory)
    monkeypatch.setenv("PYTHONPATH", str(model.directory))
    builder = TreeBuilder(model, on_done=lambda path, root: None)
    builder.add(BIG, len(FILES[BIG]))
    assert builder.wait(threading.Event())
    builder.close()


def test_a_file_that_changes_meanwhile_gets_no_tree(model: ModelTree) -> None:
    path = model.path("growing")
    path.write_bytes(bytes(3 * SPAN))

    def meddle(change: Callable[[], object]) -> Callable[[], bool]:
        turns = iter([False, True])

        def gone() -> bool:
            if next(turns, False):
                change()
            return False

        return gone

    def rewrite() -> None:
        with path.open("r+b") as stream:
            stream.write(b"x")

    with pytest.raises(BuildFailedError, match="changed while"):
        build(model, "growing", 3 * SPAN, None, meddle(rewrite))
    with pytest.raises(BuildFailedError, match="cut short"):
        build(model, "growing", 3 * SPAN, None, meddle(lambda: os.truncate(path, SPAN)))
    path.write_bytes(bytes(3 * SPAN))
    with pytest.raises(ParentGoneError):
        build(model, "growing", 3 * SPAN, None, lambda: True)
    assert _tree_files(model) == []
