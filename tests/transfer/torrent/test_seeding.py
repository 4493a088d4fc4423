"""Seeding: checked first, limited, and ended on purpose."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, SourceError, UnsafePathError
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import create_torrent
from tests.transfer.torrent.swarms import SmallModel, bring, make_model, seed, swarm_source

LOOPBACK = SwarmSettings.on_loopback()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_refuses_what_is_not_the_torrents(model: SmallModel, tmp_path: Path, damage: str) -> None:
    copy = make_model(tmp_path / "copy")
    file = copy.directory / "tokenizer.model"
    data = file.read_bytes()
    match damage:
        case "flip":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "cut":
            file.write_bytes(data[:-1])
        case "remove":
            file.unlink()
    with pytest.raises(DigestMismatchError, match="missing or wrong"):
        Seeder(model.torrent().data, copy.directory, settings=LOOPBACK)
    # Nothing was repaired or created on the way.
    assert file.exists() is (damage != "remove")


def test_seed_until_ratio_and_stop(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent()
    with seed(model, made) as seeder:
        assert seeder.port
        assert made.btih is not None
        assert made.btih in seeder.magnet
        assert seeder.wait(threading.Event(), seconds=0.05).uploaded == 0
        source = swarm_source(made.magnet, model, tmp_path, peers=[seeder.port])
        try:
            for entry in model.entries:
                bring(source, tmp_path, entry)
        finally:
            source.close()
        status = seeder.wait(threading.Event(), ratio=0.99, seconds=10)
        assert status.ratio >= 0.99
        assert status.size == sum(entry.size for entry in model.entries)
        stop = threading.Event()
        stop.set()
        seeder.wait(stop)
    seeder.close()


def test_files_under_other_names(model: SmallModel, tmp_path: Path) -> None:
    (tmp_path / "renamed").write_bytes((model.directory / "tokenizer.model").read_bytes())
    made = create_torrent(model.directory, ["tokenizer.model"], name="m")
    with Seeder(
        made.data, tmp_path, settings=LOOPBACK, paths={"tokenizer.model": "renamed"}
    ) as seeder:
        assert seeder.status().size == 2_229


def test_stop_ends_the_check(model: SmallModel) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises((SourceError, DigestMismatchError)):
        Seeder(model.torrent().data, Path("/nowhere"), settings=LOOPBACK, stop=stop)


def test_not_a_torrent(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        Seeder(b"nothing", tmp_path, settings=LOOPBACK)
    data = (
        b"d4:infod5:filesld6:lengthi1e4:pathl2:..1:aeee4:name1:x"
        b"12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee"
    )
    with pytest.raises(UnsafePathError):
        Seeder(data, tmp_path, settings=LOOPBACK)
