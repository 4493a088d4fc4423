"""Fetching from real swarms on loopback: the ways in, and sharing a file with other sources."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, SourceError, TrustError
from grokdist.transfer.engine import fetch
from grokdist.transfer.part import Part
from grokdist.transfer.plan import FileState
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources import torrent_membership
from grokdist.transfer.sources.torrent import TorrentSource
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
from grokdist.transfer.tracker import Tracker
from grokdist.transfer.tree import ModelTree, StatMark
from tests.conftest import needs_ipv6
from tests.servers.hub_server import COMMIT, HubServer
from tests.transfer.models import assert_complete, plan_for
from tests.transfer.torrent.swarms import (
    PIECE,
    SmallModel,
    begin,
    bring,
    check,
    finish,
    make_model,
    seed,
    swarm_source,
)

FIRST = "ckpt-0/tensor00000_000"
BIG = {"big.bin": 3_500_000}


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize("way", ["file", "magnet"])
def test_whole_model(model: SmallModel, tmp_path: Path, version: TorrentVersion, way: str) -> None:
    made = model.torrent(version)
    file = tmp_path / "m.torrent"
    file.write_bytes(made.data)
    target = tmp_path / "target"
    with seed(model, made) as seeder:
        source = swarm_source(
            file if way == "file" else made.magnet, model, target, peers=[seeder.port]
        )
        try:
            assert all(map(source.offers, model.entries))
            with ThreadPoolExecutor(source.slots) as pool:
                marks = list(pool.map(lambda entry: bring(source, target, entry), model.entries))
            check(model, target, model.entries)
        finally:
            source.close()
    check(model, target, model.entries)
    # A second name of a file would change its ctime when it goes, and the file be hashed again.
    assert marks == [StatMark.of((target / entry.path).stat()) for entry in model.entries]
    assert list((target / ".grokdist" / "swarm").iterdir()) == []


@pytest.mark.parametrize("version", [TorrentVersion.V2, TorrentVersion.HYBRID])
def test_magnet_by_tracker(model: SmallModel, tmp_path: Path, version: TorrentVersion) -> None:
    made = model.torrent(version)
    with Tracker() as tracker, seed(model, made, trackers=[tracker.url]) as seeder:
        source = swarm_source(seeder.magnet, model, tmp_path, trackers=[tracker.url])
        try:
            bring(source, tmp_path, model.entry(FIRST))
        finally:
            source.close()
    check(model, tmp_path, [model.entry(FIRST)])


@pytest.mark.parametrize("version", [TorrentVersion.V1, TorrentVersion.HYBRID])
def test_subset_one_after_the_other(
    model: SmallModel, tmp_path: Path, version: TorrentVersion
) -> None:
    # The second and third file share pieces with the first in a v1 torrent.
    wanted = [model.entries[2], model.entries[0], model.entries[1]]
    made = model.torrent(version)
    with seed(model, made) as seeder:
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        try:
            for entry in wanted:
                bring(source, tmp_path, entry)
        finally:
            source.close()
    check(model, tmp_path, wanted)


def test_goes_on_where_another_source_stopped(model: SmallModel, tmp_path: Path) -> None:
    entry = model.entry(FIRST)
    made = model.torrent(TorrentVersion.V1)
    with seed(model, made) as seeder, ModelTree.create(tmp_path) as tree:
        part = Part(tree, entry)
        other = part.claim(0, 500_001, "other")
        other.append((model.directory / FIRST).read_bytes()[:500_001])
        part.release(other)
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        segment = part.claim(500_001, entry.size, source.name)
        arrived: list[int] = []
        segment.on_bytes = arrived.append
        try:
            source.fetch(entry, segment, threading.Event())
            finish(tree, part)
            # The neighbour shares its first piece with the end of that file.
            bring(source, tmp_path, model.entries[1])
        finally:
            source.close()
    # The pieces at both ends came whole.
    assert entry.size - 500_001 <= sum(arrived) <= entry.size - 500_001 + PIECE
    check(model, tmp_path, [entry, model.entries[1]])


def test_gives_away_what_is_complete(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent(TorrentVersion.V1)
    file = tmp_path / "m.torrent"
    file.write_bytes(made.data)
    wanted = model.entries[1:3]
    with seed(model, made) as seeder:
        first = swarm_source(file, model, tmp_path / "first", peers=[seeder.port])
        try:
            for entry in wanted:
                bring(first, tmp_path / "first", entry)
            seeder.close()
            second = swarm_source(file, model, tmp_path / "second", peers=[first.port])
            try:
                bring(second, tmp_path / "second", model.entry("ckpt-0/tensor00001_000"))
            finally:
                second.close()
        finally:
            first.close()
    check(model, tmp_path / "first", wanted)
    check(model, tmp_path / "second", wanted[:1])


def test_web_seed_alone(model: SmallModel, tmp_path: Path) -> None:
    # The torrent's root folder is a folder of the repository, as in our own torrents.
    wanted = [entry for entry in model.entries if entry.path.startswith("ckpt-0/")]
    files = {entry.path: (model.directory / entry.path).read_bytes() for entry in wanted}
    with HubServer(files) as hub:
        made = create_torrent(
            model.directory / "ckpt-0",
            [entry.path.removeprefix("ckpt-0/") for entry in wanted],
            name="ckpt-0",
            web_seeds=[f"{hub.endpoint}/xai-org/grok-1/resolve/{COMMIT}/"],
        )
        file = tmp_path / "m.torrent"
        file.write_bytes(made.data)
        source = swarm_source(file, model, tmp_path / "target")
        try:
            for entry in wanted:
                bring(source, tmp_path / "target", entry)
        finally:
            source.close()
    check(model, tmp_path / "target", wanted)


def test_without_hard_links(
    model: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    made = model.torrent()
    with seed(model, made) as seeder:
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        try:
            bring(source, tmp_path, model.entry(FIRST))
        finally:
            source.close()
    check(model, tmp_path, [model.entry(FIRST)])


def test_stop_leaves_a_part_that_others_go_on_with(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", BIG)
    entry = model.entries[0]
    made = model.torrent()
    target = tmp_path / "target"
    with seed(model, made) as seeder, ModelTree.create(target) as tree:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port], max_rate=2_000_000)
        part, segment = begin(tree, entry, source.name)
        stop = threading.Event()
        segment.on_bytes = lambda _: stop.set() if segment.offset else None
        try:
            source.fetch(entry, segment, stop)
            assert 0 < segment.offset < entry.size
            part.release(segment)
            ((start, end),) = part.gaps()
            other = part.claim(start, end, "other")
            other.append((model.directory / "big.bin").read_bytes()[start:])
            # libtorrent may still write to the other one.
            assert part.path.stat().st_nlink == 1
            finish(tree, part)
        finally:
            source.close()
    check(model, target, [entry])


@needs_ipv6
def test_over_ipv6(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent()
    settings = SwarmSettings(interface="::1")
    with Seeder(made.data, model.directory, settings=settings) as seeder:
        source = TorrentSource(
            made.magnet,
            entries=model.entries,
            directory=tmp_path,
            settings=settings,
            peers=[("::1", seeder.port)],
        )
        try:
            bring(source, tmp_path, model.entry(FIRST))
        finally:
            source.close()
    check(model, tmp_path, [model.entry(FIRST)])


@pytest.mark.parametrize("version", [TorrentVersion.V1, TorrentVersion.V2])
def test_what_others_write_is_not_written_over(tmp_path: Path, version: TorrentVersion) -> None:
    model = make_model(tmp_path / "source", {"a.bin": 1_000_001, "b.bin": 200_000})
    made = model.torrent(version)
    target = tmp_path / "target"
    with seed(model, made) as seeder, ModelTree.create(target) as tree:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port])
        part, segment = begin(tree, model.entry("a.bin"), source.name)
        cut = 10 * PIECE
        segment.give_up(cut)
        try:
            source.fetch(part.entry, segment, threading.Event())
            assert segment.offset == cut
            assert part.path.stat().st_nlink == 2
            if version is TorrentVersion.V1:
                # Its first piece begins in the other file, in which somebody else is at work.
                with pytest.raises(SourceError, match="shares a piece"):
                    bring(source, target, model.entry("b.bin"))
            else:
                bring(source, target, model.entry("b.bin"))
        finally:
            part.release(segment)
            part.close()
            source.close()


def test_left_overs_are_dropped_between_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path / "source", {"a.bin": 10_000_000, "b.bin": 100_000})
    monkeypatch.setattr(torrent_membership, "MAX_LEFT_OVER", 100_000)
    monkeypatch.setattr(torrent_membership, "LOOK_EVERY_S", 0.0)
    made = model.torrent()
    target = tmp_path / "target"
    with seed(model, made) as seeder, ModelTree.create(target) as tree:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port], max_rate=4_000_000)
        part, segment = begin(tree, model.entry("a.bin"), source.name)
        stop = threading.Event()
        # On a busy machine the first second brings less than may be left over.
        segment.on_bytes = lambda _: stop.set() if segment.offset > 500_000 else None
        try:
            source.fetch(part.entry, segment, stop)
            part.discard()
            bring(source, target, model.entry("b.bin"))
            left = target / ".grokdist" / "swarm" / "0"
            assert not left.exists() or left.stat().st_blocks * 512 < 100_000
            bring(source, target, model.entry("a.bin"))
        finally:
            source.close()
    check(model, target, model.entries)


def test_rate_limit_holds_on_loopback(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", {"big.bin": 2_000_000})
    made = model.torrent()
    with seed(model, made) as seeder:
        source = swarm_source(
            made.magnet, model, tmp_path / "target", peers=[seeder.port], max_rate=1_000_000
        )
        began = time.monotonic()
        try:
            bring(source, tmp_path / "target", model.entries[0])
        finally:
            source.close()
    # Twice the limit's time less a burst; without the limit it takes a tenth of it.
    assert time.monotonic() - began > 1.2


def test_wrong_bytes_are_refused_and_not_taken_again(model: SmallModel, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", seed=1)
    made = other.torrent(TorrentVersion.V1)
    target = tmp_path / "target"
    with seed(other, made) as seeder:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port])
        try:
            with pytest.raises(DigestMismatchError, match="not what its manifest names"):
                bring(source, target, model.entry(FIRST))
            with pytest.raises(SourceError, match="refused before") as caught:
                bring(source, target, model.entry(FIRST))
        finally:
            source.close()
    assert caught.value.permanent
    check(model, target, [])


def test_a_file_the_torrent_lacks(model: SmallModel, tmp_path: Path) -> None:
    some = make_model(tmp_path / "some", {FIRST: 700_001})
    made = some.torrent()
    target = tmp_path / "target"
    with seed(some, made) as seeder:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port])
        try:
            with pytest.raises(SourceError, match="does not have it") as caught:
                bring(source, target, model.entry("tokenizer.model"))
            assert caught.value.permanent
            assert not source.offers(model.entry("tokenizer.model"))
            bring(source, target, model.entry(FIRST))
        finally:
            source.close()
    check(model, target, [model.entry(FIRST)])


def test_the_engine_takes_all_files(model: SmallModel, tmp_path: Path) -> None:
    files = {entry.path: (model.directory / entry.path).read_bytes() for entry in model.entries}
    made = model.torrent()
    with seed(model, made) as seeder:
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        result = fetch(plan_for(files, tmp_path, source))
    assert result.sources == {f"torrent:{(made.btih or '')[:12]}": sum(map(len, files.values()))}
    assert_complete(tmp_path, files)
    # Nothing is hashed again: nothing changed since.
    plan = plan_for(files, tmp_path)
    assert {file.state for file in plan.files} == {FileState.VERIFIED}


def test_metadata_is_kept_for_the_next_run(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent()
    with seed(model, made) as seeder:
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        try:
            bring(source, tmp_path, model.entries[0])
        finally:
            source.close()
    kept = tmp_path / ".grokdist" / "torrents" / f"{made.btih}.torrent"

    def reason() -> str:
        source = swarm_source(made.magnet, model, tmp_path, stall_s=0.6)
        try:
            with pytest.raises(SourceError) as caught:
                bring(source, tmp_path, model.entries[1])
        finally:
            source.close()
        return caught.value.reason

    assert reason().startswith("no peers")
    kept.write_bytes(make_model(tmp_path / "other", seed=2).torrent().data)
    assert "metadata" in reason()
    assert not kept.exists()


def test_infohash_must_be_the_published_one(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent(TorrentVersion.V1)
    assert made.btih is not None
    swarm_source(made.magnet, model, tmp_path, anchor=made.btih.upper()).close()
    with pytest.raises(TrustError, match="expected 5f96"):
        swarm_source(made.magnet, model, tmp_path, anchor="5f96" + "0" * 36)
    with pytest.raises(TrustError, match="of v2 only"):
        swarm_source(model.torrent(TorrentVersion.V2).magnet, model, tmp_path, anchor=made.btih)
