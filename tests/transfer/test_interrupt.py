"""Interrupts of a fetch: while its threads are being started, and while they are at work."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from grokdist.transfer.board import Board
from grokdist.transfer.engine import fetch
from grokdist.transfer.hashing import in_parallel
from grokdist.transfer.interrupts import held_back
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.models import HASTY, assert_complete, content, plan_for

FILES = {path: content(path, 100_000) for path in ("a", "b")}


@pytest.mark.parametrize("after", range(5))
def test_it_ends_the_fetch_as_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    start, started = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        if thread.name.startswith(("grokdist-sync", "grokdist-hash", "grokdist-local")):
            started.append(thread)
            if len(started) > after:
                raise KeyboardInterrupt
        start(thread)

    source = LocalSource(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        plan = plan_for(FILES, tmp_path / "to", source)
        try:
            fetch(plan, patience=HASTY)
        except KeyboardInterrupt:
            assert len(started) > after
    assert len(started) > min(after, 2)
    fetch(plan_for(FILES, tmp_path / "to", LocalSource(tmp_path)), patience=HASTY)
    assert_complete(tmp_path / "to", FILES)


def test_threads_that_hash_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 1:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(in_parallel([lambda _: 1] * 9, jobs=3))
    assert not started[0].is_alive()


def test_it_comes_where_no_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was interrupted with the board's lock would leave all others waiting."""
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    ticked, tick = [], Board.tick

    def interrupted(board: Board) -> list[object]:
        with board._changed:
            signal.raise_signal(signal.SIGINT)
            ticked.append(True)
        return list(tick(board))

    monkeypatch.setattr(Board, "tick", interrupted)
    plan = plan_for(FILES, tmp_path / "to", LocalSource(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        fetch(plan, patience=HASTY)
    assert ticked == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("signals", "asks", "reached"), [(1, True, 1), (1, False, 2), (2, False, 0)]
)
def test_interrupts_are_held_back_and_not_lost(signals: int, asks: bool, reached: int) -> None:
    """One comes where it is asked for, or at the end; a second one at once."""
    lines = []

    def work() -> None:
        with held_back() as told:
            told()
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            lines.append("the next line")
            if asks:
                told()
            lines.append("the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(lines) == reached
    with held_back() as told:
        told()


def test_in_another_thread_nothing_is_touched() -> None:
    seen = []

    def look() -> None:
        with held_back() as told:
            told()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
