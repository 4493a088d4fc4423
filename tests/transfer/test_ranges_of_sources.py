"""Several sources fill one file together, and nobody waits for the slow one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.sources.base import Source
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.torrent import TorrentSource
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from tests.servers.hub_server import Faults, HubServer, Request
from tests.transfer.models import (
    HASTY,
    QUICK_HTTP,
    assert_complete,
    content,
    entry_of,
    hub,
    leave_part,
    plan_for,
)
from tests.transfer.torrent.swarms import make_model, seed

SIZE = 6_000_001
FILE = {"f": content("f", SIZE)}
CALM = replace(HASTY, stall=30.0, idle=30.0)
RATE = 2 << 20
BLOCK = QUICK_HTTP.block


@contextlib.contextmanager
def _servers(*faults: Faults) -> Iterator[list[HubServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(HubServer(FILE, faults=each)) for each in faults]


def _mirror(server: HubServer, slots: int = 1) -> HttpsSource:
    return HttpsSource(server.mirror, slots=slots, settings=QUICK_HTTP)


def _fetch(directory: Path, *sources: Source) -> FetchResult:
    return fetch(plan_for(FILE, directory, *sources, trees=False), patience=CALM)


def _asked(*servers: HubServer) -> list[Request]:
    """The answers with a body, in the order of their first byte."""
    return sorted(
        (each for server in servers for each in server.gets("f")), key=lambda each: each.offset
    )


def _tile(asked: Sequence[Request]) -> bool:
    """True where each range begins inside the one before and the last ends with the file."""
    reach = asked[0].end
    for one in asked[1:]:
        if one.offset > reach:
            return False
        reach = max(reach, one.end)
    return asked[0].offset == 0 and reach == SIZE


def test_two_of_one_speed_share_one_file(tmp_path: Path) -> None:
    with _servers(Faults(throttle=RATE), Faults(throttle=RATE)) as (one, two):
        result = _fetch(tmp_path, _mirror(one), _mirror(two))
        asked = _asked(one, two)
        assert _tile(asked)
        # Nothing is asked for that another has brought.
        assert len({each.offset for each in asked}) == len(asked) <= 8
    assert_complete(tmp_path, FILE)
    assert min(result.sources.values()) >= SIZE * 0.2
    assert SIZE <= result.fetched_bytes <= SIZE + len(asked) * BLOCK
    assert set(result.receipt.files[0].sources) == set(result.sources)


def test_the_faster_one_brings_more_and_the_slow_tail_is_cut(tmp_path: Path) -> None:
    with _servers(Faults(throttle=RATE // 8), Faults(throttle=RATE)) as (slow, fast):
        result = _fetch(tmp_path, _mirror(slow), _mirror(fast))
        # The slow one had asked for all of it.
        assert min((each.offset, each.end) for each in slow.gets("f")) == (0, SIZE)
        assert _tile(_asked(slow, fast))
        assert result.sources[f"https:{fast.mirror}"] >= 0.6 * SIZE
    assert_complete(tmp_path, FILE)


def test_one_source_uses_several_connections_for_one_file(tmp_path: Path) -> None:
    with _servers(Faults(throttle=RATE)) as (server,):
        _fetch(tmp_path, hub(server.endpoint, slots=4))
        asked = _asked(server)
        assert len(asked) >= 2
        assert _tile(asked)
    assert_complete(tmp_path, FILE)


@pytest.mark.parametrize("stall_after", [0, 700_000])
def test_a_claim_on_which_nothing_arrives_is_lost_and_its_bytes_are_not(
    tmp_path: Path, stall_after: int
) -> None:
    with _servers(Faults(stall_after=stall_after), Faults(throttle=2 * RATE)) as (dead, live):
        dead_source = _mirror(dead)
        result = _fetch(tmp_path, dead_source, _mirror(live))
        # It may be asked again, for another range, and stall again.
        brought = result.sources.get(dead_source.name, 0)
        assert brought == 0 if not stall_after else brought % stall_after == 0 < brought
        assert SIZE <= result.fetched_bytes <= SIZE + BLOCK
    assert_complete(tmp_path, FILE)


def test_a_source_that_dies_midway_leaves_what_it_brought(tmp_path: Path) -> None:
    faults = Faults(throttle=RATE, drop_after=1_000_000, drop_times=10**6)
    with _servers(faults, Faults(throttle=RATE)) as (dying, live):
        source = _mirror(dying)
        plan = plan_for(FILE, tmp_path, source, _mirror(live), trees=False)
        result = fetch(plan, patience=replace(CALM, tries=1, tries_unproven=1))
        assert result.sources[source.name] > 0
        assert result.fetched_bytes <= SIZE + 2 * BLOCK
    assert_complete(tmp_path, FILE)


def test_a_server_without_ranges_can_help_with_a_middle(tmp_path: Path) -> None:
    leave_part(tmp_path, "f", FILE["f"], (0, 2_000_000), (3_000_000, SIZE))
    with _servers(Faults(no_range=True)) as (server,):
        result = _fetch(tmp_path, _mirror(server))
        assert [each.status for each in server.gets("f")] == [200]
        assert result.fetched_bytes == 1_000_000
    assert_complete(tmp_path, FILE)


def test_a_source_that_comes_late_gets_its_share(tmp_path: Path) -> None:
    late = Faults(throttle=RATE, unavailable=2, retry_after="0")
    with _servers(late, Faults(throttle=RATE)) as (one, two):
        source = _mirror(one)
        result = _fetch(tmp_path, source, _mirror(two))
        assert result.sources[source.name] >= 0.1 * SIZE
    assert_complete(tmp_path, FILE)


def test_many_files_are_given_whole_and_the_last_is_shared(tmp_path: Path) -> None:
    files = {f"s{place:02}": content(f"s{place}", 40_000) for place in range(20)}
    files["large"] = content("large", 4_000_000)
    with HubServer(files) as one, HubServer(files) as two:
        one.faults.throttle = two.faults.throttle = RATE
        plan = plan_for(files, tmp_path, _mirror(one), _mirror(two), trees=False)
        result = fetch(plan, patience=CALM)
        small = [each for server in (one, two) for each in server.log if each.file != "large"]
        # A small file is one request of one source.
        assert len(small) == len({each.file for each in small}) == 20
        assert {bool(server.gets("large")) for server in (one, two)} == {True}
    assert_complete(tmp_path, files)
    assert sum(result.sources.values()) >= sum(map(len, files.values()))


def test_a_swarm_and_a_mirror_fill_one_file(tmp_path: Path) -> None:
    model = make_model(tmp_path / "seed", {"f": SIZE})
    data = (tmp_path / "seed/f").read_bytes()
    torrent = model.torrent()
    (tmp_path / "m.torrent").write_bytes(torrent.data)
    with (
        contextlib.closing(seed(model, torrent)) as seeder,
        HubServer({"f": data}, faults=Faults(throttle=RATE)) as server,
    ):
        swarm = TorrentSource(
            tmp_path / "m.torrent",
            entries=model.entries,
            directory=tmp_path / "d",
            settings=SwarmSettings.on_loopback(max_rate=RATE),
            peers=[("127.0.0.1", seeder.port)],
            stall_s=10.0,
        )
        mirror = _mirror(server)
        plan = plan_for({"f": data}, tmp_path / "d", swarm, mirror, trees=False)
        assert plan.files[0].entry == entry_of("f", data)
        result = fetch(plan, patience=CALM)
    assert_complete(tmp_path / "d", {"f": data})
    assert result.sources[mirror.name] > 0
    assert result.sources[swarm.name] > 0
    assert set(result.receipt.files[0].sources) == {mirror.name, swarm.name}


def test_every_order_of_arrival_gives_the_same_file(tmp_path: Path) -> None:
    """Three servers of three speeds, each of them first once."""
    speeds = (RATE, 3 * RATE, 9 * RATE)
    for place in range(3):
        order = (*speeds[place:], *speeds[:place])
        with _servers(*(Faults(throttle=rate) for rate in order)) as servers:
            result = _fetch(tmp_path / str(place), *map(_mirror, servers))
            assert SIZE <= result.fetched_bytes <= SIZE + 20 * BLOCK
        assert_complete(tmp_path / str(place), FILE)
