"""Who works on what: the board alone, with parts into which hardly a byte is written."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer.board import Board
from grokdist.transfer.claims import Claim, Patience
from grokdist.transfer.failure import failure
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.sources.base import AnyRange
from grokdist.transfer.tree import ModelTree

MIB = 1 << 20
ENTRIES = [FileEntry(path=f"f{place}", size=10, sha256="0" * 64) for place in range(4)]
LARGE = FileEntry(path="large", size=64 * MIB, sha256="0" * 64)
MEDIUM = FileEntry(path="medium", size=4 * MIB, sha256="0" * 64)
PATIENCE = Patience(
    tries=3, tries_unproven=2, rest=0.01, longest_rest=0.02, stall=0.2, idle=0.05, slowest=100
)
CALM = replace(PATIENCE, stall=3600.0, idle=3600.0)


class Named(AnyRange):
    """A source that is only a name and a kind."""

    slots = 2

    def __init__(self, name: str, kind: SourceKind = SourceKind.HUB, *paths: str) -> None:
        self.name, self.kind, self.paths = name, kind, paths

    def offers(self, entry: FileEntry) -> bool:
        return not self.paths or entry.path in self.paths

    def fetch(self, entry: Any, segment: Any, stop: Any) -> None:
        """Never called here."""

    def close(self) -> None:
        """Nothing to close."""


class Pieces(Named):
    """A source that has only one range, and can be cut between its grains only."""

    def __init__(self, name: str, has: Range, *, grain: int = MIB) -> None:
        super().__init__(name, SourceKind.TORRENT)
        self.has, self.grain = has, grain

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        for start, end in missing:
            start, end = max(start, self.has[0]), min(end, self.has[1])
            if start < end:
                return start, end
        return None

    def lets_go(self, entry: FileEntry, at: int) -> int:
        return -(-at // self.grain) * self.grain


class Clock(SimpleNamespace):
    """A clock that moves when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("grokdist.transfer.board.time", clock)
    return clock


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


def _claim(board: Board, source: Named) -> Claim:
    claim = board.claim(source)
    assert claim is not None
    return claim


def _open(board: Board, claim: Claim, tree: ModelTree) -> Segment:
    """Open the part of a claim, where it is not, and begin to expect progress."""
    if claim.segment is None:
        assert board.opened(claim, Part(tree, claim.wanted.entry))
    board.watch(claim)
    assert claim.segment is not None
    return claim.segment


def _finish(board: Board, claim: Claim, tree: ModelTree) -> None:
    """Bring all bytes of a claim and, with the last of the file, its end."""
    segment = _open(board, claim, tree)
    segment.append(bytes(segment.remaining))
    board.delivered(claim)
    part = board.take_whole(claim.wanted)
    if part is not None:
        part.close()
        board.done(claim.wanted)


def _waits(board: Board, source: Named) -> queue.Queue[Claim | None]:
    """Have a source wait, which finds nothing to take for the moment; what it gets in the end."""
    got: queue.Queue[Claim | None] = queue.Queue()
    threading.Thread(target=lambda: got.put(board.claim(source)), daemon=True).start()
    with pytest.raises(queue.Empty):
        got.get(timeout=0.2)
    return got


def _flows(board: Board, clock: Clock, rates: dict[Claim, float]) -> None:
    """Have claims receive so many bytes a second for some ticks."""
    for _ in range(4):
        clock.now += 0.25
        for claim, rate in rates.items():
            board.received(claim, int(rate / 4))
        board.tick()


def test_streams_take_the_front_and_swarms_the_back() -> None:
    hub, swarm = Named("hub"), Named("swarm", SourceKind.TORRENT)
    board = Board(ENTRIES, [hub, swarm], PATIENCE)
    taken = [_claim(board, source).wanted.entry.path for source in (hub, swarm, hub, swarm)]
    assert taken == ["f0", "f3", "f1", "f2"]


def test_no_byte_is_claimed_twice_and_all_are_done(tree: ModelTree) -> None:
    sources = [Named("one"), Named("two"), Named("three", SourceKind.TORRENT)]
    board = Board(ENTRIES, sources, PATIENCE)
    seen: list[tuple[str, int, int]] = []
    lock = threading.Lock()

    def work(source: Named) -> None:
        while (claim := board.claim(source)) is not None:
            segment = _open(board, claim, tree)
            with lock:
                seen.append((claim.wanted.entry.path, segment.start, segment.end))
            _finish(board, claim, tree)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == [(f"f{place}", 0, 10) for place in range(4)]
    assert board.failed == board.parts == ()


def test_a_local_source_has_the_first_say() -> None:
    hub, local = Named("hub"), Named("local", SourceKind.LOCAL, "f0", "f1")
    board = Board(ENTRIES, [hub, local], PATIENCE)
    assert _claim(board, hub).wanted.entry.path == "f2"
    first = _claim(board, local)
    assert first.wanted.entry.path == "f0"
    board.fail(first, "broken", permanent=True)
    assert _claim(board, hub).wanted.entry.path == "f0"


def test_a_file_that_a_source_lacks_is_not_asked_of_it_again() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    board.fail(_claim(board, hub), "404", permanent=True)
    assert board.claim(hub) is None
    assert [wanted.entry.path for wanted in board.failed] == ["f0"]


def test_a_file_that_no_source_offers_fails_at_once() -> None:
    board = Board(ENTRIES, [Named("hub", SourceKind.HUB, "f1")], PATIENCE)
    assert [wanted.entry.path for wanted in board.failed] == ["f0", "f2", "f3"]


def test_an_unproven_source_is_given_up_sooner_than_a_proven_one(tree: ModelTree) -> None:
    for proven, tries in ((False, 2), (True, 3)):
        hub = Named("hub")
        board = Board(ENTRIES, [hub], PATIENCE)
        if proven:
            _finish(board, _claim(board, hub), tree)
        for _ in range(tries):
            board.fail(_claim(board, hub), "refused", whole=True)
        assert board.claim(hub) is None
        assert board.whole("hub").closed


def test_progress_makes_failures_forgiven() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    for _ in range(20):
        claim = _claim(board, hub)
        board.received(claim, 1)
        assert not board.fail(claim, "dropped").closed


def test_a_drip_is_no_progress() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    for closed in (False, True):
        claim = _claim(board, hub)
        board.received(claim, 1)
        claim.stalled = True
        assert board.fail(claim, "stalled").closed is closed


def test_files_of_one_source_that_fail_together_count_once() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], PATIENCE)
    claims = [_claim(board, hub) for _ in range(2)]
    for claim in claims:
        board.fail(claim, "refused", whole=True)
    assert board.whole("hub").failures == 1


def test_a_source_rests_after_a_failure_and_for_as_long_as_it_asks() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], PATIENCE)
    begun = time.monotonic()
    board.fail(_claim(board, hub), "429", whole=True, retry_after=0.15)
    assert 0 < board.view("hub").resting <= 0.15
    assert _claim(board, hub).wanted.entry.path == "f0"
    assert time.monotonic() - begun >= 0.15


def test_a_request_to_wait_for_days_is_not_obeyed() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], replace(PATIENCE, longest_retry_after=0.05))
    board.fail(_claim(board, hub), "429", whole=True, retry_after=86_400.0)
    assert _claim(board, hub).wanted.entry.path == "f0"


def test_a_source_that_asks_for_less_gets_fewer_connections() -> None:
    hub = Named("hub")
    hub.slots = 8
    entries = [replace(ENTRIES[0], path=f"f{place}") for place in range(9)]
    board = Board(entries, [hub], PATIENCE)
    claims = [_claim(board, hub) for _ in range(4)]
    board.fail(claims.pop(), "429", whole=True, retry_after=0.01)
    board.fail(claims.pop(), "404", permanent=True)
    board.fail(claims.pop(), "404", permanent=True)
    assert len([*claims, _claim(board, hub)]) == 2
    waiter = threading.Thread(target=board.claim, args=(hub,))
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    board.stop()
    waiter.join(10)


def test_a_dead_source_leaves_its_files_to_the_others_or_to_nobody() -> None:
    one, two = Named("one"), Named("two", SourceKind.HUB, "f0")
    board = Board(ENTRIES, [one, two], PATIENCE)
    board.fail(_claim(board, one), "gone", permanent=True, whole=True)
    assert {wanted.entry.path for wanted in board.failed} == {"f1", "f2", "f3"}
    assert _claim(board, two).wanted.entry.path == "f0"


def test_why_a_source_was_given_up_is_not_forgotten_for_what_was_on_its_way() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], PATIENCE)
    first, second = _claim(board, hub), _claim(board, hub)
    board.fail(first, "redirected to file:", permanent=True, whole=True)
    assert board.fail(second, "the connection broke", whole=True).closed
    assert board.whole("hub").reason == "redirected to file:"
    assert "hub: redirected to file:" in str(failure(board, board.failed, len(ENTRIES)))


def test_what_asking_again_cannot_help_is_told_first() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:2], [hub], replace(PATIENCE, tries_unproven=1))
    first, second = _claim(board, hub), _claim(board, hub)
    board.fail(first, "the connection broke")
    board.fail(second, "404", permanent=True)
    assert str(failure(board, board.failed, 2)).endswith("f0 first: hub: 404")


def test_a_waiting_source_takes_over_what_another_fails() -> None:
    one, two = Named("one"), Named("two")
    board = Board(ENTRIES[:1], [one, two], PATIENCE)
    claim = _claim(board, one)
    found: list[Claim | None] = []
    thread = threading.Thread(target=lambda: found.append(board.claim(two)))
    thread.start()
    board.fail(claim, "gone", permanent=True)
    thread.join(10)
    assert found[0] is not None
    assert found[0].wanted.entry.path == "f0"


def test_what_one_brought_is_not_asked_of_the_next(tree: ModelTree) -> None:
    one, two = Named("one"), Named("two")
    board = Board(ENTRIES[:1], [one, two], PATIENCE)
    claim = _claim(board, one)
    _open(board, claim, tree).append(b"1234")
    board.fail(claim, "dropped", permanent=True)
    segment = _claim(board, two).segment
    assert segment is not None
    assert (segment.start, segment.end) == (4, 10)


def test_a_file_is_whole_for_one_caller_only(tree: ModelTree) -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    claim = _claim(board, hub)
    segment = _open(board, claim, tree)
    segment.append(bytes(9))
    assert board.take_whole(claim.wanted) is None
    segment.append(bytes(1))
    board.delivered(claim)
    part = board.take_whole(claim.wanted)
    assert part is claim.wanted.part is not None
    assert board.take_whole(claim.wanted) is None
    board.again(claim.wanted, part)
    assert board.take_whole(claim.wanted) is part
    board.done(claim.wanted)
    part.close()
    assert board.claim(hub) is None
    assert board.failed == ()


class TestHelp:
    """A source with nothing left to take shares what others work on."""

    def test_the_last_of_a_file_is_shared_by_rate(self, tree: ModelTree, clock: Clock) -> None:
        one, two = Named("one", SourceKind.HUB, "medium"), Named("two", SourceKind.HUB)
        board = Board([MEDIUM, LARGE], [one, two], CALM)
        slow, fast = _claim(board, one), _claim(board, two)
        segment = _open(board, slow, tree)
        _open(board, fast, tree)
        _flows(board, clock, {slow: 0.3 * MIB, fast: 0.5 * MIB})
        board.fail(fast, "404", permanent=True)
        help = _claim(board, two)
        assert help.wanted is slow.wanted
        assert help.segment is not None
        assert segment.end == help.segment.start
        assert help.segment.start % 16384 == 0
        assert help.segment.remaining / MEDIUM.size == pytest.approx(5 / 8, abs=0.01)
        assert not slow.stop.is_set()

    def test_one_that_hardly_moves_loses_all_of_it(self, tree: ModelTree, clock: Clock) -> None:
        one, two = Named("one"), Named("two")
        board = Board([MEDIUM], [one, two], CALM)
        slow = _claim(board, one)
        segment = _open(board, slow, tree)
        _flows(board, clock, {slow: 1000})
        help = _claim(board, two)
        assert help.segment is not None
        assert (help.segment.start, help.segment.end) == (0, MEDIUM.size)
        assert (segment.remaining, slow.robbed, slow.stop.is_set()) == (0, True, True)

    def test_of_a_large_file_a_stretch_not_far_ahead(self, tree: ModelTree, clock: Clock) -> None:
        one, two = Named("one"), Named("two")
        board = Board([LARGE], [one, two], CALM)
        first = _claim(board, one)
        segment = _open(board, first, tree)
        _flows(board, clock, {first: MIB})
        help = _claim(board, two)
        assert help.segment is not None
        assert help.segment.start == segment.end == 8 * MIB
        assert help.segment.end == 16 * MIB
        # What lies behind is free for whoever comes next.
        third = _claim(board, two)
        assert third.segment is not None
        assert third.segment.start == 16 * MIB

    def test_a_second_is_not_worth_a_request(self, tree: ModelTree, clock: Clock) -> None:
        one, two = Named("one"), Named("two")
        board = Board([MEDIUM], [one, two], CALM)
        first = _claim(board, one)
        _open(board, first, tree)
        _flows(board, clock, {first: 5 * MIB})
        waiter = threading.Thread(target=board.claim, args=(two,))
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive()
        board.stop()
        waiter.join(10)

    def test_pieces_are_not_cut_and_only_what_a_source_has_is_taken(
        self, tree: ModelTree, clock: Clock
    ) -> None:
        swarm = Pieces("swarm", (0, LARGE.size))
        other = Pieces("other", (3 * MIB // 2, 3 * MIB))
        board = Board([MEDIUM], [swarm, other], CALM)
        first = _claim(board, swarm)
        segment = _open(board, first, tree)
        _flows(board, clock, {first: 0.2 * MIB})
        help = _claim(board, other)
        assert help.segment is not None
        assert (help.segment.start, help.segment.end) == (2 * MIB, 3 * MIB)
        assert segment.end == 2 * MIB
        # A swarm brings one range of a file at a time.
        segment.append(bytes(segment.remaining))
        board.delivered(first)
        last = _claim(board, swarm)
        assert last.segment is not None
        assert (last.segment.start, last.segment.end) == (3 * MIB, 4 * MIB)

    def test_a_swarm_does_not_help_itself(self, tree: ModelTree, clock: Clock) -> None:
        swarm = Named("swarm", SourceKind.TORRENT)
        board = Board([MEDIUM], [swarm], CALM)
        first = _claim(board, swarm)
        _open(board, first, tree)
        _flows(board, clock, {first: 100_000})
        _waits(board, swarm)
        board.stop()

    def test_a_slow_swarm_is_relieved_of_a_file_that_cannot_be_cut(
        self, tree: ModelTree, clock: Clock
    ) -> None:
        swarm, hub = Pieces("swarm", (0, LARGE.size), grain=LARGE.size), Named("hub")
        board = Board([MEDIUM, LARGE], [swarm, hub], CALM)
        quick = _claim(board, hub)
        _open(board, quick, tree)
        slow = _claim(board, swarm)
        _open(board, slow, tree).append(b"x")
        _flows(board, clock, {quick: 8 * MIB, slow: 0.1 * MIB})
        board.fail(quick, "404", permanent=True)
        got = _waits(board, hub)
        assert (slow.robbed, slow.stop.is_set()) == (True, True)
        board.put_back(slow)
        # Free for the one that is quicker, and not asked of the swarm again at once.
        taken = got.get(timeout=10)
        assert taken is not None
        assert taken.wanted is slow.wanted

    def test_a_swarm_that_is_quick_as_a_whole_keeps_its_files(
        self, tree: ModelTree, clock: Clock
    ) -> None:
        swarm, hub = Pieces("swarm", (0, LARGE.size), grain=LARGE.size), Named("hub")
        small = FileEntry(path="small", size=MIB, sha256="0" * 64)
        board = Board([small, MEDIUM, LARGE], [swarm, hub], CALM)
        mine = _claim(board, hub)
        brought = _open(board, mine, tree)
        one, two = _claim(board, swarm), _claim(board, swarm)
        _open(board, one, tree).append(b"x")
        _open(board, two, tree).append(b"x")
        _flows(board, clock, {mine: 0.25 * MIB, one: 40 * MIB, two: 0})
        brought.append(bytes(brought.remaining))
        board.delivered(mine)
        _waits(board, hub)
        assert [one.robbed, two.robbed] == [False, False]
        board.stop()

    @pytest.mark.parametrize("kind", [SourceKind.LOCAL, SourceKind.HUB])
    def test_neither_a_disk_nor_one_that_must_be_alone(
        self, tree: ModelTree, clock: Clock, kind: SourceKind
    ) -> None:
        one, two = Named("one", kind), Named("two")
        board = Board([MEDIUM], [one, two], CALM)
        first = _claim(board, one)
        first.wanted.alone = kind is SourceKind.HUB
        _open(board, first, tree)
        _flows(board, clock, {first: 100_000})
        waiter = threading.Thread(target=board.claim, args=(two,))
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive()
        board.stop()
        waiter.join(10)


class TestTrials:
    """Whose bytes were wrong."""

    def test_a_source_on_trial_waits_for_the_verdict(self, tree: ModelTree) -> None:
        one, two = Named("one"), Named("two")
        board = Board(ENTRIES[:1], [one, two], PATIENCE)
        claim = _claim(board, one)
        wanted = claim.wanted
        _open(board, claim, tree)
        wanted.on_trial = "two"
        board.bar(wanted, "two")
        found: list[Claim | None] = []
        waiter = threading.Thread(target=lambda: found.append(board.claim(two)))
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive()
        board.fail(claim, "wrong", wrong=True)
        waiter.join(10)
        # Nobody else is left to bring what it brought.
        assert found[0] is not None
        assert (wanted.on_trial, wanted.barred) == (None, False)

    def test_one_that_is_barred_is_not_asked_until_it_is_reopened(self) -> None:
        one, two = Named("one"), Named("two")
        board = Board(ENTRIES[:1], [one, two], PATIENCE)
        wanted = _claim(board, one).wanted
        assert board.others_for(wanted, "one")
        board.bar(wanted, "two")
        assert not board.others_for(wanted, "one")
        board.reopen(wanted, "two")
        assert board.others_for(wanted, "one")

    def test_a_trial_does_not_pardon_one_that_was_closed_before(self) -> None:
        one, two = Named("one"), Named("two")
        board = Board(ENTRIES[:1], [one, two], PATIENCE)
        wanted = _claim(board, one).wanted
        board.blame(wanted, "two", "wrong bytes")
        board.bar(wanted, "two")
        board.reopen(wanted, "two")
        assert not board.others_for(wanted, "one")

    def test_bytes_of_a_source_of_an_earlier_run_can_be_blamed(self) -> None:
        board = Board(ENTRIES[:1], [Named("one")], PATIENCE)
        wanted = _claim(board, Named("one")).wanted
        board.bar(wanted, "gone")
        board.blame(wanted, "gone", "wrong bytes")
        assert wanted.chances["gone"].wrong
        assert board.others_for(wanted, "gone")


def test_a_silent_claim_is_taken_back_sooner_when_another_source_is_idle(tree: ModelTree) -> None:
    slow, idle = Named("slow"), Named("idle")
    board = Board(ENTRIES[:1], [slow, idle], replace(PATIENCE, stall=3600.0))
    claim = _claim(board, slow)
    _open(board, claim, tree)
    time.sleep(0.06)
    assert board.tick() == ()
    waiter = threading.Thread(target=board.claim, args=(idle,))
    waiter.start()
    deadline = time.monotonic() + 10
    while not (stalled := board.tick()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stalled == (claim,)
    assert claim.stop.is_set()
    board.fail(claim, "stalled")
    waiter.join(10)


def test_a_claim_is_not_watched_before_its_part_is_hashed(clock: Clock) -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    claim = _claim(board, hub)
    clock.now += 1.0
    assert board.tick() == ()
    board.watch(claim)
    clock.now += 0.1
    assert board.tick() == ()
    clock.now += 0.1
    assert board.tick() == (claim,)


def test_a_swarm_may_be_slow_but_not_silent(clock: Clock) -> None:
    hub, swarm = Named("hub"), Named("swarm", SourceKind.TORRENT)
    board = Board(ENTRIES, [hub, swarm], PATIENCE)
    claims = [_claim(board, hub), _claim(board, swarm)]
    for claim in claims:
        board.watch(claim)
    for _ in range(3):
        clock.now += 0.1
        for claim in claims:
            board.received(claim, 1)
        slow = board.tick()
        if slow:
            break
    assert slow == (claims[0],)


def test_parts_that_nobody_works_on_are_closed_when_they_are_many(tree: ModelTree) -> None:
    entries = [replace(ENTRIES[0], path=f"f{place}") for place in range(40)]
    hub = Named("hub")
    board = Board(entries, [hub], replace(PATIENCE, rest=0.0))
    for _ in entries:
        claim = _claim(board, hub)
        _open(board, claim, tree).append(b"1")
        claim.wanted.chances["hub"].not_before = time.monotonic() + 3600
        board.put_back(claim)
    assert len(board.parts) == 32
    for part in board.parts:
        part.close()


def test_what_nobody_works_on_any_more_is_failed_not_forgotten(tree: ModelTree) -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:2], [hub], PATIENCE)
    claim = _claim(board, hub)
    _open(board, claim, tree)
    board.abandon()
    assert [wanted.entry.path for wanted in board.failed] == ["f0", "f1"]


def test_stopping_wakes_and_ends_everyone() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], PATIENCE)
    claim = _claim(board, hub)
    waiter = threading.Thread(target=board.claim, args=(hub,))
    waiter.start()
    board.stop()
    waiter.join(10)
    assert not waiter.is_alive()
    assert claim.stop.is_set()
