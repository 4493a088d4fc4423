"""Files that get a second name in the model directory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer import adopt
from grokdist.transfer.adopt import link_files
from grokdist.transfer.engine import fetch
from grokdist.transfer.hashing import Worker
from grokdist.transfer.index import Hashed
from grokdist.transfer.plan import FileState
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.record import load_receipt
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.verify import verify
from tests.servers.hub_server import HubServer
from tests.transfer.models import HASTY, assert_complete, content, entry_of, hub, plan_for

FILES = {"a": content("a", 3_000_000), "folder/b": b"b", "empty": b""}
ENTRIES = [entry_of(path, data) for path, data in FILES.items()]


class Listener(NoProgress):
    """Keeps what is said, and may do something when bytes are hashed."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.meanwhile: list[Path] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def advance(self, source: str, path: str, count: int) -> None:
        while self.meanwhile:
            with self.meanwhile.pop().open("r+b") as file:
                file.write(b"!")


class Linked(dict[str, Hashed]):
    """The files that were linked."""

    def __call__(self, entry: FileEntry, row: Hashed, source: str) -> None:
        assert source.startswith("local:")
        self[entry.path] = row


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt, "_AT_REST_NS", 30_000_000)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy" / "folder").mkdir(parents=True)
    for path, data in FILES.items():
        (tmp_path / "copy" / path).write_bytes(data)
    return tmp_path / "copy"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree.create(tmp_path / "model") as tree:
        yield tree


def _state_files(tree: ModelTree) -> list[Path]:
    return [each for each in tree.path(".grokdist").rglob("*") if each.is_file()]


def test_what_is_right_is_one_file_with_two_names(copy: Path, tree: ModelTree) -> None:
    linked, listener = Linked(), Listener()
    sources = [HttpsSource("http://127.0.0.1:9/"), LocalSource(copy)]
    left = link_files(tree, ENTRIES, sources, listener, on_linked=linked)
    # An empty file needs no source.
    assert [entry.path for entry in left] == ["empty"]
    for path, row in linked.items():
        assert tree.path(path).samefile(copy / path)
        assert row.mark == StatMark.of(tree.path(path).stat())
        assert row.sha256 == entry_of(path, FILES[path]).sha256
    assert set(linked) == {"a", "folder/b"}
    assert listener.notes == []
    assert _state_files(tree) == []


def test_wrong_bytes_are_left_where_they_are(copy: Path, tree: ModelTree) -> None:
    linked, listener = Linked(), Listener()
    (copy / "a").write_bytes(b"x" * 3_000_000)
    left = link_files(tree, ENTRIES, [LocalSource(copy)], listener, on_linked=linked)
    assert [entry.path for entry in left] == ["a", "empty"]
    assert not tree.path("a").exists()
    assert (copy / "a").stat().st_nlink == 1
    assert len(listener.notes) == 1
    assert "is not a; got sha256:" in listener.notes[0]
    assert _state_files(tree) == []


def test_a_file_that_is_written_while_it_is_hashed_is_not_linked(
    copy: Path, tree: ModelTree
) -> None:
    linked, listener = Linked(), Listener()
    listener.meanwhile.append(copy / "a")
    left = link_files(tree, ENTRIES[:1], [LocalSource(copy)], listener, on_linked=linked)
    assert left == ENTRIES[:1]
    assert "one changed while read" in listener.notes[0]
    assert not tree.path("a").exists()


def test_a_file_that_was_written_just_now_is_waited_for(
    copy: Path, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopt, "_AT_REST_NS", 3_600_000_000_000)
    waited: list[float] = []

    class Stop(threading.Event):
        """Notes for how long it was waited for, and tells to stop."""

        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0)
            return True

    worker = Worker(stop=Stop())
    place = LocalSource(copy).place(ENTRIES[0])
    assert place is not None
    clock = adopt._Clock(tree)
    assert not adopt._linked(tree, place, "x", clock, worker)
    assert waited == [3600]
    later = (copy / "a").stat().st_ctime_ns + 3601 * 10**9
    monkeypatch.setattr(adopt._Clock, "_now", lambda _: later)
    assert adopt._linked(tree, place, "x", clock, worker)
    assert waited == [3600]


def test_another_file_system_is_copied_from(tree: ModelTree, copy: Path) -> None:
    other = Path("/dev/shm")  # noqa: S108 - a file system of its own, where there is one
    if not other.is_dir() or other.stat().st_dev == copy.stat().st_dev:
        pytest.skip("needs /dev/shm on a file system of its own")
    place = other / f"grokdist-test-{os.getpid()}"
    place.mkdir()
    try:
        (place / "a").write_bytes(FILES["a"])
        listener = Listener()
        left = link_files(tree, ENTRIES[:1], [LocalSource(place)], listener, on_linked=Linked())
        assert left == ENTRIES[:1]
        assert "not linked" in listener.notes[0]
    finally:
        (place / "a").unlink()
        place.rmdir()


def test_a_blob_of_a_hub_cache_is_linked_and_not_its_link(tmp_path: Path, tree: ModelTree) -> None:
    repository = tmp_path / "cache/models--xai-org--grok-1"
    (repository / "blobs").mkdir(parents=True)
    (repository / "blobs/0123").write_bytes(FILES["a"])
    (repository / "snapshots/abc").mkdir(parents=True)
    (repository / "snapshots/abc/a").symlink_to("../../blobs/0123")
    left = link_files(
        tree, ENTRIES[:1], [LocalSource(tmp_path / "cache")], Listener(), on_linked=Linked()
    )
    assert left == []
    assert not tree.path("a").is_symlink()
    assert tree.path("a").samefile(repository / "blobs/0123")


def test_a_fetch_links_when_asked_and_keeps_its_receipt_true(copy: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    plan = plan_for(FILES, model, LocalSource(copy), link=True)
    result = fetch(plan, patience=HASTY)
    assert (result.fetched_bytes, result.files) == (0, 3)
    assert (model / "a").samefile(copy / "a")
    assert {file.path: file.sources for file in result.receipt.files} == {
        "a": (f"local:{copy}",),
        "folder/b": (f"local:{copy}",),
        "empty": (),
    }
    states = {file.state for file in plan_for(FILES, model, LocalSource(copy)).files}
    assert states == {FileState.VERIFIED}


def test_a_file_that_changes_under_its_other_name_is_found_and_never_written_to(
    copy: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m"
    fetch(plan_for(FILES, model, LocalSource(copy), link=True), patience=HASTY)
    with (copy / "a").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"somebody else's")
    changed = (copy / "a").read_bytes()
    with ModelTree(model) as tree:
        receipt = load_receipt(tree)
    manifest = plan_for(FILES, model).request.trusted.manifest
    report = verify(model, manifest, receipt=receipt)
    assert [each.path for each in report.mismatched] == ["a"]
    with HubServer(FILES) as server:
        plan = plan_for(FILES, model, hub(server.endpoint), repair=True)
        fetch(plan, patience=HASTY)
    assert_complete(model, FILES)
    assert (copy / "a").read_bytes() == changed
    assert (copy / "a").stat().st_nlink == 1


def test_what_cannot_be_linked_comes_as_without_the_wish(copy: Path, tmp_path: Path) -> None:
    (copy / "a").write_bytes(b"x" * 3_000_000)
    with HubServer(FILES) as server:
        sources = (LocalSource(copy), hub(server.endpoint))
        result = fetch(plan_for(FILES, tmp_path / "m", *sources, link=True), patience=HASTY)
        assert {each.file for each in server.log} == {"a"}
    assert_complete(tmp_path / "m", FILES)
    assert result.receipt.files[0].sources == ("hub:xai-org/grok-1",)
