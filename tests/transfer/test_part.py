"""A part: filled in any order, hashed once from its front, gone on with, named only when right."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, ResourceError, StoreError, UnsafePathError
from grokdist.transfer import part as part_module
from grokdist.transfer import part_state
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.part_files import part_bytes, part_name, state_name, write_part
from grokdist.transfer.ranges import RangeMap
from grokdist.transfer.tree import ModelTree
from grokdist.trust.resumable_sha256 import resumable
from tests.transfer.models import content, entry_of

DATA = content("data", 100_000)
SIZE = len(DATA)
ENTRY = entry_of("folder/data", DATA)

needs_state = pytest.mark.skipif(
    not resumable(), reason="this Python's OpenSSL hides the state of SHA-256"
)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is read back from parts: offset and bytes of each read."""
    reads: list[tuple[int, int]] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        count = preadv(fd, buffers, offset)
        reads.append((offset, count))
        return count

    monkeypatch.setattr(os, "preadv", counting)
    return reads


def _bring(
    part: Part, start: int, end: int, source: str = "hub", data: bytes = DATA, step: int = 10_000
) -> Segment:
    """Bring a range and release it."""
    segment = part.claim(start, end, source)
    while segment.remaining:
        upto = min(segment.offset + step, segment.end)
        segment.append(data[segment.offset : upto])
    part.release(segment)
    return segment


def _finish(part: Part) -> None:
    part.catch_up()
    part.check()
    part.rename()
    part.let_go()


def test_bytes_get_their_name_only_when_all_are_right(tree: ModelTree, tmp_path: Path) -> None:
    part = Part(tree, ENTRY)
    _bring(part, 0, 60_000)
    with pytest.raises(DigestMismatchError):
        part.check()
    assert not (tmp_path / "folder").exists()
    _bring(part, 60_000, SIZE)
    _finish(part)
    assert (tmp_path / "folder/data").read_bytes() == DATA
    assert not list((tmp_path / ".grokdist/parts/folder").iterdir())
    assert part.sha256 == ENTRY.sha256


def test_several_sources_fill_it_in_any_order(tree: ModelTree, tmp_path: Path) -> None:
    part = Part(tree, ENTRY)
    one = part.claim(0, 40_000, "one")
    two = part.claim(70_000, SIZE, "two")
    assert part.gaps() == [(40_000, 70_000)]
    two.append(DATA[70_000:])
    three = part.claim(40_000, 70_000, "three")
    assert part.gaps() == []
    three.append(DATA[40_000:70_000])
    assert (part.hashed, part.whole, part.have) == (0, False, 60_000)
    one.append(DATA[:40_000])
    for segment in (one, two, three):
        part.release(segment)
    assert part.whole
    assert part.sources == {"one": 40_000, "three": 30_000, "two": 30_000}
    _finish(part)
    assert (tmp_path / "folder/data").read_bytes() == DATA


def test_the_front_is_hashed_from_memory_and_the_rest_once_from_the_cache(
    tree: ModelTree, read: list[tuple[int, int]]
) -> None:
    part = Part(tree, ENTRY)
    back = part.claim(50_000, SIZE, "back")
    front = part.claim(0, 50_000, "front")
    back.append(DATA[50_000:80_000])
    front.append(DATA[:25_000])
    assert (part.hashed, read) == (25_000, [])
    front.append(DATA[25_000:50_000])
    assert part.hashed == 80_000
    back.append(DATA[80_000:])
    assert part.whole
    assert read == [(50_000, 30_000)]
    part.close()


def test_hashing_behind_is_asked_for_where_nobody_is_at_the_front(tree: ModelTree) -> None:
    part = Part(tree, ENTRY)
    asked: list[int] = []
    part.on_behind = lambda: asked.append(part.have)
    _bring(part, 0, 10_000)
    assert asked == []
    part.drop("hub")
    _bring(part, 5000, 10_000)
    assert asked == [5000]
    assert not part.behind
    _bring(part, 0, 2000)
    segment = part.claim(2000, 5000, "swarm")
    segment.adopt(5000)
    part.catch_up()
    assert part.hashed == 10_000
    assert not part.behind
    part.close()


def test_a_segment_ends_where_another_took_over(tree: ModelTree, tmp_path: Path) -> None:
    part = Part(tree, ENTRY)
    segment = part.claim(0, SIZE, "one")
    segment.append(DATA[:30_000])
    assert segment.give_up(20_000) == 30_000
    assert segment.remaining == 0
    other = part.claim(30_000, SIZE, "two")
    # What is on its way is dropped.
    segment.append(b"x" * 10_000)
    assert part.have == 30_000
    other.append(DATA[30_000:])
    assert part.sources == {"one": 30_000, "two": 70_000}
    _finish(part)
    assert (tmp_path / "folder/data").read_bytes() == DATA


def test_more_bytes_than_were_claimed_are_not_written(tree: ModelTree, tmp_path: Path) -> None:
    part = Part(tree, ENTRY)
    segment = part.claim(0, SIZE, "one")
    heard: list[int] = []
    segment.on_bytes = heard.append
    segment.append(DATA + b"x" * 5)
    assert heard == [SIZE + 5]
    part.release(segment)
    segment.append(b"later")
    assert part.path.stat().st_size == SIZE
    _finish(part)
    assert (tmp_path / "folder/data").read_bytes() == DATA


def test_a_released_segment_leaves_a_gap(tree: ModelTree) -> None:
    part = Part(tree, ENTRY)
    segment = part.claim(10, 60, "one")
    segment.append(DATA[10:20])
    part.release(segment)
    assert part.gaps() == [(0, 10), (20, SIZE)]
    part.close()


class TestAnotherProcess:
    """What is left is gone on with."""

    @needs_state
    def test_it_goes_on_at_the_byte_and_reads_nothing_twice(
        self, tree: ModelTree, tmp_path: Path, read: list[tuple[int, int]]
    ) -> None:
        first = Part(tree, ENTRY)
        _bring(first, 0, 33_333)
        first.close(keep=True)
        assert part_bytes(tree, ENTRY) == 33_333
        second = Part(tree, ENTRY)
        assert (second.have, second.began, second.gaps()) == (33_333, 33_333, [(33_333, SIZE)])
        second.catch_up()
        # The hash goes on at its last whole block of 64 bytes.
        assert read == [(33_280, 53)]
        _bring(second, 33_333, SIZE, "other")
        assert second.sources == {"hub": 33_333, "other": SIZE - 33_333}
        _finish(second)
        assert len(read) == 1
        assert (tmp_path / "folder/data").read_bytes() == DATA

    def test_without_a_state_of_the_hash_all_is_read_once(
        self, tree: ModelTree, read: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("grokdist.trust.digest.resumable", lambda: False)
        first = Part(tree, ENTRY)
        _bring(first, 0, 33_333)
        first.close(keep=True)
        second = Part(tree, ENTRY)
        second.catch_up()
        assert (second.hashed, read) == (33_333, [(0, 33_333)])
        _bring(second, 33_333, SIZE)
        _finish(second)

    def test_a_killed_one_leaves_what_it_wrote_down(
        self, tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(part_module, "SAVE_EVERY", 50_000)
        part = Part(tree, ENTRY)
        _bring(part, 0, 30_000)
        part.save()
        _bring(part, 30_000, 45_000)
        # Killed here: nothing is saved.
        assert part_bytes(tree, ENTRY) == 30_000
        again = Part(tree, ENTRY)
        assert again.gaps() == [(30_000, SIZE)]
        part.close()
        _bring(again, 30_000, SIZE)
        _finish(again)
        assert (tmp_path / "folder/data").read_bytes() == DATA

    @pytest.mark.parametrize("least", [50_000, 1 << 20])
    def test_what_was_written_down_of_a_part_that_is_gone_is_forgotten(
        self, tree: ModelTree, monkeypatch: pytest.MonkeyPatch, least: int
    ) -> None:
        monkeypatch.setattr(part_module, "SAVE_EVERY", 20_000)
        gone = Part(tree, ENTRY)
        for end in range(10_000, SIZE, 10_000):
            _bring(gone, end - 10_000, end)
        gone.path.unlink()
        # Its newest note would be of more than the next part has, and newer than its first.
        monkeypatch.setattr(part_module, "SAVE_EVERY", least)
        part = Part(tree, ENTRY)
        _bring(part, 30_000, SIZE)
        part.close(keep=True)
        assert part_bytes(tree, ENTRY) == SIZE - 30_000
        again = Part(tree, ENTRY)
        _bring(again, 0, 30_000)
        _finish(again)

    def test_much_is_written_down_without_being_asked(
        self, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(part_module, "SAVE_EVERY", 20_000)
        part = Part(tree, ENTRY)
        for end in range(10_000, SIZE, 10_000):
            _bring(part, end - 10_000, end)
            assert part_bytes(tree, ENTRY) >= end - 10_000
        part.close()

    def test_nothing_is_written_down_of_a_file_that_has_its_name(
        self, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its folder is synced before it is let go, and others save what is open meanwhile."""
        monkeypatch.setattr(part_module, "SAVE_EVERY", 60_000)
        part = Part(tree, ENTRY)
        _bring(part, 0, SIZE)
        part.check()
        part.rename()
        part.save()
        part.sync()
        part.let_go()
        assert tree.stat(state_name(ENTRY.path)) is None

    def test_a_small_file_is_not_written_down_before_it_is_let_go(self, tree: ModelTree) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 50_000)
        part.save()
        assert part_bytes(tree, ENTRY) == 0
        part.close(keep=True)
        assert part_bytes(tree, ENTRY) == 50_000

    def test_ranges_of_several_sources_are_remembered(self, tree: ModelTree) -> None:
        first = Part(tree, ENTRY)
        _bring(first, 0, 10, "one")
        _bring(first, 50, 80, "two")
        first.close(keep=True)
        second = Part(tree, ENTRY)
        assert second.sources == {"one": 10, "two": 30}
        assert second.gaps() == [(10, 50), (80, SIZE)]
        second.close()

    def test_after_a_power_cut_only_what_was_synced_is_trusted(
        self, tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 40_000)
        part.sync()
        _bring(part, 40_000, 70_000)
        part.save()
        part.close()
        # The tail did not reach the disk: its blocks are zeros.
        with part.path.open("r+b") as stream:
            stream.seek(40_000)
            stream.write(bytes(30_000))
        for module in (part_module, part_state):
            monkeypatch.setattr(module, "boot_id", lambda: "another")
        assert part_bytes(tree, ENTRY) == 40_000
        again = Part(tree, ENTRY)
        assert again.gaps() == [(40_000, SIZE)]
        _bring(again, 40_000, SIZE)
        _finish(again)
        assert (tmp_path / "folder/data").read_bytes() == DATA

    def test_what_was_synced_is_not_forgotten_by_the_next_process(
        self, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(part_module, "SAVE_EVERY", 90_000)
        first = Part(tree, ENTRY)
        _bring(first, 0, 40_000)
        first.sync()
        first.close(keep=True)
        second = Part(tree, ENTRY)
        _bring(second, 40_000, 70_000)
        second.save()
        second.close()
        assert part_bytes(tree, ENTRY) == 70_000
        for module in (part_module, part_state):
            monkeypatch.setattr(module, "boot_id", lambda: "another")
        assert part_bytes(tree, ENTRY) == 40_000

    def test_a_part_that_lost_its_tail_is_gone_on_with_before_it(self, tree: ModelTree) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 50_000)
        _bring(part, 60_000, 90_000)
        part.close(keep=True)
        os.truncate(part.path, 20_001)
        assert part_bytes(tree, ENTRY) == 20_001
        again = Part(tree, ENTRY)
        assert again.gaps() == [(20_001, SIZE)]
        _bring(again, 20_001, SIZE)
        _finish(again)

    @pytest.mark.parametrize("lost", ["part", "state"])
    def test_one_without_the_other_is_nothing(
        self, tree: ModelTree, tmp_path: Path, lost: str
    ) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 50_000)
        part.close(keep=True)
        name = part_name(ENTRY.path) if lost == "part" else state_name(ENTRY.path)
        (tmp_path / name).unlink()
        assert part_bytes(tree, ENTRY) == 0
        again = Part(tree, ENTRY)
        assert again.gaps() == [(0, SIZE)]
        again.close()

    @pytest.mark.parametrize("entry", [
        replace(ENTRY, sha256="0" * 64),
        replace(ENTRY, size=SIZE - 1),
        replace(ENTRY, sha256=None, git_blob="0" * 40),
    ])  # fmt: skip
    def test_a_part_of_another_content_is_of_no_use(
        self, tree: ModelTree, entry: FileEntry
    ) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 50_000)
        part.close(keep=True)
        assert part_bytes(tree, entry) == 0
        again = Part(tree, entry)
        assert again.gaps() == [(0, entry.size)]
        again.close()

    def test_a_byte_changed_on_disk_before_it_was_hashed_is_found(self, tree: ModelTree) -> None:
        first = Part(tree, ENTRY)
        _bring(first, 10_000, 50_000)
        first.close(keep=True)
        with first.path.open("r+b") as stream:
            stream.seek(30_000)
            stream.write(bytes([DATA[30_000] ^ 1]))
        second = Part(tree, ENTRY)
        _bring(second, 0, 10_000)
        _bring(second, 50_000, SIZE)
        with pytest.raises(DigestMismatchError):
            _finish(second)
        second.close()


def test_wrong_bytes_are_named_and_thrown_away(tree: ModelTree, tmp_path: Path) -> None:
    wrong = b"x" * SIZE
    part = Part(tree, ENTRY)
    _bring(part, 0, SIZE, data=wrong)
    with pytest.raises(DigestMismatchError) as caught:
        part.check()
    assert caught.value.path == "folder/data"
    assert caught.value.expected == f"sha256:{ENTRY.sha256}"
    assert caught.value.got == f"sha256:{hashlib.sha256(wrong).hexdigest()}"
    part.discard()
    assert part_bytes(tree, ENTRY) == 0
    assert not list((tmp_path / ".grokdist/parts/folder").iterdir())


def test_what_one_source_brought_is_dropped_and_the_rest_stays(
    tree: ModelTree, tmp_path: Path
) -> None:
    part = Part(tree, ENTRY)
    _bring(part, 0, 30_000, "one")
    _bring(part, 30_000, 40_000, "liar", data=bytes(SIZE))
    _bring(part, 40_000, SIZE, "one")
    with pytest.raises(DigestMismatchError):
        part.check()
    part.drop("liar")
    assert part.gaps() == [(30_000, 40_000)]
    assert part_bytes(tree, ENTRY) == SIZE - 10_000
    _bring(part, 30_000, 40_000, "two")
    _finish(part)
    assert part.sources == {"one": 90_000, "two": 10_000}
    assert (tmp_path / "folder/data").read_bytes() == DATA


def test_git_blob_is_checked_where_there_is_no_sha256(tree: ModelTree, tmp_path: Path) -> None:
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # of "hello\n"
    entry = FileEntry(path="hello", size=6, sha256=None, git_blob=blob)
    part = Part(tree, entry)
    _bring(part, 0, 6, data=b"hallo\n")
    with pytest.raises(DigestMismatchError, match=f"git-blob-sha1:{blob}"):
        part.check()
    part.discard()
    first = Part(tree, entry)
    _bring(first, 0, 3, data=b"hello\n")
    first.close(keep=True)
    part = Part(tree, entry)
    part.catch_up()
    _bring(part, 3, 6, data=b"hello\n")
    _finish(part)
    assert (tmp_path / "hello").read_bytes() == b"hello\n"
    assert part.sha256 == hashlib.sha256(b"hello\n").hexdigest()


def test_hashing_stops_when_told_and_goes_on_later(tree: ModelTree) -> None:
    part = Part(tree, ENTRY)
    stop = threading.Event()
    stop.set()
    segment = part.claim(0, SIZE, "swarm")
    part.path.write_bytes(DATA)
    held = Part.catch_up
    part.catch_up(stop)
    assert part.hashed == 0
    segment.adopt(SIZE)
    assert part.whole
    assert held is Part.catch_up
    part.close()


@pytest.mark.parametrize("seed", range(3))
def test_many_threads_make_one_right_hash(tree: ModelTree, seed: int) -> None:
    """Each byte is hashed once and in order, whoever brings it; the turn is one thread's."""
    data = random.Random(seed).randbytes(400_000)
    entry = entry_of("many", data)
    part = Part(tree, entry)
    cuts = sorted(random.Random(seed).sample(range(1, len(data)), 7))
    segments = [
        part.claim(start, end, f"s{start}")
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]
    hashing: list[int] = []
    update = part._hasher.update

    def alone(piece: memoryview) -> None:
        hashing.append(1)
        assert sum(hashing) == 1, "two threads hash at once"
        update(piece)
        hashing.pop()

    part._hasher.update = alone  # type: ignore[method-assign, assignment]
    failed: list[BaseException] = []

    def work(segment: Segment, step: int) -> None:
        try:
            while segment.remaining:
                segment.append(data[segment.offset : segment.offset + step])
                if step % 2:
                    part.catch_up()
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(segment, 100 + 37 * place))
        for place, segment in enumerate(segments)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    part.catch_up()
    part.check()
    part.close()


class TestSwarm:
    """Somebody else writes to the part's file."""

    def test_it_is_hashed_behind_the_swarm(self, tree: ModelTree, tmp_path: Path) -> None:
        part = Part(tree, ENTRY)
        segment = part.claim(0, SIZE, "swarm")
        with segment.path.open("r+b") as stream:
            stream.seek(70_000)
            stream.write(DATA[70_000:])
            stream.seek(0)
            stream.write(DATA[:70_000])
        segment.adopt(40_000)
        assert (part.hashed, segment.offset) == (40_000, 40_000)
        segment.adopt(30_000)
        assert segment.offset == 40_000
        segment.adopt(SIZE + 5)
        part.release(segment)
        _finish(part)
        assert (tmp_path / "folder/data").read_bytes() == DATA

    def test_a_file_that_is_shared_becomes_the_parts_own_again(
        self, tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(part_module, "SAVE_EVERY", 60_000)
        swarm = tmp_path / ".grokdist/swarm"
        swarm.mkdir(parents=True)
        part = Part(tree, ENTRY)
        segment = part.claim(0, SIZE, "swarm")
        assert segment.share(swarm / "x")
        (swarm / "x").write_bytes(DATA[:50_000])
        segment.adopt(50_000)
        assert part.path.samefile(swarm / "x")
        assert part_bytes(tree, ENTRY) == 0
        part.save()
        assert part_bytes(tree, ENTRY) == 50_000
        segment.part_ways()
        # The same one may go on with it; nobody else does before it is the part's own.
        assert segment.share(swarm / "x")
        assert part.path.samefile(swarm / "x")
        segment.part_ways()
        segment.append(DATA[50_000:50_001])
        assert not part.path.samefile(swarm / "x")
        (swarm / "x").write_bytes(b"rubbish" * 10_000)
        segment.append(DATA[50_001:])
        _finish(part)
        assert (tmp_path / "folder/data").read_bytes() == DATA

    def test_the_file_that_is_there_stays(self, tree: ModelTree, tmp_path: Path) -> None:
        """The part's, mostly: what is removed is stepped over when the next is made."""
        swarm = tmp_path / ".grokdist/swarm"
        swarm.mkdir(parents=True)
        part = Part(tree, ENTRY)
        first = part.path.stat().st_ino
        segment = part.claim(0, SIZE, "swarm")
        assert segment.share(swarm / "lent")
        assert (swarm / "lent").stat().st_ino == first
        (swarm / "lent").write_bytes(DATA + b"beyond its end")
        segment.adopt(SIZE)
        part.release(segment)
        _finish(part)
        assert (tmp_path / "folder/data").read_bytes() == DATA

    def test_or_the_swarms_where_it_has_one(self, tree: ModelTree, tmp_path: Path) -> None:
        swarm = tmp_path / ".grokdist/swarm"
        swarm.mkdir(parents=True)
        (swarm / "x").write_bytes(DATA[:10])
        theirs = (swarm / "x").stat().st_ino
        part = Part(tree, ENTRY)
        segment = part.claim(0, SIZE, "swarm")
        assert segment.share(swarm / "x")
        assert part.path.stat().st_ino == os.fstat(part.fileno()).st_ino == theirs
        part.release(segment)
        part.close()

    def test_a_part_that_was_replaced_is_not_lent(self, tree: ModelTree, tmp_path: Path) -> None:
        swarm = tmp_path / ".grokdist/swarm"
        swarm.mkdir(parents=True)
        part = Part(tree, ENTRY)
        part.path.unlink()
        part.path.write_bytes(b"somebody else's")
        segment = part.claim(0, SIZE, "swarm")
        assert not segment.share(swarm / "x")
        assert not (swarm / "x").exists()
        part.release(segment)
        part.close()

    def test_it_is_not_shared_once_bytes_are_here(self, tree: ModelTree, tmp_path: Path) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 0, 10)
        segment = part.claim(10, SIZE, "swarm")
        assert not segment.share(tmp_path / "x")
        part.release(segment)
        part.close()

    def test_another_name_that_is_not_the_swarms_is_cut_off(
        self, tree: ModelTree, tmp_path: Path
    ) -> None:
        first = Part(tree, ENTRY)
        _bring(first, 0, 50_000)
        first.close(keep=True)
        os.link(first.path, tmp_path / "outside")
        assert part_bytes(tree, ENTRY) == 0
        part = Part(tree, ENTRY)
        assert part.gaps() == [(0, SIZE)]
        _bring(part, 0, SIZE)
        _finish(part)
        assert (tmp_path / "outside").read_bytes() == DATA[:50_000]


def test_a_file_with_bad_ranges_becomes_a_part(tree: ModelTree, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/data").write_bytes(DATA[:40_000] + bytes(20_000) + DATA[60_000:])
    write_part(tree, ENTRY, RangeMap([(0, 40_000, ""), (60_000, SIZE, "")]))
    assert not (tmp_path / "folder/data").exists()
    part = Part(tree, ENTRY)
    assert part.gaps() == [(40_000, 60_000)]
    _bring(part, 40_000, 60_000)
    _finish(part)
    assert (tmp_path / "folder/data").read_bytes() == DATA


class TestDisk:
    """A disk that refuses."""

    def test_a_full_disk_leaves_what_was_written(
        self, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = Part(tree, ENTRY)
        segment = part.claim(0, SIZE, "hub")
        pwrite, room = os.pwrite, [30_000]

        def small(fd: int, data: bytes, offset: int) -> int:
            if len(data) > room[0]:
                data = data[: room[0]]
            room[0] -= len(data)
            if not data:
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(fd, data, offset)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", small)
            with pytest.raises(ResourceError, match="no space left"):
                segment.append(DATA)
        assert (segment.offset, part.hashed) == (30_000, 30_000)
        part.close(keep=True)
        assert part_bytes(tree, ENTRY) == 30_000

    def test_a_sync_that_failed_keeps_the_file_from_its_name(
        self, tree: ModelTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel tells of lost pages once; a second sync finds nothing wrong."""
        part = Part(tree, ENTRY)
        _bring(part, 0, SIZE)

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(OSError, match="Input/output"):
                part.sync()
        part.check()
        with pytest.raises(OSError, match="Input/output"):
            part.rename()
        assert not (tmp_path / "folder").exists()
        part.close()

    @pytest.mark.parametrize("what", [b"", DATA[:10]])
    def test_bytes_that_are_gone_when_they_are_to_be_hashed(
        self, tree: ModelTree, what: bytes
    ) -> None:
        part = Part(tree, ENTRY)
        _bring(part, 20_000, 30_000)
        segment = part.claim(0, 20_000, "swarm")
        part.path.write_bytes(what)
        with pytest.raises(StoreError, match="ends early on disk"):
            segment.adopt(20_000)
        part.close()


@pytest.mark.parametrize("name", [part_name(ENTRY.path), state_name(ENTRY.path)])
@pytest.mark.parametrize(
    "put", [lambda path, out: path.symlink_to(out), lambda path, _: path.mkdir(),
            lambda path, _: os.mkfifo(path)]
)  # fmt: skip
def test_what_is_no_file_in_its_place_is_refused(
    tmp_path: Path, name: str, put: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a smaller file nothing is noted.
    monkeypatch.setattr(part_module, "SAVE_EVERY", 50_000)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    model = tmp_path / "model"
    (model / name).parent.mkdir(parents=True)
    put(model / name, outside)
    with ModelTree(model) as tree, pytest.raises(UnsafePathError):
        Part(tree, ENTRY)
    assert outside.read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    model = tmp_path / "model"
    model.mkdir()
    (model / "data").symlink_to(outside)
    with ModelTree(model) as tree:
        part = Part(tree, replace(ENTRY, path="data"))
        _bring(part, 0, SIZE)
        _finish(part)
    assert outside.read_bytes() == b"precious"
    assert (model / "data").read_bytes() == DATA


@pytest.mark.parametrize("fits", [True, False])
def test_what_is_hashed_and_on_the_disk_leaves_a_cache_it_does_not_fit(
    fits: bool, tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[tuple[int, int]] = []
    monkeypatch.setattr(part_module, "fits_the_cache", lambda nbytes: fits)
    monkeypatch.setattr(part_module, "let_go", lambda fd, *what: gone.append(what))
    part = Part(tree, ENTRY)
    _bring(part, 0, 30_000)
    part.sync()
    _bring(part, 60_000, 70_000)  # read again for the hash, once what is before it came
    part.sync()
    _bring(part, 30_000, 60_000)
    part.catch_up()
    part.sync()
    assert gone == ([] if fits else [(0, 30_000), (30_000, 40_000)])
    part.close()


def test_the_disk_is_told_of_stretches_by_whoever_listens(
    tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "WRITE_BACK_EVERY", 20_000)
    monkeypatch.setattr(part_module, "WRITE_BACK_LEAST", 10_000)
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(part_module, "begin_writeback", lambda fd, *what: begun.append(what))
    part = Part(tree, ENTRY)
    _bring(part, 0, 50_000)
    assert begun == [(0, 20_000), (20_000, 20_000), (40_000, 10_000)]

    told: list[tuple[int, int]] = []
    part.on_stretch = lambda *what: told.append(what)
    _bring(part, 50_000, 95_000, step=5_000)
    assert told == [(50_000, 20_000), (70_000, 20_000)]  # the last 5,000 are left to the sync
    _bring(part, 95_000, SIZE)
    _finish(part)
    part.begin_writeback(*told[0])  # late: the file has its name and is closed
    assert begun == [(0, 20_000), (20_000, 20_000), (40_000, 10_000)]


def test_what_is_being_written_is_nobody_elses(
    tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong source whose write takes long, while another takes over and ends the file."""
    part = Part(tree, ENTRY)
    slow = part.claim(0, SIZE, "liar")
    pwrite, ends = os.pwrite, []

    def taken_over(fd: int, data: memoryview, offset: int) -> int:
        monkeypatch.setattr(os, "pwrite", pwrite)
        ends.append(slow.give_up(0))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", taken_over)
    slow.append(b"x" * 10_000)
    slow.append(b"x" * 10_000)  # the rest is another's by now
    assert ends == [10_000]
    assert (slow.offset, slow.end) == (10_000, 10_000)
    part.release(slow)
    _bring(part, 10_000, SIZE)
    part.catch_up()
    assert part.path.read_bytes() == b"x" * 10_000 + DATA[10_000:]
    with pytest.raises(DigestMismatchError):
        part.check()
    part.close()
