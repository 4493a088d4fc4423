"""The record of a part: one whole slot is always there, and nonsense is nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grokdist.errors import UnsafePathError
from grokdist.transfer import part_state
from grokdist.transfer.part_state import PartState, StateFile, Written, read_state
from grokdist.transfer.ranges import RangeMap
from grokdist.transfer.tree import ModelTree
from grokdist.trust.resumable_sha256 import Sha256State

SLOT = 16_384
SIZE = 4 * SLOT
NAME = ".grokdist/parts/folder/data.state"
HASH = Sha256State(offset=128, value=bytes(range(32)))
WRITTEN = Written(ranges=RangeMap([(0, 200, "hub"), (500, 900, "https:x")]), state=HASH)
SYNCED = Written(ranges=RangeMap([(0, 64, "hub")]), state=Sha256State(offset=64, value=bytes(32)))


def _state(**changes: Any) -> PartState:
    digest = "sha256:" + "ab" * 32
    state = PartState(digest=digest, size=1000, written=WRITTEN, synced=SYNCED, boot="this")
    return replace(state, **changes)


def _rows(state: PartState | None) -> list[tuple[int, int, str]]:
    assert state is not None
    return list(state.written.ranges)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


@pytest.fixture(autouse=True)
def _boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_state, "boot_id", lambda: "this")


def test_what_is_saved_is_read_again(tree: ModelTree) -> None:
    file = StateFile(tree, NAME)
    assert file.load() is None
    file.save(_state())
    file.close()
    found = read_state(tree, NAME)
    assert found is not None
    assert (found.digest, found.size, found.boot) == (_state().digest, 1000, "this")
    assert _rows(found) == list(WRITTEN.ranges)
    assert found.written.state == HASH
    assert list(found.synced.ranges) == [(0, 64, "hub")]
    file.remove()
    assert read_state(tree, NAME) is None


def test_the_newest_wins_over_many_saves_and_processes(tree: ModelTree, tmp_path: Path) -> None:
    for end in range(1, 8):
        file = StateFile(tree, NAME)
        file.load()
        for step in range(3):
            written = Written(ranges=RangeMap([(0, end * 10 + step, "hub")]))
            file.save(_state(written=written), durable=step == 2)
        file.close()
        assert _rows(read_state(tree, NAME)) == [(0, end * 10 + 2, "hub")]
    assert (tmp_path / NAME).stat().st_size <= SIZE


def _save(tree: ModelTree, end: int, *, durable: bool) -> None:
    """What one more process writes down, and where: see ``_slots``."""
    file = StateFile(tree, NAME)
    file.load()
    # Nearly a slot full, and different from the one before all the way.
    ranges = RangeMap((1000 * row, 1000 * row + end, "hub") for row in range(800))
    file.save(_state(size=1_000_000, written=Written(ranges=ranges)), durable=durable)
    file.close()


def _end(tree: ModelTree) -> int:
    return _rows(read_state(tree, NAME))[0][1]


def _slots(tmp_path: Path) -> list[bytes]:
    data = (tmp_path / NAME).read_bytes().ljust(SIZE, b"\0")
    return [data[place : place + SLOT] for place in range(0, SIZE, SLOT)]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("torn", [0, 1, 40, 5000, 10_000])
def test_a_torn_slot_leaves_the_one_before(
    tree: ModelTree, tmp_path: Path, torn: int, durable: bool
) -> None:
    for end in (1, 2, 3):
        _save(tree, end, durable=durable)
    before = _slots(tmp_path)
    _save(tree, 4, durable=durable)
    after = _slots(tmp_path)
    (place,) = [place for place in range(4) if before[place] != after[place]]
    after[place] = after[place][:torn] + before[place][torn:]
    (tmp_path / NAME).write_bytes(b"".join(after))
    assert _end(tree) == 3
    # And the next save does not go where the whole one is.
    _save(tree, 5, durable=durable)
    assert sum(one != two for one, two in zip(after, _slots(tmp_path), strict=True)) == 1
    assert _slots(tmp_path)[place] != after[place]
    assert _end(tree) == 5


def test_what_was_synced_is_touched_by_nothing_that_was_not(
    tree: ModelTree, tmp_path: Path
) -> None:
    """After a power cut any write since the last sync may be torn."""
    for end in (1, 2, 3):
        _save(tree, end, durable=True)
        _save(tree, 10 + end, durable=False)
    synced = _slots(tmp_path)
    for end in range(20, 30):
        _save(tree, end, durable=False)
    torn = [
        one if one == two else two[:9000].ljust(SLOT, b"\0")
        for one, two in zip(synced, _slots(tmp_path), strict=True)
    ]
    (tmp_path / NAME).write_bytes(b"".join(torn))
    assert _end(tree) == 3


@pytest.mark.parametrize("size", [0, 1, SLOT - 1, SLOT, 2 * SLOT, 5 * SLOT])
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"{"])
def test_garbage_is_nothing(tree: ModelTree, tmp_path: Path, size: int, fill: bytes) -> None:
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_bytes(fill * size)
    assert read_state(tree, NAME) is None


def _forge(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A slot with a right checksum and the content changed by hand."""
    document = json.loads(part_state._body(1, _state())[32:])
    change(document)
    text = json.dumps(document).encode().ljust(SLOT - 32)
    return hashlib.sha256(text).digest() + text


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("digest"),
        lambda d: d.update(size=-1),
        lambda d: d.update(size="1000"),
        lambda d: d.update(size=100),
        lambda d: d.update(sequence=None),
        lambda d: d.update(written=None),
        lambda d: d["written"].update(ranges=[[0, 1001, 0]]),
        lambda d: d["written"].update(ranges=[[-5, 10, 0]]),
        lambda d: d["written"].update(ranges=[[10, 10, 0]]),
        lambda d: d["written"].update(ranges=[[10, 5, 0]]),
        lambda d: d["written"].update(ranges=[[0, 5, 7]]),
        lambda d: d["written"].update(ranges=[[0, 5]]),
        lambda d: d["written"].update(ranges=[["a", "b", "c"]]),
        lambda d: d["written"].update(ranges={"0": 1}),
        lambda d: d.update(sequence=float("inf")),
        lambda d: d["written"].update(ranges=[[0, float("inf"), 0]]),
        lambda d: d["written"].update(ranges=[[0, float("nan"), 0]]),
        lambda d: d["written"].update(sha256=[float("inf"), "00" * 32]),
        lambda d: d["written"].update(sha256=[64]),
        lambda d: d["written"].update(sha256=[63, "00" * 32]),
        lambda d: d["written"].update(sha256=[64, "00"]),
        lambda d: d["written"].update(sha256=[64, "zz" * 32]),
        lambda d: d["synced"].update(ranges=[[0, 99999, 0]]),
    ],
)
def test_a_forged_record_that_makes_no_sense_is_nothing(
    tree: ModelTree, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_bytes(_forge(lambda _: None))
    assert _rows(read_state(tree, NAME)) == list(WRITTEN.ranges)
    (tmp_path / NAME).write_bytes(_forge(change))
    assert read_state(tree, NAME) is None


@pytest.mark.parametrize("value", [1e400, "[" * 3000, {"a": float("nan")}])
def test_odd_json_is_nothing(tree: ModelTree, tmp_path: Path, value: Any) -> None:
    (tmp_path / NAME).parent.mkdir(parents=True)
    text = value if isinstance(value, str) else json.dumps({"size": 5, "sequence": value})
    body = text.encode().ljust(SLOT - 32)
    (tmp_path / NAME).write_bytes(hashlib.sha256(body).digest() + body)
    assert read_state(tree, NAME) is None


def test_a_hash_that_is_ahead_of_the_bytes_is_left_out(tree: ModelTree, tmp_path: Path) -> None:
    (tmp_path / NAME).parent.mkdir(parents=True)
    far = _forge(lambda d: d["written"].update(sha256=[512, "00" * 32]))
    (tmp_path / NAME).write_bytes(far)
    found = read_state(tree, NAME)
    assert found is not None
    assert found.written.state is None


def test_more_ranges_than_fit_are_shortened_from_the_back(tree: ModelTree, tmp_path: Path) -> None:
    many = RangeMap((place * 10, place * 10 + 5, f"source-{place % 7}") for place in range(20_000))
    file = StateFile(tree, NAME)
    file.save(_state(size=1_000_000, written=Written(ranges=many), synced=Written(ranges=many)))
    file.close()
    assert (tmp_path / NAME).stat().st_size <= SIZE
    kept = _rows(read_state(tree, NAME))
    assert len(kept) > 100
    assert kept == list(many)[: len(kept)]


def test_a_name_of_any_length_fits(tree: ModelTree) -> None:
    file = StateFile(tree, NAME)
    names = RangeMap([(0, 5, "https:" + "é" * 10_000), (5, 10, "\udcff\"'\n")])
    file.save(_state(written=Written(ranges=names)))
    file.close()
    rows = _rows(read_state(tree, NAME))
    assert [row[:2] for row in rows] == [(0, 5), (5, 10)]
    assert len(rows[0][2]) <= 512


class TestAnotherRunOfTheMachine:
    """After a power cut only what was synced counts."""

    def test_what_was_written_counts_while_the_machine_runs(self) -> None:
        assert _state(boot="this").usable is WRITTEN

    def test_what_was_synced_counts_after_that(self) -> None:
        assert _state(boot="another").usable is SYNCED

    def test_an_unknown_run_is_another_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(part_state, "boot_id", lambda: "")
        assert _state(boot="").usable is SYNCED


def test_a_link_in_its_place_is_refused_and_not_followed(tree: ModelTree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).symlink_to(outside)
    with pytest.raises(UnsafePathError):
        StateFile(tree, NAME).save(_state())
    assert read_state(tree, NAME) is None
    assert outside.read_bytes() == b"precious"


def test_a_closed_file_is_opened_again_by_the_next_save(tree: ModelTree) -> None:
    file = StateFile(tree, NAME)
    file.save(_state())
    descriptors = Path("/proc/self/fd")
    opened = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    file.close()
    file.close()
    if opened:
        assert len(list(descriptors.iterdir())) == opened - 1
    file.save(_state(boot="later"))
    file.close()
    found = read_state(tree, NAME)
    assert found is not None
    assert found.boot == "later"
