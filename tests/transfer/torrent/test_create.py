"""Making torrents: reproducible, right in all versions, and only of what is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import libtorrent as lt
import pytest

from grokdist.errors import GrokdistError, StoreError, UnsafePathError, UsageError
from grokdist.transfer.sources.torrent_metainfo import read_torrent
from grokdist.transfer.torrent_create import (
    MAX_PIECE,
    MIN_PIECE,
    TorrentVersion,
    choose_piece_size,
    create_torrent,
)
from grokdist.trust import merkle
from tests.transfer.torrent.swarms import SmallModel, make_model


def _root(data: bytes) -> bytes:
    """BEP 52 file root, written from the text of the specification."""
    blocks = [data[at : at + 16_384] for at in range(0, len(data), 16_384)]
    layer = [hashlib.sha256(block).digest() for block in blocks]
    while len(layer) & (len(layer) - 1):
        layer.append(bytes(32))
    while len(layer) > 1:
        layer = [
            hashlib.sha256(layer[at] + layer[at + 1]).digest() for at in range(0, len(layer), 2)
        ]
    return layer[0]


@pytest.mark.parametrize("version", TorrentVersion)
def test_content(model: SmallModel, version: TorrentVersion) -> None:
    made = model.torrent(version)
    files = read_torrent(made.data)
    assert files.name == "model"
    assert {file.path: file.size for file in files.files} == {
        entry.path: entry.size for entry in model.entries
    }
    assert (files.btih, files.btmh) == (made.btih, made.btmh)
    assert (made.btih is None, made.btmh is None) == (
        version is TorrentVersion.V2,
        version is TorrentVersion.V1,
    )
    for file in files.files:
        data = (model.directory / file.path).read_bytes()
        expected = _root(data)
        # The manifest's and the receipt's roots are made there.
        assert expected == merkle.root(merkle.hash_blocks(data))
        assert file.root == (None if version is TorrentVersion.V1 else expected)
    assert f"{made.btih}" in made.magnet or f"{made.btmh}" in made.magnet


def test_same_files_same_torrent(model: SmallModel, tmp_path: Path) -> None:
    again = make_model(tmp_path / "elsewhere")
    paths = [entry.path for entry in model.entries]
    for version in TorrentVersion:
        one = create_torrent(model.directory, paths, name="m", version=version)
        two = create_torrent(again.directory, paths[::-1] + paths, name="m", version=version)
        assert one.data == two.data


def test_one_file(tmp_path: Path) -> None:
    (tmp_path / "only").write_bytes(b"x" * 40_000)
    files = read_torrent(create_torrent(tmp_path, ["only"], name="root").data)
    assert [(file.path, file.size) for file in files.files] == [("only", 40_000)]


def test_trackers_and_web_seeds(model: SmallModel) -> None:
    made = create_torrent(
        model.directory,
        ["tokenizer.model"],
        name="ckpt",
        trackers=["http://127.0.0.1:1/announce", "http://127.0.0.1:2/announce"],
        web_seeds=["http://127.0.0.1:3/org/repo/resolve/main/"],
        comment="a sentence",
    )
    params = lt.load_torrent_buffer(made.data)
    assert params.trackers == ["http://127.0.0.1:1/announce", "http://127.0.0.1:2/announce"]
    assert params.url_seeds == ["http://127.0.0.1:3/org/repo/resolve/main/"]
    assert params.comment == "a sentence"


def test_piece_size() -> None:
    smallest = 256 << 10
    assert choose_piece_size(1) == smallest > MIN_PIECE
    assert choose_piece_size(smallest * 4096) == smallest
    assert choose_piece_size(smallest * 4096 + 1) == 2 * smallest
    assert choose_piece_size(318_000_000_000) == MAX_PIECE


@pytest.mark.parametrize(
    ("paths", "fields", "error"),
    [
        ([], {}, UsageError),
        (["empty"], {}, UsageError),
        (["here"], {"piece_size": 20_000}, UsageError),
        (["here"], {"piece_size": 8_192}, UsageError),
        (["here"], {"piece_size": 1 << 30}, UsageError),
        (["missing"], {}, StoreError),
        (["folder"], {}, StoreError),
        (["../here"], {}, UnsafePathError),
        (["/etc/passwd"], {}, UnsafePathError),
        (["here"], {"name": ".."}, UnsafePathError),
        (["here"], {"name": "a/b"}, UnsafePathError),
        (["here"], {"name": ""}, UnsafePathError),
    ],
)
def test_refused(
    tmp_path: Path, paths: list[str], fields: dict[str, object], error: type[GrokdistError]
) -> None:
    (tmp_path / "here").write_bytes(b"x" * 10)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error):
        create_torrent(tmp_path, paths, **({"name": "root"} | fields))  # type: ignore[arg-type]


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000)

    def grow(_: int) -> None:
        with file.open("ab") as stream:
            stream.write(b"y")

    with pytest.raises(StoreError, match="changed while it was hashed"):
        create_torrent(tmp_path, ["file"], name="root", on_bytes=grow)
