"""The plan says what is here, what is to come, and whether it fits; it changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import (
    ManifestError,
    ResourceError,
    StoreError,
    UnsafePathError,
    UsageError,
)
from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import FetchRequest, FileState, make_plan
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.models import (
    HASTY,
    content,
    leave_part,
    manifest_of,
    plan_for,
    request_for,
    small_files,
    trusted,
)

FILES = small_files()
SIZE = sum(map(len, FILES.values()))
NOWHERE = HttpsSource("http://127.0.0.1:9/")


def test_nothing_is_here(tmp_path: Path) -> None:
    plan = plan_for(FILES, tmp_path / "new" / "model", NOWHERE)
    assert {file.state for file in plan.files} == {FileState.MISSING}
    assert (plan.size, plan.fetch_bytes, plan.disk_needed, plan.check_bytes) == (
        SIZE,
        SIZE,
        SIZE,
        0,
    )
    assert plan.disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    assert plan.fits
    assert not (tmp_path / "new").exists()


def test_every_state_is_told(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path, data in FILES.items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(data)
    model = tmp_path / "model"
    fetch(plan_for(FILES, model, LocalSource(copy), include=("LICENSE.txt",)), patience=HASTY)
    (model / "tokenizer.model").write_bytes(FILES["tokenizer.model"])
    (model / "empty").write_bytes(b"no")
    begun = "ckpt-0/tensor00001_000"
    leave_part(model, begun, FILES[begun], (0, 600), (2000, 2400))
    plan = plan_for(FILES, model, NOWHERE)
    states = {file.entry.path: (file.state, file.have) for file in plan.files}
    assert states == {
        "LICENSE.txt": (FileState.VERIFIED, 1),
        "tokenizer.model": (FileState.PRESENT, 2229),
        "empty": (FileState.WRONG, 0),
        "ckpt-0/tensor00000_000": (FileState.MISSING, 0),
        "ckpt-0/tensor00001_000": (FileState.PARTIAL, 1000),
        "ckpt-0/tensor00002_000": (FileState.MISSING, 0),
        "ckpt-0/tensor00003_000": (FileState.MISSING, 0),
    }
    assert plan.fetch_bytes == SIZE - 1 - 2229 - 1000
    # The blocks of the part are there whether or not all of their bytes are of use.
    blocks = (model / ".grokdist/parts" / f"{begun}.part").stat().st_blocks * 512
    assert 1000 <= blocks < len(FILES[begun])
    assert plan.disk_needed == plan.fetch_bytes - (blocks - 1000)
    assert plan.check_bytes == 2229 + 1000
    repair = plan_for(FILES, model, NOWHERE, repair=True)
    assert FileState.VERIFIED not in {file.state for file in repair.files}


def test_a_touched_file_is_not_taken_as_verified(tmp_path: Path) -> None:
    copy, model = tmp_path / "copy", tmp_path / "model"
    copy.mkdir()
    (copy / "a").write_bytes(b"abc")
    fetch(plan_for({"a": b"abc"}, model, LocalSource(copy)), patience=HASTY)
    (model / "a").write_bytes(b"abd")
    (file,) = plan_for({"a": b"abc"}, model, NOWHERE).files
    assert file.state is FileState.PRESENT


def test_a_new_manifest_with_other_digests_makes_files_unverified(tmp_path: Path) -> None:
    copy, model = tmp_path / "copy", tmp_path / "model"
    copy.mkdir()
    (copy / "a").write_bytes(b"abc")
    fetch(plan_for({"a": b"abc"}, model, LocalSource(copy)), patience=HASTY)
    (file,) = plan_for({"a": b"abd"}, model, NOWHERE).files
    assert file.state is FileState.PRESENT


def test_sources_and_what_they_offer(tmp_path: Path) -> None:
    some = HttpsSource("http://127.0.0.1:9/", files=("ckpt-0/*",))
    plan = plan_for(FILES, tmp_path / "m", some)
    (source,) = plan.sources
    assert (source.name, source.kind) == ("https:http://127.0.0.1:9/", SourceKind.HTTPS)
    assert (source.files, source.size) == (4, 300_007 + 24_727 + 700_001 + 65_536)
    assert plan.sourceless == ("tokenizer.model", "LICENSE.txt")


def test_include_narrows_and_must_match(tmp_path: Path) -> None:
    plan = plan_for(FILES, tmp_path / "m", NOWHERE, include=("ckpt-0/*1_000", "LICENSE.txt"))
    assert [file.entry.path for file in plan.files] == ["ckpt-0/tensor00001_000", "LICENSE.txt"]
    with pytest.raises(UsageError, match=r"'\*\.bin' matches none of the 7 files"):
        plan_for(FILES, tmp_path / "m", NOWHERE, include=("ckpt-0/*", "*.bin"))


def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=SIZE - 1))
    plan = plan_for(FILES, tmp_path / "m", NOWHERE)
    assert not plan.fits
    with pytest.raises(ResourceError, match=r"expected 1,092,501 bytes free, got 1,092,500") as e:
        fetch(plan)
    assert (e.value.needed, e.value.free) == (SIZE, SIZE - 1)
    assert not (tmp_path / "m").exists()


def test_what_is_here_counts_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    (tmp_path / "a").write_bytes(content("a", 50))
    assert plan_for({"a": content("a", 50), "b": b"x"}, tmp_path, NOWHERE).fits


def test_a_directory_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="is a file; expected a directory"):
            plan_for(FILES, directory, NOWHERE)
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="leads nowhere"):
        plan_for(FILES, tmp_path / "dead", NOWHERE)


def test_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no mode stops.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(StoreError, match="is not writable"):
        plan_for(FILES, tmp_path / "m", NOWHERE)


@pytest.mark.parametrize("path", [".grokdist/receipt.json", ".GrokDist/x", "../x", "/x"])
def test_paths_that_are_not_the_models_own(tmp_path: Path, path: str) -> None:
    entry = FileEntry(path=path, size=1, sha256="0" * 64)
    request = FetchRequest(trusted=trusted(manifest_of([entry])), directory=tmp_path)
    with pytest.raises(UnsafePathError):
        make_plan(request, [NOWHERE])


def test_a_file_without_a_digest_is_refused(tmp_path: Path) -> None:
    entry = FileEntry(path="a", size=1, sha256=None, git_blob="0" * 40, lfs=True)
    request = FetchRequest(trusted=trusted(manifest_of([entry])), directory=tmp_path)
    with pytest.raises(ManifestError):
        make_plan(request, [NOWHERE])


def test_two_sources_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        make_plan(request_for(FILES, tmp_path), [NOWHERE, HttpsSource("http://127.0.0.1:9")])
