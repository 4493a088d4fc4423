"""The main job from every kind of source, through the command line and real servers."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import grokdist
from grokdist.catalog.registry import Registry
from grokdist.transfer.part_files import part_bytes
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import CreatedTorrent, TorrentVersion, create_torrent
from grokdist.transfer.tracker import Tracker
from grokdist.transfer.tree import ModelTree
from tests.cli.conftest import Cli, finish, spawn
from tests.servers.hub_server import Faults, HubServer, wait_until

BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"
ENTRIES = Registry.embedded().load("grok-mini").manifest.files
PATHS = [entry.path for entry in ENTRIES]
SIZE = sum((BUNDLED / path).stat().st_size for path in PATHS)


def _served() -> dict[str, bytes]:
    return {path: (BUNDLED / path).read_bytes() for path in PATHS}


def _torrent(version: TorrentVersion, trackers: tuple[str, ...] = ()) -> CreatedTorrent:
    return create_torrent(BUNDLED, PATHS, name="anything", version=version, trackers=trackers)


def test_a_folder(cli: Cli, tmp_path: Path) -> None:
    source = f"local:{BUNDLED}"
    document = cli("fetch", "grok-mini", "--source", source, "--dir", tmp_path / "d", "--json")
    assert document.json["verified"] is True
    assert cli("verify", tmp_path / "d").code == 0


def test_the_hub(repository: Path, tmp_path: Path) -> None:
    with HubServer(_served(), repository="acme/grok-mini") as hub:
        argv = ("fetch", "grok-mini", "--source", "hub", "--source", "hub:acme/grok-mini")
        child = spawn(
            *argv, "--dir", tmp_path / "d", "--json", cwd=repository, HF_ENDPOINT=hub.endpoint
        )
        ended = finish(child)
    assert ended.code == 0, ended
    assert ended.json["sources"] == {"hub:acme/grok-mini": SIZE}


def test_an_https_mirror(cli: Cli, tmp_path: Path) -> None:
    with HubServer(_served()) as server:
        argv = ("fetch", "grok-mini", "--source", "https", "--source", server.mirror)
        document = cli(*argv, "--dir", tmp_path / "d", "--json").json
    assert document["fetched_bytes"] == SIZE


@pytest.mark.parametrize("version", list(TorrentVersion))
def test_a_torrent_by_file_and_peer(cli: Cli, tmp_path: Path, version: TorrentVersion) -> None:
    created = _torrent(version)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(created.data)
    with Seeder(created.data, BUNDLED, settings=SwarmSettings.on_loopback()) as seeder:
        argv = ("fetch", "grok-mini", "--source", "torrent", "--torrent", torrent)
        peer = f"127.0.0.1:{seeder.port}"
        ended = cli(*argv, "--peer", peer, "--dir", tmp_path / "d", "--json")
    assert ended.json["sources"] == {"torrent:x.torrent": SIZE}
    assert cli("verify", tmp_path / "d").code == 0


def test_a_magnet_by_tracker_and_giving_back(cli: Cli, repository: Path, tmp_path: Path) -> None:
    """What came over a magnet link is shared with the next one, when the first seed is gone."""
    with Tracker() as tracker:
        created = _torrent(TorrentVersion.HYBRID, (tracker.url,))
        argv = ("fetch", "grok-mini", "--source", "torrent", "--torrent", created.magnet)
        argv = (*argv, "--tracker", tracker.url)
        with Seeder(created.data, BUNDLED, settings=SwarmSettings.on_loopback()) as seeder:
            first = spawn(
                *argv, "--dir", tmp_path / "one", "--seed-ratio", "1", "--peer",
                f"127.0.0.1:{seeder.port}", cwd=repository,
            )  # fmt: skip
            wait_until(lambda: (tmp_path / "one/.grokdist/receipt.json").exists())
        try:
            # The first fetcher's seed announces itself once its check is done.
            second = cli(*argv, "--dir", tmp_path / "two", "--json")
            ended = finish(first)
        finally:
            first.kill()
    assert second.code == 0, second
    assert second.json["fetched_bytes"] == SIZE
    assert ended.code == 0, ended
    assert "shared" in ended.err


def test_an_interrupt_leaves_what_the_next_run_goes_on_with(
    cli: Cli, repository: Path, tmp_path: Path
) -> None:
    big = max(PATHS, key=lambda path: (BUNDLED / path).stat().st_size)
    size = (BUNDLED / big).stat().st_size
    target = tmp_path / "d"
    part = target / f".grokdist/parts/{big}.part"
    with HubServer(_served(), faults=Faults(throttle=400_000)) as server:
        argv = ("fetch", "grok-mini", "--source", "https", "--source", server.mirror)
        argv = (*argv, "--include", big, "--dir", target)
        child = spawn(*argv, cwd=repository)
        wait_until(lambda: part.exists() and part.stat().st_blocks * 512 > 300_000)
        child.send_signal(signal.SIGINT)
        ended = finish(child)
        assert ended.code == 130
        assert "run the same command again" in ended.err
        assert "Traceback" not in ended.err
        entry = next(each for each in ENTRIES if each.path == big)
        with ModelTree(target) as tree:
            kept = part_bytes(tree, entry)
        assert kept > 200_000
        server.faults.throttle = None
        document = cli(*argv, "--json").json
    assert document["fetched_bytes"] == size - kept
    receipt = json.loads((target / ".grokdist/receipt.json").read_bytes())
    assert receipt["include"] == [big]


def test_nothing_reachable_is_exit_14(cli: Cli, tmp_path: Path) -> None:
    with HubServer({}) as server:
        gone = server.mirror
    ended = cli("fetch", "grok-mini", "--source", "https", "--source", gone, "--dir", tmp_path)
    assert ended.code == 14
    assert "Traceback" not in ended.err
    assert cli("fetch", "grok-mini", "--source", "hub", "--dir", tmp_path).code == 14
