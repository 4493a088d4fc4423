"""Who works on what: the board alone, without bytes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer.board import Board, Claim, Patience

ENTRIES = [FileEntry(path=f"f{place}", size=10, sha256="0" * 64) for place in range(4)]
PATIENCE = Patience(
    tries=3, tries_unproven=2, rest=0.01, longest_rest=0.02, stall=0.2, idle=0.05, slowest=100
)


class Named:
    """A source that is only a name and a kind."""

    slots = 2

    def __init__(self, name: str, kind: SourceKind = SourceKind.HUB, *paths: str) -> None:
        self.name, self.kind, self.paths = name, kind, paths

    def offers(self, entry: FileEntry) -> bool:
        return not self.paths or entry.path in self.paths

    def fetch(self, entry: Any, part: Any, stop: Any) -> None:
        """Never called here."""

    def close(self) -> None:
        """Nothing to close."""


def _claim(board: Board, source: Named) -> Claim:
    claim = board.claim(source)
    assert claim is not None
    return claim


def test_streams_take_the_front_and_swarms_the_back() -> None:
    hub, swarm = Named("hub"), Named("swarm", SourceKind.TORRENT)
    board = Board(ENTRIES, [hub, swarm], PATIENCE)
    taken = [_claim(board, source).wanted.entry.path for source in (hub, swarm, hub, swarm)]
    assert taken == ["f0", "f3", "f1", "f2"]


def test_no_file_is_claimed_twice_and_all_are_done() -> None:
    sources = [Named("one"), Named("two"), Named("three", SourceKind.TORRENT)]
    board = Board(ENTRIES * 1, sources, PATIENCE)
    seen: list[str] = []
    lock = threading.Lock()

    def work(source: Named) -> None:
        while (claim := board.claim(source)) is not None:
            with lock:
                seen.append(claim.wanted.entry.path)
            board.done(claim)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == ["f0", "f1", "f2", "f3"]
    assert board.failed == ()


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


def test_an_unproven_source_is_given_up_sooner_than_a_proven_one() -> None:
    for proven, tries in ((False, 2), (True, 3)):
        hub = Named("hub")
        board = Board(ENTRIES, [hub], PATIENCE)
        if proven:
            board.done(_claim(board, hub))
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
    claims = [_claim(board, hub) for _ in range(4)]
    for claim in claims:
        board.fail(claim, "refused", whole=True)
    assert board.whole("hub").failures == 1


def test_a_source_rests_after_a_failure_and_for_as_long_as_it_asks() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], PATIENCE)
    begun = time.monotonic()
    board.fail(_claim(board, hub), "429", whole=True, retry_after=0.15)
    assert _claim(board, hub).wanted.entry.path == "f0"
    assert time.monotonic() - begun >= 0.15


def test_a_request_to_wait_for_days_is_not_obeyed() -> None:
    hub = Named("hub")
    board = Board(ENTRIES, [hub], replace(PATIENCE, longest_retry_after=0.05))
    board.fail(_claim(board, hub), "429", whole=True, retry_after=86_400.0)
    assert _claim(board, hub).wanted.entry.path == "f0"


def test_a_dead_source_leaves_its_files_to_the_others_or_to_nobody() -> None:
    one, two = Named("one"), Named("two", SourceKind.HUB, "f0")
    board = Board(ENTRIES, [one, two], PATIENCE)
    board.fail(_claim(board, one), "gone", permanent=True, whole=True)
    assert {wanted.entry.path for wanted in board.failed} == {"f1", "f2", "f3"}
    assert _claim(board, two).wanted.entry.path == "f0"


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


def test_a_silent_claim_is_taken_back_sooner_when_another_source_is_idle() -> None:
    slow, idle = Named("slow"), Named("idle")
    board = Board(ENTRIES[:1], [slow, idle], replace(PATIENCE, stall=3600.0))
    claim = _claim(board, slow)
    board.watch(claim)
    time.sleep(0.06)
    assert board.check_stalls() == ()
    waiter = threading.Thread(target=board.claim, args=(idle,))
    waiter.start()
    deadline = time.monotonic() + 10
    while not (stalled := board.check_stalls()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stalled == (claim,)
    assert claim.stop.is_set()
    board.fail(claim, "stalled")
    waiter.join(10)


def test_a_claim_is_not_watched_before_its_part_is_hashed() -> None:
    hub = Named("hub")
    board = Board(ENTRIES[:1], [hub], replace(PATIENCE, stall=0.01))
    claim = _claim(board, hub)
    time.sleep(0.02)
    assert board.check_stalls() == ()
    board.watch(claim)
    time.sleep(0.02)
    assert board.check_stalls() == (claim,)


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
