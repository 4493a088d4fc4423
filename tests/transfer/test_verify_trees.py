"""Trees in a full verification: built on demand, used to divide and to locate, never believed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import StoreError, UsageError
from grokdist.transfer import tail
from grokdist.transfer import verify as verify_module
from grokdist.transfer.engine import fetch
from grokdist.transfer.lock import exclusive
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.record import load_receipt
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_writer import save_tree
from grokdist.transfer.trees import SPAN, load_tree, tree_path
from grokdist.transfer.verify import verify
from grokdist.trust.merkle import BLOCK, hash_blocks, root
from grokdist.trust.receipt import Receipt, ReceiptFile
from tests.transfer.models import HASTY, entry_of, manifest_of, plan_for, small_files
from tests.trust.example_receipt import EXAMPLE_RECEIPT

FILES = small_files()
MANIFEST = manifest_of([entry_of(path, data) for path, data in FILES.items()])
MID = "ckpt-0/tensor00002_000"
BIG = "ckpt-0/big"
DATA = random.Random(3).randbytes(5 * SPAN + 7)
ROOT = root(hash_blocks(DATA)).hex()


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """A fetched model, with no tree yet."""
    for path, data in FILES.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    fetch(plan_for(FILES, tmp_path / "m", LocalSource(tmp_path / "copy")), patience=HASTY)
    for path in FILES:
        (tmp_path / "m" / tree_path(path)).unlink(missing_ok=True)
    with ModelTree(tmp_path / "m") as tree:
        receipt = load_receipt(tree)
        assert receipt is not None
        files = tuple(dataclasses.replace(file, pieces_root=None) for file in receipt.files)
        tree.write_small(
            ".grokdist/receipt.json", dataclasses.replace(receipt, files=files).to_json()
        )
    return tmp_path / "m"


def _receipt(model: Path) -> Receipt:
    with ModelTree(model) as tree:
        receipt = load_receipt(tree)
    assert receipt is not None
    return receipt


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))


# Building while verifying


def test_trees_are_built_once_and_their_roots_noted(fetched: Path) -> None:
    report = verify(fetched, MANIFEST, trees=True)
    assert report.ok
    assert (report.trees, report.treeless) == (6, ())
    roots = {file.path: file.pieces_root for file in _receipt(fetched).files}
    assert roots == {
        path: root(hash_blocks(data)).hex() if data else None for path, data in FILES.items()
    }
    with ModelTree(fetched) as tree:
        for path, data in FILES.items():
            if data:
                assert load_tree(tree, path, len(data), roots[path] or "") is not None
    again = verify(fetched, MANIFEST, receipt=_receipt(fetched), trees=True)
    assert again.ok
    assert again.trees == 0
    (fetched / tree_path(MID)).unlink()
    assert verify(fetched, MANIFEST, receipt=_receipt(fetched), trees=True).trees == 1


def test_a_plain_verify_builds_none(fetched: Path) -> None:
    report = verify(fetched, MANIFEST)
    assert report.ok
    assert report.trees == 0
    assert not (fetched / ".grokdist/trees").is_dir() or not list(
        (fetched / ".grokdist/trees").rglob("*.tree")
    )


def test_a_wrong_file_gets_no_tree(fetched: Path) -> None:
    _flip(fetched / MID, 5)
    report = verify(fetched, MANIFEST, trees=True)
    assert [each.path for each in report.mismatched] == [MID]
    assert report.trees == 5
    assert not (fetched / tree_path(MID)).exists()
    assert not list(fetched.rglob("*.new"))
    roots = {file.path: file.pieces_root for file in _receipt(fetched).files}
    assert roots[MID] is None


def test_trees_need_a_receipt_and_the_directory_to_itself(fetched: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no receipt that could note the roots"):
        verify(tmp_path / "copy", MANIFEST, trees=True)
    with (
        ModelTree(fetched) as tree,
        exclusive(tree),
        pytest.raises(StoreError, match="is in use by process"),
    ):
        verify(fetched, MANIFEST, trees=True)


def test_a_tree_that_cannot_be_kept_hinders_nothing(fetched: Path) -> None:
    trees = fetched / ".grokdist/trees"
    if trees.exists():
        trees.rename(fetched / ".grokdist/elsewhere")
    trees.write_bytes(b"")
    report = verify(fetched, MANIFEST, trees=True)
    assert report.ok
    assert (report.trees, len(report.treeless)) == (0, 6)


def test_a_receipt_of_other_bytes_gets_no_root_of_these(fetched: Path) -> None:
    receipt = _receipt(fetched)
    files = tuple(dataclasses.replace(file, sha256="0" * 64) for file in receipt.files)
    other = dataclasses.replace(receipt, files=files)
    (fetched / ".grokdist/receipt.json").write_bytes(other.to_json())
    assert verify(fetched, MANIFEST, trees=True).trees == 6
    assert _receipt(fetched) == other


def test_a_manifest_that_names_two_contents_is_told(fetched: Path) -> None:
    entries = [
        dataclasses.replace(entry, pieces_root="0" * 64) if entry.path == MID else entry
        for entry in MANIFEST.files
    ]
    report = verify(fetched, manifest_of(entries), trees=True)
    real = root(hash_blocks(FILES[MID])).hex()
    assert [(each.path, each.expected, each.got) for each in report.mismatched] == [
        (MID, f"tree root {'0' * 64}", f"tree root {real}")
    ]


# Saying where


@pytest.fixture
def treed(fetched: Path) -> Path:
    verify(fetched, MANIFEST, trees=True)
    return fetched


@pytest.mark.parametrize(
    ("tamper", "ranges"),
    [
        (lambda path: _flip(path, 0), ((0, BLOCK),)),
        (lambda path: _flip(path, 700_000), ((42 * BLOCK, 700_001),)),
        (lambda path: _flip(path, BLOCK), ((BLOCK, 2 * BLOCK),)),
        (lambda path: os.truncate(path, 3 * BLOCK), ((3 * BLOCK, 700_001),)),
        (lambda path: os.truncate(path, 0), ((0, 700_001),)),
        (lambda path: path.write_bytes(FILES[MID] + b"x"), ()),
        (
            lambda path: path.write_bytes(
                FILES[MID][BLOCK : 2 * BLOCK] + FILES[MID][:BLOCK] + FILES[MID][2 * BLOCK :]
            ),
            ((0, 2 * BLOCK),),
        ),
        (lambda path: (os.truncate(path, 0), os.truncate(path, 700_001)), ((0, 700_001),)),
    ],
    ids=["first", "last", "boundary", "cut", "emptied", "longer", "swapped", "sparse"],
)
def test_damage_is_located(
    treed: Path, tamper: Callable[[Path], object], ranges: tuple[tuple[int, int], ...]
) -> None:
    tamper(treed / MID)
    report = verify(treed, MANIFEST, receipt=_receipt(treed))
    assert [(each.path, each.ranges) for each in report.mismatched] == [(MID, ranges)]


def test_without_a_root_or_a_tree_nothing_is_located(treed: Path) -> None:
    _flip(treed / MID, 0)
    assert verify(treed, MANIFEST).mismatched[0].ranges == ()
    (treed / tree_path(MID)).unlink()
    assert verify(treed, MANIFEST, receipt=_receipt(treed)).mismatched[0].ranges == ()


def test_forged_tree_and_receipt_hide_nothing_from_a_full_verify(treed: Path) -> None:
    bad = b"\xff" + FILES[MID][1:]
    (treed / MID).write_bytes(bad)
    with ModelTree(treed) as tree:
        forged = save_tree(tree, MID, len(bad), hash_blocks(bad))
    receipt = _receipt(treed).with_roots({MID: forged})
    files = tuple(
        dataclasses.replace(file, sha256=hashlib.sha256(bad).hexdigest())
        if file.path == MID
        else file
        for file in receipt.files
    )
    receipt = dataclasses.replace(receipt, files=files)
    (treed / ".grokdist/receipt.json").write_bytes(receipt.to_json())
    for trees in (False, True):
        report = verify(treed, MANIFEST, receipt=receipt, trees=trees)
        assert [each.path for each in report.mismatched] == [MID]


def test_a_hard_link_is_as_good_as_its_bytes(treed: Path) -> None:
    elsewhere = treed.parent / "elsewhere"
    (treed / MID).rename(elsewhere)
    (treed / MID).hardlink_to(elsewhere)
    assert verify(treed, MANIFEST).ok
    _flip(elsewhere, 3)
    assert not verify(treed, MANIFEST).ok


# The last large file, shared


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file that counts as large, with its tree."""
    monkeypatch.setattr(tail, "LARGE", SPAN)
    monkeypatch.setattr(verify_module, "_PORTION", SPAN)
    (tmp_path / "ckpt-0").mkdir()
    (tmp_path / BIG).write_bytes(DATA)
    with ModelTree(tmp_path) as tree:
        assert save_tree(tree, BIG, len(DATA), hash_blocks(DATA)) == ROOT
    return tmp_path


def _rooted(**changes: str | None) -> Manifest:
    plain = entry_of(BIG, DATA)
    known: dict[str, str | None] = {"sha256": plain.sha256, "pieces_root": ROOT, **changes}
    return manifest_of([FileEntry(path=BIG, size=plain.size, **known)])


class _Listener(NoProgress):
    """Keeps what it is told, and meddles once."""

    def __init__(self, meddle: Callable[[], object] = lambda: None) -> None:
        self.read: list[int] = []
        self.done: list[str] = []
        self.lost_bytes = 0
        self._meddle = meddle

    def advance(self, source: str, path: str, count: int) -> None:
        meddle, self._meddle = self._meddle, lambda: None
        meddle()
        self.read.append(count)

    def lost(self, path: str, count: int) -> None:
        self.lost_bytes += count

    def file_done(self, path: str, size: int, source: str) -> None:
        self.done.append(path)


def test_one_large_file_is_checked_by_its_signed_root(large: Path) -> None:
    # A digest that no bytes have shows that it was not asked.
    listener = _Listener()
    report = verify(large, _rooted(sha256="0" * 64), jobs=2, progress=listener)
    assert report.ok
    assert (report.files, report.bytes) == (1, len(DATA))
    assert (sum(listener.read), listener.done) == (len(DATA), [BIG])


def test_one_thread_and_an_unsigned_root_ask_for_the_digest(large: Path) -> None:
    assert not verify(large, _rooted(sha256="0" * 64), jobs=1).ok
    assert not verify(large, _rooted(sha256="0" * 64, pieces_root=None), jobs=2).ok
    noted = ReceiptFile(path=BIG, size=len(DATA), sha256="0" * 64, pieces_root=ROOT)
    receipt = dataclasses.replace(EXAMPLE_RECEIPT, files=(noted,))
    unsigned = _rooted(sha256="0" * 64, pieces_root=None)
    assert not verify(large, unsigned, receipt=receipt, jobs=2).ok
    assert verify(large, _rooted(pieces_root=None), receipt=receipt, jobs=2).ok


@pytest.mark.parametrize("at", [0, SPAN - 1, SPAN, 5 * SPAN, len(DATA) - 1])
def test_damage_in_a_shared_file_is_found_and_told_as_any(large: Path, at: int) -> None:
    _flip(large / BIG, at)
    listener = _Listener()
    report = verify(large, _rooted(), jobs=3, progress=listener)
    found = report.mismatched[0]
    assert found.expected == f"sha256:{entry_of(BIG, DATA).sha256}"
    assert found.got == f"sha256:{hashlib.sha256((large / BIG).read_bytes()).hexdigest()}"
    start = at - at % BLOCK
    assert found.ranges == ((start, min(start + BLOCK, len(DATA))),)
    assert sum(listener.read) - listener.lost_bytes == len(DATA)
    assert listener.done == []


@pytest.mark.parametrize(
    ("tamper", "field"),
    [
        (lambda path: os.truncate(path, 3 * SPAN), "mismatched"),
        (lambda path: path.write_bytes(DATA + b"x"), "mismatched"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.unlink(), path.mkdir()), "mismatched"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "mismatched"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "mismatched"),
    ],
)
def test_a_shared_file_that_is_none(
    large: Path, tamper: Callable[[Path], object], field: str
) -> None:
    tamper(large / BIG)
    report = verify(large, _rooted(), jobs=2)
    assert len(getattr(report, field)) == 1


def test_a_root_that_fits_no_kept_tree_leaves_it_to_the_digest(large: Path) -> None:
    assert verify(large, _rooted(pieces_root="0" * 64), jobs=2).ok
    (large / tree_path(BIG)).write_bytes(b"garbage")
    assert verify(large, _rooted(), jobs=2).ok


def _rewrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"meddled")


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(bytes(len(DATA)))
    path.with_name("new").rename(path)


@pytest.mark.parametrize("pieces_root", [ROOT, None], ids=["shared", "whole"])
@pytest.mark.parametrize("meddle", [_rewrite, _replace, lambda path: os.truncate(path, 0)])
def test_a_file_that_is_meddled_with_meanwhile_is_never_right(
    large: Path, meddle: Callable[[Path], object], pieces_root: str | None
) -> None:
    report = verify(
        large,
        _rooted(pieces_root=pieces_root),
        jobs=2,
        progress=_Listener(lambda: meddle(large / BIG)),
    )
    assert [each.path for each in report.mismatched] == [BIG]
