"""What a guest owes its hosts: waits as long as asked, no faster than told, says who it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import grokdist
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.http_answer import retry_after
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.raw_server import Asked, RawServer, Script, head, honest
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, plan_for

FILES = {"a": content("a", 200_000), "b": content("b", 300_000)}


def _first(times: int, reply: bytes, then: Script) -> Script:
    """Refuses each file a number of times before it serves it."""

    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.nth < times:
            yield reply
        else:
            yield from then(asked)

    return script


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "RateLimit": '"api";r=0;t=55'}, 7.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": "limit=100, remaining=0, t=5"}, 5.0),
        ({"RateLimit": '"api";r=0;rt=55'}, None),
        ({"RateLimit": "t=" + "9" * 12}, None),
        ({"RateLimit": "t=999999999"}, 86_400.0),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_us_to_wait(
    headers: Mapping[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("header", [{"Retry_After": 1}, {"RateLimit": '"resolvers";r=0;t=1'}])
def test_the_wait_is_kept(tmp_path: Path, header: Mapping[str, object]) -> None:
    reply = head("429 Too Many Requests", Content_Length=0, **header)
    with RawServer(_first(1, reply, honest(FILES))) as server:
        source = HttpsSource(server.url, slots=1, settings=QUICK_HTTP)
        # The wait is longer than any rest of our own.
        assert fetch(plan_for(FILES, tmp_path, source), patience=HASTY).seconds >= 1.0
    assert_complete(tmp_path, FILES)


def test_nobody_waits_for_a_server_that_wants_an_hour(tmp_path: Path) -> None:
    reply = head("503 Busy", Content_Length=0, Retry_After=3600)
    with RawServer(_first(99, reply, honest(FILES))) as busy, RawServer(honest(FILES)) as good:
        sources = [HttpsSource(each.url, settings=QUICK_HTTP) for each in (busy, good)]
        fetch(plan_for(FILES, tmp_path, *sources), patience=HASTY)
        assert len(busy.asked) <= 4  # no more than its connections; none again
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("status", ["408 Late", "425 Early", "429 Slow", "500 Oops", "502 Gate"])
def test_passing_trouble_passes(tmp_path: Path, status: str) -> None:
    reply = head(status, Content_Length=0)
    with RawServer(_first(2, reply, honest(FILES))) as server:
        source = HttpsSource(server.url, slots=1, settings=QUICK_HTTP)
        fetch(plan_for(FILES, tmp_path, source), patience=replace(HASTY, tries_unproven=8))
    assert_complete(tmp_path, FILES)


def test_one_limit_holds_for_all_sources(tmp_path: Path) -> None:
    with RawServer(honest(FILES)) as one, RawServer(honest(FILES)) as two:
        sources = [HttpsSource(each.url, settings=QUICK_HTTP) for each in (one, two)]
        plan = plan_for(FILES, tmp_path, *sources, max_rate=500_000)
        # A second for 500,000 bytes, less what may be made up for after a pause.
        assert fetch(plan, patience=HASTY).seconds >= 0.9
    assert_complete(tmp_path, FILES)


def test_it_says_who_it_is_and_takes_no_encodings(tmp_path: Path) -> None:
    with RawServer(honest(FILES)) as server:
        fetch(plan_for(FILES, tmp_path, HttpsSource(server.url)), patience=HASTY)
        for asked in server.asked:
            assert asked.headers["user-agent"] == f"grokdist/{grokdist.__version__}"
            assert asked.headers["accept-encoding"] == "identity"
