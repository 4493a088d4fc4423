"""A kept tree finds every damage to its block, and is believed only as far as its root."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grokdist.transfer import trees
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_writer import TreeWriter, save_tree
from grokdist.transfer.trees import (
    SPAN,
    FileTree,
    joined,
    load_tree,
    tree_path,
)
from grokdist.trust.merkle import BLOCK, hash_blocks, root

PATH = "ckpt-0/tensor"
SIZE = 3 * SPAN + 5 * BLOCK + 77
DATA = random.Random(7).randbytes(SIZE)
ROOT = root(hash_blocks(DATA)).hex()


@pytest.fixture
def model(tmp_path: Path) -> Iterator[ModelTree]:
    """A directory with one file and its tree."""
    (tmp_path / "ckpt-0").mkdir()
    (tmp_path / PATH).write_bytes(DATA)
    with ModelTree(tmp_path) as tree:
        assert save_tree(tree, PATH, SIZE, hash_blocks(DATA)) == ROOT
        yield tree


def _loaded(tree: ModelTree, path: str = PATH, size: int = SIZE, root: str = ROOT) -> FileTree:
    found = load_tree(tree, path, size, root)
    assert found is not None
    return found


def _damaged(tree: ModelTree, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    fd = tree.open(PATH, os.O_RDONLY)
    try:
        return _loaded(tree).damaged(fd, start=start, end=end)
    finally:
        os.close(fd)


def _put(tree: ModelTree, at: int, data: bytes) -> None:
    with tree.path(PATH).open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def _other(byte: int) -> bytes:
    return bytes([byte ^ 1])


def test_a_right_file_has_no_damage(model: ModelTree) -> None:
    read: list[int] = []
    fd = model.open(PATH, os.O_RDONLY)
    assert _loaded(model).damaged(fd, on_bytes=read.append) == []
    os.close(fd)
    assert sum(read) == SIZE
    assert max(read) == SPAN


@pytest.mark.parametrize(
    "at",
    [0, 1, BLOCK - 1, BLOCK, SPAN - 1, SPAN, 3 * SPAN - 1, 3 * SPAN + 5 * BLOCK, SIZE - 1],
)
def test_one_byte_is_found_to_its_block(model: ModelTree, at: int) -> None:
    _put(model, at, _other(DATA[at]))
    start = at - at % BLOCK
    assert _damaged(model) == [(start, min(start + BLOCK, SIZE))]


@given(places=st.sets(st.integers(0, SIZE - 1), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_exactly_the_blocks_that_differ_are_found(model: ModelTree, places: set[int]) -> None:
    model.path(PATH).write_bytes(DATA)
    for at in places:
        _put(model, at, _other(DATA[at]))
    blocks = {at // BLOCK for at in places}
    found = _damaged(model)
    assert {b for low, high in found for b in range(low // BLOCK, -(-high // BLOCK))} == blocks
    assert found == joined(found)
    # And in a range, those of its blocks.
    some = _damaged(model, BLOCK + 1, 2 * SPAN + 1)
    assert {b for low, high in some for b in range(low // BLOCK, high // BLOCK)} == {
        b for b in blocks if 1 <= b <= 2 * SPAN // BLOCK
    }


def test_a_range_reads_its_own_blocks_only(model: ModelTree) -> None:
    read: list[int] = []
    fd = model.open(PATH, os.O_RDONLY)
    _loaded(model).damaged(fd, start=SPAN + 5, end=SPAN + BLOCK + 1, on_bytes=read.append)
    os.close(fd)
    assert read == [2 * BLOCK]
    assert _damaged(model, 5, 5) == []
    for start, end in ((-1, 5), (5, 4), (0, SIZE + 1)):
        with pytest.raises(ValueError, match="range"):
            _damaged(model, start, end)


def test_swapped_blocks_are_both_found(model: ModelTree) -> None:
    _put(model, 0, DATA[BLOCK : 2 * BLOCK] + DATA[:BLOCK])
    assert _damaged(model) == [(0, 2 * BLOCK)]
    _put(model, 0, DATA[: 2 * BLOCK])
    _put(model, 0, DATA[SPAN : 2 * SPAN] + DATA[:SPAN])
    assert _damaged(model) == [(0, 2 * SPAN)]


def test_what_is_not_there_is_damaged(model: ModelTree) -> None:
    os.truncate(model.path(PATH), SPAN + 100)
    assert _damaged(model) == [(SPAN, SIZE)]
    os.truncate(model.path(PATH), 0)
    assert _damaged(model) == [(0, SIZE)]


def test_a_hole_is_damaged_and_what_follows_the_end_is_not_looked_at(model: ModelTree) -> None:
    path = model.path(PATH)
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    _put(model, SPAN, DATA[SPAN : 2 * SPAN])
    assert _damaged(model) == [(0, SPAN), (2 * SPAN, SIZE)]
    path.write_bytes(DATA + b"more")
    assert _damaged(model) == []


def test_what_cannot_be_read_is_damaged(model: ModelTree) -> None:
    """A file handle that may not be read stands for a disk that cannot."""
    fd = os.open(model.path(PATH), os.O_WRONLY)
    assert _loaded(model).damaged(fd) == [(0, SIZE)]
    os.close(fd)


def test_a_stop_ends_the_search(model: ModelTree) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(HashingStoppedError, match="ckpt-0/tensor was interrupted"):
        _loaded(model).damaged(-1, stop=stop)


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN])
def test_every_size_has_a_tree(tmp_path: Path, size: int) -> None:
    data = DATA[:size]
    (tmp_path / "f").write_bytes(data)
    with ModelTree(tmp_path) as tree:
        known = save_tree(tree, "f", size, hash_blocks(data))
        assert known == root(hash_blocks(data)).hex()
        loaded = _loaded(tree, "f", size, known)
        fd = tree.open("f", os.O_RDWR)
        assert loaded.damaged(fd) == []
        os.pwrite(fd, _other(data[-1]), size - 1)
        assert loaded.damaged(fd) == [((size - 1) // BLOCK * BLOCK, size)]
        os.close(fd)


def test_leaves_may_come_in_any_portions(model: ModelTree) -> None:
    leaves = hash_blocks(DATA)
    whole = model.path(tree_path(PATH)).read_bytes()
    for portion in (32, 32 * 63, 32 * 65, len(leaves)):
        with TreeWriter(model, PATH, SIZE) as writer:
            for at in range(0, len(leaves), portion):
                writer.append(leaves[at : at + portion])
            assert writer.finish() == ROOT
        assert model.path(tree_path(PATH)).read_bytes() == whole


def test_an_unfinished_tree_leaves_nothing_and_harms_nothing(model: ModelTree) -> None:
    with TreeWriter(model, PATH, SIZE) as writer:
        writer.append(hash_blocks(DATA)[:320])
        with pytest.raises(ValueError, match="do not cover"):
            writer.finish()
    with TreeWriter(model, PATH, SIZE) as writer:
        writer.append(hash_blocks(DATA) + bytes(32))
        with pytest.raises(ValueError, match="do not cover"):
            writer.finish()
    assert _damaged(model) == []
    kept = model.path(".grokdist/trees/ckpt-0").iterdir()
    assert [each.name for each in kept] == ["tensor.tree"]
    for size in (0, -1, trees.LARGEST + 1):
        with pytest.raises(ValueError, match="expected 1 to"):
            TreeWriter(model, PATH, size)
        assert load_tree(model, PATH, size, ROOT) is None


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + _other(data[at]) + data[at + 1 :]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:40],
        lambda data: bytes(len(data)),
        lambda data: b"\xff" * len(data),
        _flip(0),
        _flip(16),
        _flip(24),
        _flip(64),
        _flip(64 + 4 * 32 - 1),
    ],
)
def test_a_tree_file_that_does_not_hash_to_its_root_is_none(
    model: ModelTree, tamper: Callable[[bytes], bytes]
) -> None:
    path = model.path(tree_path(PATH))
    path.write_bytes(tamper(path.read_bytes()))
    assert load_tree(model, PATH, SIZE, ROOT) is None


def test_a_tree_of_another_size_or_root_is_none(model: ModelTree) -> None:
    assert load_tree(model, PATH, SIZE - 1, ROOT) is None
    assert load_tree(model, PATH, SIZE + 1, ROOT) is None
    assert load_tree(model, PATH, SIZE, "0" * 64) is None
    assert load_tree(model, "other", SIZE, ROOT) is None


def test_a_tree_that_was_made_to_fit_other_data_is_none(model: ModelTree) -> None:
    forged = hash_blocks(b"x" * SIZE)
    save_tree(model, PATH, SIZE, forged)
    assert load_tree(model, PATH, SIZE, ROOT) is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("moved")])
def test_what_is_no_file_is_no_tree(model: ModelTree, make: Callable[[Path], None]) -> None:
    path = model.path(tree_path(PATH))
    path.rename(path.with_name("moved"))
    make(path)
    assert load_tree(model, PATH, SIZE, ROOT) is None


def test_damaged_leaves_locate_to_a_mib_and_never_vouch(model: ModelTree) -> None:
    path = model.path(tree_path(PATH))
    data = path.read_bytes()
    leaf = 64 + 4 * 32
    path.write_bytes(_flip(leaf)(data))
    assert _damaged(model) == []
    # Its node still speaks for the whole MiB, though its blocks can no longer be told apart.
    assert _damaged(model, 0, BLOCK) == []
    assert _loaded(model).check(0, DATA[:SPAN])
    assert not _loaded(model).check(0, DATA[:BLOCK])
    _put(model, 5, _other(DATA[5]))
    assert _damaged(model) == [(0, SPAN)]
    assert _damaged(model, 3 * BLOCK, 4 * BLOCK) == [(0, SPAN)]
    # A leaf that was made to fit the damage does not make it right.
    bad = DATA[:5] + _other(DATA[5]) + DATA[6:BLOCK]
    path.write_bytes(data[:leaf] + hash_blocks(bad) + data[leaf + 32 :])
    assert _damaged(model, 0, BLOCK) == [(0, SPAN)]
    assert not _loaded(model).check(0, bad)


def test_a_tree_file_that_vanishes_still_has_its_nodes(model: ModelTree) -> None:
    loaded = _loaded(model)
    model.path(tree_path(PATH)).unlink()
    _put(model, 5, _other(DATA[5]))
    fd = model.open(PATH, os.O_RDONLY)
    assert loaded.damaged(fd) == [(0, SPAN)]
    os.close(fd)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, SIZE),
        (0, BLOCK),
        (BLOCK, 3 * BLOCK),
        (SPAN - BLOCK, SPAN + BLOCK),
        (SPAN, 3 * SPAN),
        (3 * SPAN + 5 * BLOCK, SIZE),
        (SPAN, SPAN),
    ],
)
def test_data_is_checked_before_it_is_written(model: ModelTree, start: int, end: int) -> None:
    loaded = _loaded(model)
    data = DATA[start:end]
    assert loaded.check(start, data)
    for at in {0, len(data) // 2, len(data) - 1} if data else ():
        assert not loaded.check(start, data[:at] + _other(data[at]) + data[at + 1 :])


def test_data_at_no_boundary_cannot_be_checked(model: ModelTree) -> None:
    loaded = _loaded(model)
    for start, length in ((1, BLOCK), (0, BLOCK - 1), (-BLOCK, BLOCK), (0, SIZE - 1)):
        with pytest.raises(ValueError, match="whole blocks"):
            loaded.check(start, bytes(length))
    assert not loaded.check(0, DATA + bytes(BLOCK - SIZE % BLOCK))


def test_upper_layers_lead_to_the_root(model: ModelTree) -> None:
    loaded = _loaded(model)
    for span in (SPAN, 2 * SPAN, 4 * SPAN, 64 * SPAN):
        assert root(loaded.layer(span), span).hex() == ROOT
    assert len(loaded.layer(2 * SPAN)) == 64
    with pytest.raises(ValueError, match="expected at least"):
        loaded.layer(BLOCK)


def test_ranges_that_touch_are_one() -> None:
    assert joined([(5, 7), (0, 2), (2, 5), (9, 10)]) == [(0, 7), (9, 10)]
    assert joined([]) == []
