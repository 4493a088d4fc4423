"""Folders as other tools leave them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.folder import Folder
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.models import HASTY, assert_complete, content, entry_of, plan_for

FILES = {
    "ckpt-0/tensor00000_000": content("t0", 300_007),
    "ckpt-0/tensor00001_000": content("t1", 24_727),
    "LICENSE.txt": b"Apache",
}
REVISION = "ab" * 20


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def _hub_cache(cache: Path, name: str = "xai-org/grok-1", revision: str = REVISION) -> Path:
    """A cache as the Hub's client makes it: snapshots are links to blobs; returns its root."""
    repository = cache / f"models--{name.replace('/', '--')}"
    for place, (path, data) in enumerate(FILES.items()):
        blob = repository / "blobs" / f"{place:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = repository / "snapshots" / revision / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return cache


def _taken(root: Path, tmp_path: Path, **changes: object) -> None:
    source = LocalSource(root, **changes)  # type: ignore[arg-type]
    plan = plan_for(FILES, tmp_path / "m", source)
    assert plan.sourceless == ()
    fetch(plan, patience=HASTY)
    assert_complete(tmp_path / "m", FILES)


@pytest.mark.parametrize("given", ["", "models--xai-org--grok-1", "snapshot", "home"])
def test_a_hub_cache_by_any_of_its_folders(tmp_path: Path, given: str) -> None:
    root = _hub_cache(tmp_path / "home" / "hub")
    if given == "snapshot":
        root = root / "models--xai-org--grok-1" / "snapshots" / REVISION
    elif given == "home":
        root = tmp_path / "home"
    else:
        root = root / given
    _taken(root, tmp_path)


def test_the_right_repository_and_revision_come_first(tmp_path: Path) -> None:
    cache = _hub_cache(tmp_path / "c", "aaa/grok-1", "cd" * 20)
    for repository, revision in (("xai-org/grok-1", "ef" * 20), ("xai-org/grok-1", REVISION)):
        snapshot = cache / f"models--{repository.replace('/', '--')}/snapshots" / revision
        _write(snapshot, FILES)
    folder = Folder(cache, repositories=("xai-org/grok-1",), revision=REVISION)
    place = folder.find(entry_of("LICENSE.txt", FILES["LICENSE.txt"]))
    assert place is not None
    assert place.root == cache / "models--xai-org--grok-1"
    assert place.relative == f"snapshots/{REVISION}/LICENSE.txt"


@pytest.mark.parametrize(
    "target",
    [
        "../../../../secret",
        "../../../models--other--one/blobs/x",
        "/etc/hostname",
        "../../blobs/../../secret",
        "../../blobs/link",
        "../../linked/x",
        "../../blobs",
        ".",
        "../../../../../../../../../../../../../../../etc/hostname",
        "{repository}/blobs/../../secret",
        "{repository}/blobs/link",
        "{repository}",
    ],
)
def test_a_link_in_a_cache_that_leaves_its_repository_is_not_followed(
    tmp_path: Path, target: str
) -> None:
    cache = _hub_cache(tmp_path / "c")
    repository = cache / "models--xai-org--grok-1"
    secret = b"Apache"
    (tmp_path / "c/secret").write_bytes(secret)
    _write(cache / "models--other--one", {"blobs/x": secret})
    (repository / "blobs/link").symlink_to("../../secret")
    (repository / "linked").symlink_to(cache / "models--other--one/blobs")
    link = repository / "snapshots" / REVISION / "LICENSE.txt"
    link.unlink()
    link.symlink_to(target.format(repository=repository))
    entry = entry_of("LICENSE.txt", secret)
    # By its name it is nowhere either: a search by name does not look into what links name.
    assert Folder(repository).find(entry) is None
    assert Folder(link.parent).find(entry) is None


def test_an_absolute_link_inside_the_repository_is_good(tmp_path: Path) -> None:
    cache = _hub_cache(tmp_path / "c")
    link = cache / "models--xai-org--grok-1/snapshots" / REVISION / "LICENSE.txt"
    blob = link.resolve()
    link.unlink()
    link.symlink_to(blob)
    place = Folder(cache).find(entry_of("LICENSE.txt", b"Apache"))
    assert place is not None
    assert place.relative.startswith("blobs/")


def test_a_torrent_folder_whose_root_is_named_otherwise(tmp_path: Path) -> None:
    files = {f"anything/{path.removeprefix('ckpt-0/')}": data for path, data in FILES.items()}
    _taken(_write(tmp_path / "downloads", files), tmp_path)


def test_all_files_in_one_place_among_others(tmp_path: Path) -> None:
    flat = {path.split("/")[-1]: data for path, data in FILES.items()}
    other = {f"other/{path}": data + b"more" for path, data in FILES.items()}
    _taken(_write(tmp_path / "flat", {**flat, **other}), tmp_path)


def test_of_several_the_one_with_most_of_the_path_is_meant(tmp_path: Path) -> None:
    root = _write(
        tmp_path / "r", {"x/ckpt-0/a": b"one", "x/ckpt-1/a": b"two", "y/b": b"b", "z/b": b"c"}
    )
    place = Folder(root).find(entry_of("ckpt-1/a", b"two"))
    assert place is not None
    assert place.relative == "x/ckpt-1/a"
    assert Folder(root).find(entry_of("b", b"b")) is None
    assert Folder(root).find(entry_of("c", b"b")) is None


def test_a_search_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokdist.transfer.sources.folder._MAX_SCANNED", 10)
    root = _write(tmp_path / "r", {f"x/f{place:02}": b"1" for place in range(30)})
    found = [Folder(root).find(entry_of(f"f{place:02}", b"1")) for place in range(30)]
    assert 0 < sum(place is not None for place in found) < 10


def test_links_and_state_are_not_searched(tmp_path: Path) -> None:
    outside = _write(tmp_path / "outside", {"a": b"abc"})
    root = _write(tmp_path / "r", {".grokdist/bad/a": b"abc", ".git/a": b"abc", "x/y": b""})
    (root / "x" / "a").symlink_to(outside / "a")
    (root / "linked").symlink_to(outside)
    os.mkfifo(root / "x" / "b")
    assert Folder(root).find(entry_of("a", b"abc")) is None
    assert Folder(root).find(entry_of("b", b"")) is None


@pytest.mark.parametrize("path", ["../a", "/a", "x/../a", "a\0b", ""])
def test_a_path_that_leaves_the_folder_is_nowhere(tmp_path: Path, path: str) -> None:
    root = _write(tmp_path / "r/below", {"a": b"abc"})
    _write(tmp_path, {"r/a": b"abc"})
    assert Folder(root).find(entry_of(path, b"abc")) is None
