"""A seed that ends at a ratio of one has given a whole copy, whatever the torrent's padding."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libtorrent as lt
import pytest

from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.torrent_metainfo import read_torrent
from grokdist.transfer.sources.torrent_session import end_session, open_session
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
from tests.servers.hub_server import wait_until

SIZES = {"a": 100, "b/c": 16384, "b/d": 300_001, "empty": 0, "z": 2_000_000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(5)
    for path, size in SIZES.items():
        (tmp_path / "m" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / path).write_bytes(rng.randbytes(size))
    return tmp_path / "m"


@contextmanager
def _peer(torrent: bytes, directory: Path, port: int) -> Iterator[lt.torrent_handle]:
    session = open_session(SwarmSettings.on_loopback())
    try:
        params = read_torrent(torrent).params()
        params.save_path = str(directory)
        params.peers = [("127.0.0.1", port)]
        params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        yield session.add_torrent(params)
    finally:
        end_session(session)


@pytest.mark.parametrize("version", list(TorrentVersion))
def test_a_ratio_of_one_is_a_whole_copy(
    folder: Path, tmp_path: Path, version: TorrentVersion
) -> None:
    torrent = create_torrent(folder, tuple(SIZES), name="m", version=version).data
    with (
        Seeder(torrent, folder, settings=SwarmSettings.on_loopback()) as seeder,
        _peer(torrent, tmp_path / "copy", seeder.port) as peer,
    ):
        ended = seeder.wait(threading.Event(), ratio=1, poll_s=0.002)
        seeder.close()
        wait_until(lambda: peer.status().is_seeding)
    assert ended.uploaded == ended.exchanged
    assert ended.size == sum(SIZES.values())
    assert ended.ratio == 1
    for path in SIZES:
        assert (tmp_path / "copy/m" / path).read_bytes() == (folder / path).read_bytes()
