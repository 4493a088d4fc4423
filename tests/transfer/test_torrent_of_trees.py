"""A torrent from kept trees is the one that libtorrent makes of the bytes."""

from __future__ import annotations

import random
from pathlib import Path

import libtorrent as lt
import pytest

from grokdist.errors import UnsafePathError, UsageError
from grokdist.transfer.torrent_of_trees import v2_metainfo
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_writer import save_tree
from grokdist.transfer.trees import SPAN, FileTree, load_tree
from grokdist.trust.merkle import hash_blocks

FILES = {
    "ckpt-0/a": random.Random(1).randbytes(5 * SPAN + 3),
    "ckpt-0/b": random.Random(2).randbytes(2 * SPAN),
    "ckpt-0/deeper/c": random.Random(3).randbytes(SPAN + 1),
    "tiny": b"x",
    "empty": b"",
}


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, FileTree | None]:
    found: dict[str, FileTree | None] = {}
    with ModelTree(tmp_path) as tree:
        for path, data in FILES.items():
            (tmp_path / "m" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "m" / path).write_bytes(data)
            found[path] = None
            if data:
                root = save_tree(tree, path, len(data), hash_blocks(data))
                found[path] = load_tree(tree, path, len(data), root)
                assert found[path] is not None
    return found


@pytest.mark.parametrize("piece", [SPAN, 2 * SPAN, 16 * SPAN])
def test_the_infohash_and_layers_are_those_of_libtorrent(
    tmp_path: Path, trees: dict[str, FileTree | None], piece: int
) -> None:
    entries = [lt.create_file_entry(f"m/{path}", len(FILES[path])) for path in sorted(FILES)]
    theirs = lt.create_torrent(entries, piece, lt.create_torrent.v2_only)
    lt.set_piece_hashes(theirs, str(tmp_path))
    generated = theirs.generate()
    ours = v2_metainfo("m", piece, trees)
    assert lt.bencode(ours[b"info"]) == lt.bencode(generated[b"info"])
    assert ours[b"piece layers"] == generated[b"piece layers"]
    loaded = lt.load_torrent_buffer(lt.bencode(ours))
    assert loaded.info_hashes.v2 == lt.load_torrent_buffer(lt.bencode(generated)).info_hashes.v2
    assert loaded.info_hashes.has_v2()


def test_what_makes_no_torrent(trees: dict[str, FileTree | None]) -> None:
    for piece in (0, SPAN // 2, 3 * SPAN):
        with pytest.raises(UsageError, match="piece size"):
            v2_metainfo("m", piece, trees)
    with pytest.raises(UsageError, match="are empty"):
        v2_metainfo("m", SPAN, {"empty": None})
    for name in ("", "..", "a/b", "a\\b"):
        with pytest.raises(UnsafePathError):
            v2_metainfo(name, SPAN, trees)
    tiny = trees["tiny"]
    for files in ({"a": tiny, "a/b": tiny}, {"a/b": tiny, "a": tiny}, {"../a": tiny}):
        with pytest.raises(UnsafePathError):
            v2_metainfo("m", SPAN, files)
