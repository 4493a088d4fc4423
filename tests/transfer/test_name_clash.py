"""Names that are one name on some file systems."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.errors import StoreError
from grokdist.transfer.name_clash import refuse_clashes
from grokdist.transfer.tree import ModelTree

COMPOSED = "gewicht-ä"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


@pytest.fixture
def ignoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a volume of macOS or Windows: finds a file by any spelling of its name."""
    exact = ModelTree.stat

    def stat(self: ModelTree, relative: str) -> os.stat_result | None:
        if found := exact(self, relative):
            return found
        folder, _, name = relative.rpartition("/")
        wanted = unicodedata.normalize("NFC", name).casefold()
        for each in self.path(folder).iterdir():
            if unicodedata.normalize("NFC", each.name).casefold() == wanted:
                return each.stat()
        return None

    monkeypatch.setattr(ModelTree, "stat", stat)


PAIRS = [
    ("License", "LICENSE"),
    ("ckpt/a", "CKPT/b"),
    ("x/y/Z", "x/y/z"),
    ("folder", "Folder/file"),
    (COMPOSED, DECOMPOSED),
]


@pytest.mark.usefixtures("ignoring")
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_names_that_are_one_here_are_refused(tree: ModelTree, one: str, other: str) -> None:
    with pytest.raises(StoreError, match="are one name on the file system of"):
        refuse_clashes(tree, ["before", one, "between", other])
    assert list(tree.path(".grokdist").iterdir()) == []


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_file_system_that_tells_them_apart_takes_both(
    tree: ModelTree, tmp_path: Path, one: str, other: str
) -> None:
    (tmp_path / "Probe").touch()
    if (tmp_path / "pROBE").exists():
        pytest.skip("the temporary folder's file system ignores case")
    refuse_clashes(tree, [one, other])


@pytest.mark.usefixtures("ignoring")
def test_names_that_differ_in_more_are_not_even_tried(tree: ModelTree) -> None:
    refuse_clashes(tree, ["a", "b", "folder/a", "folder/b", "other/a", "Other2/a", "folder"])
    assert not tree.path(".grokdist").exists()
