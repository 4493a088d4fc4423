"""Readers of a model directory: any number at once, and none while it is taken away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.errors import StoreError
from grokdist.transfer.lock import exclusive
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.transfer.use import USE, Use, unused, using

_CHILD = """
import sys, time
from pathlib import Path
from grokdist.transfer.use import using
with using(Path(sys.argv[1])):
    print("in use", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    folder = tmp_path / "model"
    (folder / STATE).mkdir(parents=True)
    with ModelTree(folder) as tree:
        yield tree


def test_a_reader_elsewhere_is_named_until_it_is_dead(tree: ModelTree, repository: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tree.directory)],
        cwd=repository,
        env={"PYTHONPATH": f"{repository}:{repository / 'runtime'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in use\n"
        with pytest.raises(StoreError, match=f"is in use by process {child.pid}$"), unused(tree):
            pass
        # Writers do not mind readers: what is open stays what it is.
        with exclusive(tree), using(tree.directory):
            pass
    finally:
        child.kill()
        child.communicate()
    with unused(tree):
        pass


def test_readers_share_and_find_out_about_a_removal(tree: ModelTree) -> None:
    with Use(tree), Use(tree), pytest.raises(StoreError, match="in use by process"), unused(tree):
        pass
    with unused(tree), pytest.raises(StoreError, match="is being removed by another process"):
        Use(tree)
    with Use(tree):
        pass


@pytest.mark.parametrize("again", [False, True])
def test_what_was_taken_away_is_neither_used_nor_written(tree: ModelTree, again: bool) -> None:
    """Who opened it before, and came to its turn after, would fill a folder without a name."""
    with Use(tree):
        pass
    tree.directory.rename(tree.directory.with_name("gone"))
    if again:
        tree.directory.mkdir()
    with pytest.raises(StoreError, match="was removed meanwhile") as caught:
        Use(tree)
    assert caught.value.hint == "run the same command again"
    with pytest.raises(StoreError, match="was removed meanwhile"), exclusive(tree):
        pass


def test_a_folder_that_is_no_model_is_left_as_it_is(tmp_path: Path) -> None:
    with using(tmp_path), ModelTree(tmp_path) as tree, unused(tree):
        assert list(tmp_path.iterdir()) == []


def test_a_lock_file_of_nonsense_names_nobody(tree: ModelTree) -> None:
    with Use(tree):
        for nonsense in (b"", b"\xff", b"99999999999999999999", b"0x1"):
            tree.path(USE).write_bytes(nonsense)
            with pytest.raises(StoreError, match="in use by another process"), unused(tree):
                pass
