"""Finding the manifest's files in a torrent whose folders are its author's choice."""

from __future__ import annotations

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer.sources.torrent_map import map_entries
from grokdist.transfer.sources.torrent_metainfo import TorrentFile

R1, R2 = b"1" * 32, b"2" * 32


def _files(*files: tuple[str, int] | tuple[str, int, bytes]) -> list[TorrentFile]:
    return [
        TorrentFile(index=at, path=file[0], size=file[1], offset=0, root=(*file, None)[2])  # type: ignore[arg-type]
        for at, file in enumerate(files)
    ]


def _entries(*entries: tuple[str, int]) -> list[FileEntry]:
    return [FileEntry(path=path, size=size, sha256="0" * 64) for path, size in entries]


def _map(
    files: list[TorrentFile], entries: list[FileEntry], roots: dict[str, bytes] | None = None
) -> dict[str, str]:
    return {path: file.path for path, file in map_entries(files, entries, roots=roots).items()}


def test_same_paths() -> None:
    files = _files(("ckpt-0/t0", 5), ("ckpt-0/t1", 5), ("extra", 1))
    assert _map(files, _entries(("ckpt-0/t0", 5), ("ckpt-0/t1", 5))) == {
        "ckpt-0/t0": "ckpt-0/t0",
        "ckpt-0/t1": "ckpt-0/t1",
    }


def test_other_folders_above() -> None:
    entries = _entries(("ckpt-0/t0", 5), ("tokenizer.model", 3))
    assert _map(_files(("t0", 5), ("grok/x/tokenizer.model", 3)), entries) == {
        "ckpt-0/t0": "t0",
        "tokenizer.model": "grok/x/tokenizer.model",
    }


def test_size_must_be_equal() -> None:
    assert _map(_files(("a", 5)), _entries(("a", 6))) == {}


def test_longest_common_end_wins() -> None:
    files = _files(("one/ckpt/a", 5), ("two/a", 5), ("a", 5))
    assert _map(files, _entries(("ckpt/a", 5))) == {"ckpt/a": "one/ckpt/a"}


def test_ambiguous_is_left_out() -> None:
    assert _map(_files(("one/a", 5), ("two/a", 5)), _entries(("ckpt/a", 5))) == {}


def test_one_file_for_two_entries() -> None:
    assert _map(_files(("x/LICENSE", 5)), _entries(("LICENSE", 5), ("code/LICENSE", 5))) == {}
    assert _map(_files(("code/LICENSE", 5)), _entries(("LICENSE", 5), ("code/LICENSE", 5))) == {
        "code/LICENSE": "code/LICENSE"
    }


def test_root_decides_whatever_the_name() -> None:
    files = _files(("a", 5, R2), ("something/else", 5, R1))
    assert _map(files, _entries(("a", 5)), {"a": R1}) == {"a": "something/else"}


def test_another_root_is_another_file() -> None:
    assert _map(_files(("a", 5, R2)), _entries(("a", 5)), {"a": R1}) == {}
    # A v1 torrent has no roots: the name must do.
    assert _map(_files(("a", 5)), _entries(("a", 5)), {"a": R1}) == {"a": "a"}


def test_equal_files_serve_one_entry_each() -> None:
    roots = {"a": R1, "b": R1, "c": R1}
    entries = _entries(("a", 5), ("b", 5), ("c", 5))
    found = _map(_files(("a", 5, R1), ("b", 5, R1)), entries, roots)
    assert sorted(found.values()) == ["a", "b"]
    # What a root has claimed is no longer there to be guessed.
    assert _map(_files(("a", 5, R1)), _entries(("x/a", 5), ("y", 5)), {"y": R1}) == {"y": "a"}


def test_many_files_of_one_name_take_no_time() -> None:
    files = _files(*((f"d{i}/x", 5) for i in range(20_000)))
    entries = _entries(*((f"d{i}/x", 5) for i in range(20_000)))
    assert len(map_entries(files, entries)) == 20_000
