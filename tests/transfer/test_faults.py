"""What servers do wrong, one fault a test, over real sockets.

Nothing wrong gets through, and nothing that could be had is lost.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grokdist.errors import DigestMismatchError, GrokdistError, NoSourceError
from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.base import AnyRange, Source
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.hub_server import Faults, HubServer, ServedFile
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, hub, plan_for

FILES = {"a": content("a", 200_000), "b": content("b", 300_000)}
SIZE = 500_000
DEAD = "http://127.0.0.1:9/"


class Notes(NoProgress):
    """Remembers what a person would have been told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def _fetch(directory: Path, *sources: Source, notes: Notes | None = None) -> FetchResult:
    return fetch(plan_for(FILES, directory, *sources), notes, patience=HASTY)


@pytest.mark.parametrize("drop_after", [0, 1, 70_000, 199_999])
def test_dropped_connections_go_on_where_they_broke(tmp_path: Path, drop_after: int) -> None:
    with HubServer(FILES, faults=Faults(drop_after=drop_after)) as server:
        result = _fetch(tmp_path, hub(server.endpoint))
        assert result.fetched_bytes == SIZE
        first, second = server.gets("a")
        assert (first.sent, second.offset) == (drop_after, drop_after)
    assert_complete(tmp_path, FILES)


def test_a_server_without_ranges_is_read_past_what_is_here(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(drop_after=100_000, no_range=True)) as server:
        result = _fetch(tmp_path, hub(server.endpoint))
        assert [each.status for each in server.gets("a")] == [200, 200]
        assert result.fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize(
    "wrong",
    ["bytes 0-199999/200000", "bytes 100001-199999/200000", "bytes 100000-200000/200001", "junk"],
)
def test_a_wrong_content_range_is_not_believed(tmp_path: Path, wrong: str) -> None:
    faults = Faults(drop_after=100_000, content_range=wrong)
    with HubServer(FILES, faults=faults) as one, HubServer(FILES) as two:
        mirror = HttpsSource(two.mirror, settings=QUICK_HTTP)
        _fetch(tmp_path, hub(one.endpoint), mirror)
    assert_complete(tmp_path, FILES)


def test_a_length_other_than_the_manifests_is_a_mismatch(tmp_path: Path) -> None:
    with HubServer(FILES | {"a": FILES["a"] + b"x"}) as server:
        mirror = HttpsSource(server.mirror, settings=QUICK_HTTP)
        with pytest.raises(DigestMismatchError, match="got 200001 bytes"):
            _fetch(tmp_path, mirror)
        assert server.gets("a")[0].sent < 200_001 or len(server.gets("a")) == 1
    assert (tmp_path / "b").read_bytes() == FILES["b"]


def test_a_page_of_apology_with_status_200_is_no_file(tmp_path: Path) -> None:
    with (
        HubServer(FILES, faults=Faults(html=frozenset({"a"}))) as server,
        pytest.raises(DigestMismatchError, match="got 18 bytes"),
    ):
        _fetch(tmp_path, hub(server.endpoint))
    assert (tmp_path / "b").read_bytes() == FILES["b"]


def test_a_body_without_end_is_read_to_the_files_length(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(endless=True)) as server:
        result = _fetch(tmp_path, hub(server.endpoint))
    assert result.fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


def test_a_truncated_body_that_never_gets_further_is_given_up(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(drop_after=0, drop_times=10**6)) as server:
        with pytest.raises(NoSourceError, match="ended at 0 of 200000 bytes"):
            _fetch(tmp_path, hub(server.endpoint))
        assert 2 <= len(server.log) <= 20


def test_compressed_bodies_are_refused(tmp_path: Path) -> None:
    with (
        HubServer(FILES, faults=Faults(encoding="gzip")) as server,
        pytest.raises(NoSourceError, match="encoded as 'gzip'"),
    ):
        _fetch(tmp_path, hub(server.endpoint))


def test_429_is_waited_out(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(slow_down=1, retry_after="1")) as server:
        notes = Notes()
        result = _fetch(tmp_path, hub(server.endpoint, slots=1), notes=notes)
        assert result.seconds >= 1.0
        assert len(server.log) == 3
        assert "asks us to slow down (HTTP 429)" in notes.said[0]
    assert_complete(tmp_path, FILES)


def test_5xx_is_tried_again(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(unavailable=2)) as server:
        _fetch(tmp_path, hub(server.endpoint, slots=1))
    assert_complete(tmp_path, FILES)


def test_a_stalled_connection_is_taken_back_and_resumed_elsewhere(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(stall_after=150_000)) as one, HubServer(FILES) as two:
        two.faults.refuse = (503, "")  # until the first source has begun both files
        begun: list[int] = []

        class Opening(NoProgress):
            """Lets the second source in, and the first one no more, once both files stall."""

            def advance(self, source: str, path: str, count: int) -> None:
                begun.append(count)
                if sum(begun) == 300_000:
                    two.faults.refuse, one.faults.refuse = None, (503, "")

        mirror = HttpsSource(two.mirror, settings=QUICK_HTTP)
        plan = plan_for(FILES, tmp_path, hub(one.endpoint), mirror)
        fetch(plan, Opening(), patience=replace(HASTY, tries_unproven=10**6, stall=3600.0))
        resumed = {path: [each.offset for each in two.gets(path)] for path in FILES}
        assert resumed == {"a": [150_000], "b": [150_000]}
    assert_complete(tmp_path, FILES)


def test_a_stall_without_another_source_is_tried_again(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(stall_after=150_000)) as server:
        notes = Notes()
        _fetch(tmp_path, hub(server.endpoint, slots=1), notes=notes)
        assert any("nothing arrives" in each for each in notes.said)
    assert_complete(tmp_path, FILES)


def test_a_stalled_connection_is_raced_by_another_of_the_same_source(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(stall_after=150_000)) as server:
        plan = plan_for(FILES, tmp_path, hub(server.endpoint))
        result = fetch(plan, patience=replace(HASTY, stall=3600.0, idle=3600.0))
        assert [each.offset for each in server.gets("a")] == [0, 150_000]
        assert result.fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


def test_a_drip_is_no_download(tmp_path: Path) -> None:
    # 64 KiB blocks at 40 bytes a second: bytes come, but never enough of them.
    with HubServer(FILES, faults=Faults(throttle=40)) as one, HubServer(FILES) as two:
        _fetch(tmp_path, hub(one.endpoint, slots=1), HttpsSource(two.mirror, settings=QUICK_HTTP))
    assert_complete(tmp_path, FILES)


def test_a_dead_source_costs_nothing_but_its_share(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        result = _fetch(tmp_path, HttpsSource(DEAD), hub(server.endpoint))
        assert result.sources == {"hub:xai-org/grok-1": SIZE}
    assert_complete(tmp_path, FILES)


def test_all_dead_ends_and_each_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSourceError) as caught:
        _fetch(tmp_path, HttpsSource(DEAD), hub("http://127.0.0.1:9"))
    assert "https:http://127.0.0.1:9/: " in str(caught.value)
    assert "hub:xai-org/grok-1: " in str(caught.value)
    assert "2 of 2 files" in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_file_that_one_source_lacks_comes_from_another(tmp_path: Path) -> None:
    with HubServer({"a": FILES["a"]}) as one, HubServer({"b": FILES["b"]}) as two:
        mirror = HttpsSource(two.mirror, settings=QUICK_HTTP)
        result = _fetch(tmp_path, hub(one.endpoint), mirror)
        assert result.sources == {"hub:xai-org/grok-1": 200_000, mirror.name: 300_000}
    assert_complete(tmp_path, FILES)


def test_a_file_that_nobody_has_does_not_keep_the_others(tmp_path: Path) -> None:
    with (
        HubServer({"b": FILES["b"]}) as server,
        pytest.raises(NoSourceError, match=r"1 of 2 files, a first: .*has not got it"),
    ):
        _fetch(tmp_path, hub(server.endpoint))
    assert (tmp_path / "b").read_bytes() == FILES["b"]


def test_a_digest_that_the_hub_announces_is_compared_before_the_body(tmp_path: Path) -> None:
    served = {"a": ServedFile(size=200_000, sha256="0" * 64), "b": FILES["b"]}
    with (
        HubServer(served) as server,
        pytest.raises(DigestMismatchError, match="got sha256:0000"),
    ):
        _fetch(tmp_path, hub(server.endpoint))
    assert (tmp_path / "b").read_bytes() == FILES["b"]


def test_bytes_mixed_of_a_liar_and_an_honest_source_are_sorted_out(tmp_path: Path) -> None:
    """The liar breaks off after its lie, so that the honest one completes a wrong file."""
    liar = Faults(corrupt=frozenset({"a"}), drop_after=150_000, drop_times=10**6)
    with HubServer(FILES, faults=liar) as one, HubServer(FILES) as two:
        mirror = HttpsSource(two.mirror, slots=1, settings=QUICK_HTTP)
        try:
            _fetch(tmp_path, hub(one.endpoint, slots=1), mirror)
        except GrokdistError:
            # Bounded, and a run without the liar starts clean.
            one.faults.drop_times, one.faults.corrupt = 0, frozenset()
            _fetch(tmp_path, HttpsSource(two.mirror, settings=QUICK_HTTP))
    assert_complete(tmp_path, FILES)


class Crashing(AnyRange):
    """A source with a fault of its own."""

    name, kind, slots = "https:crash", HttpsSource.kind, 2

    def offers(self, entry: Any) -> bool:
        return True

    def fetch(self, entry: Any, part: Any, stop: Any) -> None:
        raise ZeroDivisionError("oops")

    def close(self) -> None:
        """Nothing to close."""


def test_a_crash_in_one_source_does_not_end_the_others(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        _fetch(tmp_path, Crashing(), hub(server.endpoint))
    assert_complete(tmp_path, FILES)
    with pytest.raises(NoSourceError, match="ZeroDivisionError: oops"):
        _fetch(tmp_path / "other", Crashing())


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(drop_after=1000)) as server:
        _fetch(tmp_path, hub(server.endpoint), HttpsSource(DEAD))
    names = [each.name for each in threading.enumerate() if each.name.startswith("grokdist-")]
    assert names == []
