"""An interrupt that comes while the threads of a fetch are being started."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from grokdist.transfer.engine import fetch
from grokdist.transfer.hashing import in_parallel
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
