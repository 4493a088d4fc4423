"""Models are found again, by name and by directory."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from grokdist.errors import NotFetchedError, StoreError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.store import Store, open_model
from tests.transfer.models import HASTY, plan_for

FILES = {"a": b"abc", "b": b"def"}
REVISION = "ab" * 20


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    for path, data in FILES.items():
        (tmp_path / "copy" / path).write_bytes(data)
    return tmp_path / "copy"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def _fetch(copy: Path, directory: Path, *include: str) -> None:
    fetch(plan_for(FILES, directory, LocalSource(copy), include=include), patience=HASTY)


def test_the_home_is_of_the_environment_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "elsewhere"))
    store = Store()
    store.prepare()
    assert store.home == tmp_path / "elsewhere"
    assert stat.S_IMODE(store.home.stat().st_mode) == 0o700


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the store"):
        Store(tmp_path / "file").prepare()


def test_a_release_has_a_folder_of_its_own(store: Store) -> None:
    assert store.directory("tiny", REVISION) == store.home / "models/tiny/abababababab"
    for name in ("", "..", "a/b", ".x"):
        with pytest.raises(StoreError):
            store.directory(name, REVISION)


def test_nothing_is_fetched_yet(store: Store) -> None:
    assert store.list() == []
    with pytest.raises(NotFetchedError, match="'tiny' has not been fetched") as caught:
        store.find("tiny")
    assert caught.value.hint == "grokdist fetch tiny"


def test_a_model_is_found_by_name_revision_and_directory(store: Store, copy: Path) -> None:
    directory = store.directory("tiny", REVISION)
    _fetch(copy, directory)
    for target in ("tiny", "tiny@abab", f"tiny@{REVISION}", str(directory)):
        found = store.find(target)
        assert found.directory == directory
        assert found.complete
        assert found.receipt is not None
        assert found.manifest_bytes()
    assert [each.directory for each in store.list()] == [directory]
    with pytest.raises(NotFetchedError):
        store.find("tiny@00")


def test_a_part_of_a_model_is_not_complete(store: Store, copy: Path) -> None:
    _fetch(copy, store.directory("tiny", REVISION), "a")
    assert not store.find("tiny").complete


def test_a_model_elsewhere_is_found_by_name_while_it_is_there(
    store: Store, copy: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    _fetch(copy, elsewhere)
    store.note_elsewhere(elsewhere, "tiny", REVISION)
    assert store.find("tiny").directory == elsewhere
    (elsewhere / ".grokdist/receipt.json").unlink()
    with pytest.raises(NotFetchedError):
        store.find("tiny")


def test_a_directory_that_holds_another_model_by_now_is_not_found(
    store: Store, copy: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    _fetch(copy, elsewhere)
    store.note_elsewhere(elsewhere, "other", REVISION)
    with pytest.raises(NotFetchedError):
        store.find("other")


def test_the_stores_own_directory_is_not_elsewhere(store: Store, copy: Path) -> None:
    directory = store.directory("tiny", REVISION)
    _fetch(copy, directory)
    store.note_elsewhere(directory, "tiny", REVISION)
    assert len(store.list()) == 1


def test_a_damaged_receipt_is_told(store: Store, copy: Path) -> None:
    directory = store.directory("tiny", REVISION)
    _fetch(copy, directory)
    (directory / ".grokdist/receipt.json").write_text("{}")
    stored = open_model(directory)
    assert stored.receipt is None
    assert "schema is missing" in (stored.damage or "")
    with pytest.raises(NotFetchedError):
        store.find("tiny")


def test_foreign_things_in_the_store_are_passed_over(store: Store, tmp_path: Path) -> None:
    (store.models / "tiny").mkdir(parents=True)
    (store.models / "file").write_text("")
    (store.models / "link").symlink_to(tmp_path)
    (store.models / "tiny" / "x.elsewhere").write_bytes(b"\xff\0")
    (store.models / "tiny" / "y.elsewhere").write_bytes(b"/nowhere/at/all")
    assert store.list() == []
    (tmp_path / "plain").write_text("")
    with pytest.raises(NotFetchedError, match="is a file"):
        store.find(str(tmp_path / "plain"))
