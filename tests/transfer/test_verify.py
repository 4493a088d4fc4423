"""Any flipped, missing, truncated or extra byte or file is found and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from grokdist.errors import StoreError, UsageError
from grokdist.transfer.engine import fetch
from grokdist.transfer.findings import VerifyReport
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.verify import verify
from grokdist.trust.receipt import Receipt
from tests.transfer.models import HASTY, entry_of, manifest_of, plan_for, small_files

FILES = small_files()
SIZE = sum(map(len, FILES.values()))
MANIFEST = manifest_of([entry_of(path, data) for path, data in FILES.items()])
BIG = "ckpt-0/tensor00002_000"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The model's files, without anything of ours."""
    for path, data in FILES.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    return tmp_path / "copy"


def _fetched(copy: Path, *include: str) -> tuple[Path, Receipt]:
    model = copy.parent / "model"
    result = fetch(plan_for(FILES, model, LocalSource(copy), include=include), patience=HASTY)
    return model, result.receipt


def test_a_whole_model_is_ok(copy: Path) -> None:
    report = verify(copy, MANIFEST)
    assert report.ok
    assert (report.files, report.bytes) == (7, SIZE)
    assert (report.missing, report.mismatched, report.extra) == ((), (), ())
    # A directory without state of ours gets none.
    assert not (copy / ".grokdist").exists()


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x80
    path.write_bytes(data)


def _as_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda model: _flip(model / BIG, 0), {"mismatched": [BIG]}),
        (lambda model: _flip(model / BIG, 700_000), {"mismatched": [BIG]}),
        (lambda model: _flip(model / "LICENSE.txt", 0), {"mismatched": ["LICENSE.txt"]}),
        (lambda model: (model / BIG).unlink(), {"missing": [BIG]}),
        (lambda model: os.truncate(model / BIG, 700_000), {"mismatched": [BIG]}),
        (lambda model: os.truncate(model / BIG, 700_002), {"mismatched": [BIG]}),
        (lambda model: (model / "empty").write_bytes(b"x"), {"mismatched": ["empty"]}),
        (lambda model: (model / "empty").unlink(), {"missing": ["empty"]}),
        (lambda model: (model / "x").write_bytes(b""), {"extra": ["x"]}),
        (lambda model: (model / "ckpt-0/x").write_bytes(b""), {"extra": ["ckpt-0/x"]}),
        (lambda model: (model / ".hidden").write_bytes(b""), {"extra": [".hidden"]}),
        (lambda model: (model / "out").symlink_to("/"), {"extra": ["out"]}),
        (lambda model: os.mkfifo(model / "pipe"), {"extra": ["pipe"]}),
        (lambda model: _as_link(model / BIG), {"mismatched": [BIG], "extra": ["ckpt-0/moved"]}),
        (lambda model: _as_pipe(model / BIG), {"mismatched": [BIG]}),
        (lambda model: _as_folder(model / BIG), {"mismatched": [BIG]}),
        (
            lambda model: (model / BIG).rename(model / "ckpt-0/other"),
            {"missing": [BIG], "extra": ["ckpt-0/other"]},
        ),
    ],
)
def test_tampering_is_named(
    copy: Path, tamper: Callable[[Path], object], found: dict[str, list[str]]
) -> None:
    tamper(copy)
    report = verify(copy, MANIFEST)
    assert not report.ok
    assert _named(report) == {"missing": [], "mismatched": [], "extra": []} | found


def _named(report: VerifyReport) -> dict[str, list[str]]:
    return {
        "missing": list(report.missing),
        "mismatched": [each.path for each in report.mismatched],
        "extra": list(report.extra),
    }


def test_a_mismatch_says_what_was_expected_and_what_is_there(copy: Path) -> None:
    (copy / BIG).write_bytes(b"x" * len(FILES[BIG]))
    os.truncate(copy / "tokenizer.model", 5)
    big, tokenizer = verify(copy, MANIFEST).mismatched
    assert big.expected == f"sha256:{entry_of(BIG, FILES[BIG]).sha256}"
    assert big.got == f"sha256:{entry_of(BIG, (copy / BIG).read_bytes()).sha256}"
    assert (tokenizer.expected, tokenizer.got) == ("2229 bytes", "5 bytes")


def test_two_files_that_swapped_their_bytes_are_both_found(copy: Path) -> None:
    one, two = copy / "a", copy / "b"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    manifest = manifest_of([*MANIFEST.files, entry_of("a", b"two"), entry_of("b", b"one")])
    assert _named(verify(copy, manifest))["mismatched"] == ["a", "b"]


def test_what_was_not_fetched_is_not_missing_but_what_was_is(copy: Path) -> None:
    model, receipt = _fetched(copy, "ckpt-0/*")
    report = verify(model, MANIFEST, receipt=receipt)
    assert report.ok
    assert report.files == 4
    assert len(verify(model, MANIFEST).missing) == 3
    (model / BIG).unlink()
    assert verify(model, MANIFEST, receipt=receipt).missing == (BIG,)


def test_what_is_there_is_checked_though_the_receipt_does_not_list_it(copy: Path) -> None:
    model, receipt = _fetched(copy, "ckpt-0/*")
    (model / "tokenizer.model").write_bytes(b"x" * 2229)
    assert _named(verify(model, MANIFEST, receipt=receipt))["mismatched"] == ["tokenizer.model"]


def test_a_link_to_a_folder_is_reported_and_not_followed(copy: Path) -> None:
    (copy / "ckpt-0").rename(copy.parent / "moved")
    (copy / "ckpt-0").symlink_to(copy.parent / "moved")
    report = verify(copy, MANIFEST)
    assert report.extra == ("ckpt-0",)
    assert {each.path for each in report.mismatched} == {
        path for path in FILES if path.startswith("ckpt-0/")
    }


def test_include_looks_at_nothing_else(copy: Path) -> None:
    _flip(copy / BIG, 5)
    (copy / "ckpt-0/extra").write_bytes(b"")
    (copy / "other").write_bytes(b"")
    report = verify(copy, MANIFEST, include=("tokenizer.*",))
    assert report.ok
    assert report.files == 1
    report = verify(copy, MANIFEST, include=("ckpt-0/*",))
    assert _named(report) == {"missing": [], "mismatched": [BIG], "extra": ["ckpt-0/extra"]}
    with pytest.raises(UsageError):
        verify(copy, MANIFEST, include=("nothing*",))


def test_quick_reads_only_what_the_file_system_says_has_changed(copy: Path) -> None:
    model, receipt = _fetched(copy)
    read: list[str] = []

    class Listener(NoProgress):
        """Remembers which files were read."""

        def advance(self, source: str, path: str, count: int) -> None:
            read.append(path)

    listener = Listener()
    report = verify(model, MANIFEST, receipt=receipt, quick=True, progress=listener)
    assert report.ok
    assert (report.files, report.bytes, read) == (7, SIZE, [])
    _flip(model / BIG, 9)
    report = verify(model, MANIFEST, receipt=receipt, quick=True, progress=listener)
    assert _named(report)["mismatched"] == [BIG]
    assert set(read) == {BIG}


def test_quick_sees_a_change_that_restores_the_modification_time(copy: Path) -> None:
    model, _ = _fetched(copy)
    before = (model / BIG).stat()
    _flip(model / BIG, 9)
    os.utime(model / BIG, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _named(verify(model, MANIFEST, quick=True))["mismatched"] == [BIG]


def test_a_full_verify_believes_no_index(copy: Path) -> None:
    model, _ = _fetched(copy)
    _flip(model / BIG, 9)
    status = (model / BIG).stat()
    lines = []
    for line in (model / ".grokdist/index.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["path"] == BIG:
            row |= {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
        lines.append(json.dumps(row))
    (model / ".grokdist/index.jsonl").write_text("\n".join(lines))
    assert verify(model, MANIFEST, quick=True).ok
    assert _named(verify(model, MANIFEST))["mismatched"] == [BIG]
    # And the next quick one has learned.
    assert _named(verify(model, MANIFEST, quick=True))["mismatched"] == [BIG]


@pytest.mark.parametrize("junk", [b"\xff\n", b"{}\n[]\nnull\n", b'{"path": 1}\n', b"[" * 10_000])
def test_a_damaged_index_is_no_index(copy: Path, junk: bytes) -> None:
    model, _ = _fetched(copy)
    (model / ".grokdist/index.jsonl").write_bytes(junk)
    assert verify(model, MANIFEST, quick=True).ok


def test_an_empty_directory_is_not_ok_and_a_file_is_none(tmp_path: Path) -> None:
    report = verify(tmp_path, MANIFEST)
    assert not report.ok
    assert len(report.missing) == 7
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        verify(tmp_path / "file", MANIFEST)
    assert not verify(tmp_path / "..", manifest_of([])).ok
