"""A range or a sample is held against trees, and claims no more than the roots allow."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import UsageError
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sampling import SampleSize
from grokdist.transfer.spot_check import verify_range, verify_sample
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_writer import save_tree
from grokdist.transfer.trees import SPAN, tree_path
from grokdist.trust.merkle import BLOCK, hash_blocks, root
from grokdist.trust.receipt import Receipt, ReceiptFile, parse_receipt
from tests.transfer.models import entry_of, manifest_of
from tests.trust.example_receipt import EXAMPLE_RECEIPT

BIG = "ckpt-0/big"
FILES = {
    BIG: random.Random(1).randbytes(2 * SPAN + 3 * BLOCK + 9),
    "ckpt-0/small": random.Random(2).randbytes(5 * BLOCK),
    "tiny": b"x",
    "empty": b"",
}
ALL = SampleSize(share=1.0)
BLOCKS = 2 * 64 + 4 + 5 + 1


def _root(path: str) -> str:
    return root(hash_blocks(FILES[path])).hex()


def _entry(path: str, *, rooted: bool) -> FileEntry:
    data = FILES[path]
    plain = entry_of(path, data)
    if not rooted or not data:
        return plain
    return FileEntry(path=path, size=plain.size, sha256=plain.sha256, pieces_root=_root(path))


def _manifest(*, rooted: bool = True) -> Manifest:
    return manifest_of([_entry(path, rooted=rooted) for path in FILES])


def _receipt(**roots: str) -> Receipt:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    document["files"] = []
    files = []
    for path, data in FILES.items():
        sha256 = entry_of(path, data).sha256 or ""
        known = roots.get(path, _root(path)) if data else None
        files.append(ReceiptFile(path=path, size=len(data), sha256=sha256, pieces_root=known))
    empty = parse_receipt(json.dumps(document).encode())
    return Receipt(
        **{name: getattr(empty, name) for name in Receipt.__slots__ if name != "files"},
        files=tuple(files),
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Files and their trees."""
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    with ModelTree(tmp_path) as tree:
        for path, data in FILES.items():
            if data:
                save_tree(tree, path, len(data), hash_blocks(data))
    return tmp_path


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))


# One range


def test_a_right_range_is_proved_and_nothing_else_is_read(model: Path) -> None:
    _flip(model / BIG, 0)
    _flip(model / "tiny", 0)
    report = verify_range(model, _manifest(), BIG, SPAN + 5, SPAN + BLOCK + 1)
    assert report.ok
    assert (report.files, report.bytes) == (1, 2 * BLOCK)
    assert report.range is not None
    assert (report.range.start, report.range.end) == (SPAN + 5, SPAN + BLOCK + 1)
    assert report.range.signed
    assert report.range.root == _root(BIG)


@pytest.mark.parametrize(
    ("start", "end", "at"),
    [
        (0, 1, BLOCK - 1),
        (0, None, len(FILES[BIG]) - 1),
        (SPAN - 1, SPAN + 1, SPAN - BLOCK),
        (2 * SPAN, None, 2 * SPAN),
    ],
)
def test_damage_in_the_blocks_of_a_range_is_found(
    model: Path, start: int, end: int | None, at: int
) -> None:
    _flip(model / BIG, at)
    report = verify_range(model, _manifest(), BIG, start, end)
    assert not report.ok
    block = at - at % BLOCK
    assert report.mismatched[0].ranges == ((block, min(block + BLOCK, len(FILES[BIG]))),)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda path: os.truncate(path, SPAN),
        lambda path: path.write_bytes(FILES[BIG] + b"x"),
        lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_file_of_another_kind_or_size_is_wrong_whatever_the_range(
    model: Path, tamper: Callable[[Path], object]
) -> None:
    tamper(model / BIG)
    report = verify_range(model, _manifest(), BIG, 0, 1)
    assert not report.ok
    assert [each.path for each in report.mismatched] == [BIG]


def test_a_file_that_is_not_there_is_missing(model: Path) -> None:
    (model / BIG).unlink()
    assert verify_range(model, _manifest(), BIG, 0, 1).missing == (BIG,)


@pytest.mark.parametrize(
    ("path", "start", "end"),
    [
        ("nothing", 0, 1),
        (BIG, 5, 5),
        (BIG, 6, 5),
        (BIG, 0, len(FILES[BIG]) + 1),
        (BIG, len(FILES[BIG]), None),
        ("empty", 0, None),
    ],
)
def test_a_range_that_is_none(model: Path, path: str, start: int, end: int | None) -> None:
    with pytest.raises(UsageError):
        verify_range(model, _manifest(), path, start, end)


def test_a_range_needs_a_tree_and_a_root(model: Path) -> None:
    with pytest.raises(UsageError, match="no tree of ckpt-0/big"):
        verify_range(model, _manifest(rooted=False), BIG, 0, 1)
    (model / tree_path(BIG)).unlink()
    with pytest.raises(UsageError, match="no tree of ckpt-0/big"):
        verify_range(model, _manifest(), BIG, 0, 1)


def test_a_root_of_the_receipt_serves_and_is_not_called_signed(model: Path) -> None:
    report = verify_range(model, _manifest(rooted=False), BIG, 0, 1, receipt=_receipt())
    assert report.ok
    assert report.range is not None
    assert not report.range.signed


def _forge(model: Path) -> Receipt:
    """Change a file and everything in the directory that would show it."""
    bad = b"\xff" + FILES[BIG][1:]
    (model / BIG).write_bytes(bad)
    with ModelTree(model) as tree:
        forged = save_tree(tree, BIG, len(bad), hash_blocks(bad))
    return _receipt(**{BIG: forged})


def test_a_forged_tree_and_receipt_do_not_stand_against_a_signed_root(model: Path) -> None:
    forged = _forge(model)
    with pytest.raises(UsageError, match="no tree of ckpt-0/big"):
        verify_range(model, _manifest(), BIG, 0, 1, receipt=forged)
    report = verify_sample(model, _manifest(), ALL, receipt=forged)
    assert report.sampled is not None
    assert report.sampled.without_tree == (BIG,)
    # Where the manifest knows no root, the report says that nobody signed it.
    unsigned = verify_sample(model, _manifest(rooted=False), ALL, receipt=forged)
    assert unsigned.ok
    assert unsigned.sampled is not None
    assert unsigned.sampled.unsigned == unsigned.sampled.files == 3


class _Meddler(NoProgress):
    """Writes to a file as soon as some of it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def advance(self, source: str, path: str, count: int) -> None:
        _flip(self._path, 0)
        _flip(self._path, 0)


def test_a_file_that_is_written_meanwhile_is_not_right(model: Path) -> None:
    meddler = _Meddler(model / BIG)
    ranged = verify_range(model, _manifest(), BIG, 0, None, progress=meddler)
    sampled = verify_sample(model, _manifest(), ALL, include=(BIG,), progress=meddler)
    for report in (ranged, sampled):
        assert [each.got for each in report.mismatched] == ["one changed while read"]


# Samples


def test_a_whole_sample_of_a_right_model(model: Path) -> None:
    report = verify_sample(model, _manifest(), ALL)
    assert report.ok
    assert report.bytes == sum(map(len, FILES.values()))
    assert report.files == 3
    sampled = report.sampled
    assert sampled is not None
    assert (sampled.blocks, sampled.of_blocks, sampled.unsigned) == (BLOCKS, BLOCKS, 0)
    assert (sampled.missed_at_1_percent, sampled.without_tree) == (0.0, ())


def test_a_sample_finds_exactly_what_it_reads(model: Path) -> None:
    _flip(model / BIG, SPAN)
    found = []
    for seed in range(60):
        report = verify_sample(model, _manifest(), SampleSize(blocks=30), seed=seed)
        assert report.sampled is not None
        assert report.sampled.seed == seed
        assert report.sampled.blocks == 30
        assert report.bytes <= 30 * BLOCK
        found.append(not report.ok)
        if not report.ok:
            assert report.mismatched[0].ranges == ((SPAN, SPAN + BLOCK),)
    # The block is in 30 of 138; five standard deviations about the mean of 60 draws.
    assert 0.0 < sum(found) / 60 < 0.5
    again = [verify_sample(model, _manifest(), SampleSize(blocks=30), seed=s).ok for s in range(60)]
    assert again == [not each for each in found]


def test_damage_everywhere_in_a_file_is_one_mismatch_with_all_its_ranges(model: Path) -> None:
    (model / BIG).write_bytes(bytes(len(FILES[BIG])))
    report = verify_sample(model, _manifest(), ALL, jobs=3)
    assert [each.path for each in report.mismatched] == [BIG]
    assert report.mismatched[0].ranges == ((0, len(FILES[BIG])),)
    assert report.mismatched[0].expected == f"tree root {_root(BIG)}"


@pytest.mark.parametrize(
    ("tamper", "field", "path"),
    [
        (lambda model: (model / BIG).unlink(), "missing", BIG),
        (lambda model: (model / "empty").write_bytes(b"x"), "mismatched", "empty"),
        (lambda model: os.truncate(model / BIG, SPAN), "mismatched", BIG),
        (lambda model: (model / "more").write_bytes(b""), "extra", "more"),
        (
            lambda model: ((model / "tiny").unlink(), (model / "tiny").symlink_to("/")),
            "mismatched",
            "tiny",
        ),
    ],
)
def test_a_sample_sees_every_file(
    model: Path, tamper: Callable[[Path], object], field: str, path: str
) -> None:
    tamper(model)
    report = verify_sample(model, _manifest(), SampleSize(blocks=1))
    assert not report.ok
    rows = getattr(report, field)
    assert [getattr(row, "path", row) for row in rows] == [path]


def test_files_without_a_tree_are_named(model: Path) -> None:
    (model / tree_path(BIG)).write_bytes(b"garbage")
    report = verify_sample(model, _manifest(), ALL)
    assert report.ok
    assert report.sampled is not None
    assert report.sampled.without_tree == (BIG,)
    assert report.sampled.of_blocks == 6
    with pytest.raises(UsageError, match="no trees are kept"):
        verify_sample(model, _manifest(rooted=False), ALL)


def test_include_restricts_a_sample(model: Path) -> None:
    _flip(model / BIG, 0)
    report = verify_sample(model, _manifest(), ALL, include=("tiny", "ckpt-0/small"))
    assert report.ok
    assert report.files == 2
