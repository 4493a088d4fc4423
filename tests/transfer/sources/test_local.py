"""Folders of this machine as sources."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, NoSourceError, UsageError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.local import LocalSource, bundled
from tests.servers.hub_server import HubServer
from tests.transfer.models import HASTY, assert_complete, content, hub, leave_part, plan_for

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
    leave_part(tmp_path / "m", "a", FILES["a"], (0, 1_234_567))
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


def test_a_file_cut_short_gives_what_it_has(copy: Path, tmp_path: Path) -> None:
    (copy / "a").write_bytes(FILES["a"][:2_000_000])
    (copy / "folder/b").write_bytes(b"")
    plan = plan_for(FILES, tmp_path / "m", LocalSource(copy))
    assert plan.sourceless == ("folder/b",)
    with pytest.raises(NoSourceError, match="ends at 2000000 of 3000000 bytes"):
        fetch(plan, patience=HASTY)
    with HubServer(FILES) as server:
        plan = plan_for(FILES, tmp_path / "n", LocalSource(copy), hub(server.endpoint))
        result = fetch(plan, patience=HASTY)
    assert result.sources == {f"local:{copy}": 2_000_000, "hub:xai-org/grok-1": 1_000_001}
    assert_complete(tmp_path / "n", FILES)


def test_what_was_never_written_of_an_unfinished_file_is_not_taken(
    copy: Path, tmp_path: Path
) -> None:
    """As a torrent client leaves it: cut short, with holes where pieces are missing."""
    with (copy / "a").open("wb") as file:
        file.write(FILES["a"][: 1 << 20])
        file.seek(2 << 20)
        file.write(FILES["a"][2 << 20 : (2 << 20) + 4096])
    with HubServer(FILES) as server:
        plan = plan_for(FILES, tmp_path / "m", LocalSource(copy), hub(server.endpoint))
        result = fetch(plan, patience=HASTY)
    assert result.sources == {
        f"local:{copy}": (1 << 20) + 1,
        "hub:xai-org/grok-1": 3_000_000 - (1 << 20),
    }
    assert_complete(tmp_path / "m", FILES)


def _stands_for_a_reflink(source: int, target: int) -> bool:
    size = os.fstat(source).st_size
    return os.pwrite(target, os.pread(source, size, 0), 0) == size


def test_a_file_whose_blocks_can_be_shared_is_hashed_in_its_part(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam of the real thing, for machines whose file systems cannot share blocks."""
    monkeypatch.setattr("grokdist.transfer.sources.local.reflink", _stands_for_a_reflink)
    monkeypatch.setattr(LocalSource, "_copy", None)
    result = fetch(plan_for(FILES, tmp_path / "m", LocalSource(copy)), patience=HASTY)
    assert result.sources == {f"local:{copy}": 3_000_001}
    assert_complete(tmp_path / "m", FILES)
    (copy / "a").write_bytes(b"x" * 3_000_000)
    with pytest.raises(DigestMismatchError):
        fetch(plan_for(FILES, tmp_path / "n", LocalSource(copy)), patience=HASTY)
    assert not (tmp_path / "n/a").exists()


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that shares blocks, made for this test."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("needs root and mkfs.btrfs, to mount a file system that shares blocks")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    made = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a file system here: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_shared_blocks_take_no_room_and_later_writes_stay_apart(sharing: Path) -> None:
    source, target = sharing / "copy", sharing / "model"
    big = random.Random(1).randbytes(64 << 20)
    source.mkdir()
    (source / "a").write_bytes(big)
    os.sync()
    before = shutil.disk_usage(sharing).used
    fetch(plan_for({"a": big}, target, LocalSource(source), trees=False), patience=HASTY)
    os.sync()
    assert shutil.disk_usage(sharing).used - before < 8 << 20
    with (source / "a").open("r+b") as file:
        file.write(b"somebody else writes here")
    assert (target / "a").read_bytes() == big


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


def test_the_plan_counts_no_room_for_blocks_that_are_shared(sharing: Path) -> None:
    files = {f"f{place}": content(f"f{place}", 1_000_000) for place in range(6)}
    source = sharing / "copy"
    source.mkdir()
    for path, data in files.items():
        (source / path).write_bytes(data)
    plan = plan_for(files, sharing / "model", LocalSource(source, slots=2))
    # Two files at once reserve their room before they share it.
    assert (plan.fetch_bytes, plan.disk_needed) == (6_000_000, 2_000_000)
    assert plan_for(files, sharing / "m", LocalSource(source), link=True).disk_needed == 0
    assert sorted(each.name for each in sharing.iterdir()) == ["copy"]


def test_the_plan_counts_room_for_copies(copy: Path, tmp_path: Path) -> None:
    assert plan_for(FILES, tmp_path / "m", LocalSource(copy)).disk_needed == 3_000_001
    linked = plan_for(FILES, tmp_path / "m", LocalSource(copy), link=True)
    assert (linked.fetch_bytes, linked.disk_needed) == (3_000_001, 0)
    (copy / "a").write_bytes(b"short")
    linked = plan_for(FILES, tmp_path / "m", LocalSource(copy), link=True)
    assert linked.disk_needed == 3_000_000
