"""Targets that cannot take a model, on real file systems: read-only, too small, full midway."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grokdist.errors import ResourceError, StoreError
from grokdist.transfer.engine import fetch
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.models import HASTY, assert_complete, content, plan_for

FILES = {f"f{place}": content(f"f{place}", 400_000) for place in range(6)}

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system of memory with the options given."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mounted-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        made = subprocess.run(command, capture_output=True)
        if made.returncode:
            pytest.skip(f"cannot mount a file system here: {made.stderr.decode()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def copy(tmp_path: Path) -> LocalSource:
    (tmp_path / "copy").mkdir()
    for path, data in FILES.items():
        (tmp_path / "copy" / path).write_bytes(data)
    return LocalSource(tmp_path / "copy")


def test_a_read_only_target_is_refused_before_anything(mount: Mount, copy: LocalSource) -> None:
    folder = mount("ro,size=64m")
    for target in (folder, folder / "new" / "model"):
        with pytest.raises(StoreError, match="is not writable") as caught:
            plan_for(FILES, target, copy)
        assert caught.value.hint == "choose another --dir"


def test_a_target_that_becomes_read_only_says_so(mount: Mount, copy: LocalSource) -> None:
    folder = mount("size=64m")
    plan = plan_for(FILES, folder / "model", copy)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(StoreError, match="Read-only file system"):
        fetch(plan, patience=HASTY)


def test_a_disk_that_is_too_small_is_refused_with_the_figures(
    mount: Mount, copy: LocalSource
) -> None:
    folder = mount("size=1m")
    plan = plan_for(FILES, folder, copy)
    with pytest.raises(ResourceError, match="expected 2,400,000 bytes free, got 1,048,576") as got:
        fetch(plan, patience=HASTY)
    assert (got.value.needed, got.value.free) == (2_400_000, 1 << 20)
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_up_midway_keeps_what_is_there(mount: Mount, copy: LocalSource) -> None:
    folder = mount("size=8m")

    class Filling(NoProgress):
        """Somebody else takes the room that is left."""

        def file_done(self, path: str, size: int, source: str) -> None:
            try:
                with (folder / "other").open("ab") as other:
                    while True:
                        other.write(bytes(4096))
                        other.flush()
            except OSError:
                pass

    with pytest.raises(ResourceError, match="no space left on the disk"):
        fetch(plan_for(FILES, folder / "model", copy), Filling(), patience=HASTY)
    (folder / "other").unlink()
    here = sum((folder / "model" / path).exists() for path in FILES)
    assert here >= 1
    result = fetch(plan_for(FILES, folder / "model", copy), patience=HASTY)
    assert result.fetched_bytes <= 400_000 * (len(FILES) - here)
    assert_complete(folder / "model", FILES)
