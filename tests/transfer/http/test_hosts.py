"""Connections are counted by host, over all sources of the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.catalog.manifest import Source, SourceKind
from grokdist.errors import DigestMismatchError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.http_hosts import SHARED, HostSlots
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.resolve import build_sources
from grokdist.transfer.stop import Stop
from tests.servers.hub_server import wait_until
from tests.servers.raw_server import Asked, RawServer, head, honest
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, plan_for, request_for

FILES = {name: content(name, 60_000) for name in "abcdefgh"}


def _nothing() -> None:
    """No one listens."""


def test_who_finds_no_slot_waits_in_line() -> None:
    slots, order = HostSlots(), []
    assert slots.take("h", 1, Stop(), _nothing)

    def wait(name: str) -> None:
        assert slots.take("h", 1, Stop(), _nothing)
        order.append(name)
        slots.give("h")

    threads = []
    for name in "abc":
        threads.append(threading.Thread(target=wait, args=(name,)))
        threads[-1].start()
        wait_until(lambda: len(slots._lines["h"]) == len(threads))
    assert order == []
    slots.give("h")
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c"]
    assert slots.busy("h") == 0


def test_hosts_do_not_wait_for_each_other() -> None:
    slots = HostSlots()
    assert slots.take("one", 1, Stop(), _nothing)
    assert slots.take("two", 1, Stop(), _nothing)


def test_a_stop_ends_the_waiting_and_leaves_no_slot_behind() -> None:
    slots, stop = HostSlots(), Stop()
    assert slots.take("h", 1, Stop(), _nothing)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(slots.take("h", 1, stop, _nothing)))
    thread.start()
    wait_until(lambda: "h" in slots._lines and slots._lines["h"])
    stop.set()
    thread.join()
    assert got == [False]
    slots.give("h")
    assert slots.busy("h") == 0
    assert slots.take("h", 1, Stop(), _nothing)


class Slowly:
    """Serves each request after a pause; ``most`` waited in it at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Iterator[bytes | float]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield 0.02
        finally:
            # Before anything is sent: the client may ask for the next as soon as it has the last.
            with self._lock:
                self._now -= 1
        yield from honest(FILES)(asked)


def test_two_mirrors_on_one_host_share_its_connections(tmp_path: Path) -> None:
    settings = replace(QUICK_HTTP, host_connections=2)
    slowly = Slowly()
    with RawServer(slowly) as server:
        names = [server.url, server.url + "./", server.url + "././"]
        sources = [HttpsSource(name, slots=4, settings=settings) for name in names]
        fetch(plan_for(FILES, tmp_path, *sources), patience=replace(HASTY, stall=30.0))
        assert slowly.most == 2
    assert_complete(tmp_path, FILES)
    assert SHARED.busy("127.0.0.1") == 0


def test_redirects_count_for_the_host_that_they_lead_to(tmp_path: Path) -> None:
    """Nobody holds a slot of one host while waiting for another's."""
    settings = replace(QUICK_HTTP, host_connections=1)
    slowly = Slowly()
    with RawServer(slowly) as store:

        def sends_on(asked: Asked) -> Iterator[bytes | float]:
            yield head("302 Found", Location=store.url + asked.path, Content_Length=0)

        with RawServer(sends_on) as one, RawServer(sends_on) as two:
            sources = [HttpsSource(each.url, slots=3, settings=settings) for each in (one, two)]
            fetch(plan_for(FILES, tmp_path, *sources), patience=replace(HASTY, stall=30.0))
        assert slowly.most == 1
    assert_complete(tmp_path, FILES)


def test_a_slot_comes_back_after_every_kind_of_end(tmp_path: Path) -> None:
    files = {"a": FILES["a"]}

    def breaks(asked: Asked) -> Iterator[bytes | float]:
        if asked.nth < 2:
            yield head("503 Busy", Content_Length=0)
        elif asked.nth < 3:
            yield head(Content_Length=5) + b"short"
        else:
            yield from honest(files)(asked)

    with RawServer(breaks) as server:
        source = HttpsSource(server.url, settings=replace(QUICK_HTTP, host_connections=1))
        patience = replace(HASTY, tries_unproven=10)
        with pytest.raises(DigestMismatchError, match="got 5 bytes"):
            fetch(plan_for(files, tmp_path, source), patience=patience)
    assert SHARED.busy("127.0.0.1") == 0


@pytest.mark.parametrize(("asked", "given"), [(None, 8), (2, 8), (12, 12)])
def test_who_asks_for_more_connections_gets_them(
    tmp_path: Path, asked: int | None, given: int
) -> None:
    listed = (
        Source(kind=SourceKind.HTTPS, location="https://mirror.test/"),
        Source(kind=SourceKind.HUB, location="xai-org/grok-1"),
    )
    request = request_for(FILES, tmp_path, connections=asked, extra_sources=listed)
    https, hub = build_sources(request)
    for each in (https, hub._made()):  # type: ignore[attr-defined]
        assert each._stream._settings.host_connections == given  # type: ignore[attr-defined]
