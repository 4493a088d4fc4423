"""A part: hashed as it grows, hashed again when reopened, named only when right."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, StoreError, UnsafePathError
from grokdist.transfer.part import PartFile, RehashStoppedError, part_bytes
from grokdist.transfer.tree import ModelTree
from tests.transfer.models import content, entry_of

DATA = content("data", 100_000)
ENTRY = entry_of("folder/data", DATA)


def test_bytes_get_their_name_only_when_all_are_right(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        part.append(DATA[:60_000])
        assert not (tmp_path / "folder").exists()
        part.append(DATA[60_000:])
        mark = part.commit()
    assert (tmp_path / "folder" / "data").read_bytes() == DATA
    assert mark.size == len(DATA)
    assert mark.ctime_ns == (tmp_path / "folder" / "data").stat().st_ctime_ns


def test_a_new_process_goes_on_at_the_byte(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        first = PartFile(tree, ENTRY)
        first.append(DATA[:33_333])
        first.close()
        second = PartFile(tree, ENTRY)
        assert (second.offset, second.began) == (33_333, 33_333)
        assert part_bytes(tree, ENTRY) == 33_333
        second.append(DATA[33_333:])
        second.commit()
    assert (tmp_path / "folder" / "data").read_bytes() == DATA


def test_a_byte_changed_on_disk_between_two_runs_is_found(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        first = PartFile(tree, ENTRY)
        first.append(DATA[:50_000])
        first.close()
        path = tmp_path / ".grokdist/parts/folder/data.part"
        bad = bytearray(path.read_bytes())
        bad[7] ^= 1
        path.write_bytes(bad)
        second = PartFile(tree, ENTRY)
        second.append(DATA[50_000:])
        with pytest.raises(DigestMismatchError):
            second.commit()


def test_wrong_bytes_are_named_and_thrown_away(tmp_path: Path) -> None:
    wrong = b"x" * len(DATA)
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        part.append(wrong)
        with pytest.raises(DigestMismatchError) as caught:
            part.commit()
        assert caught.value.path == "folder/data"
        assert caught.value.expected == f"sha256:{ENTRY.sha256}"
        assert caught.value.got == f"sha256:{hashlib.sha256(wrong).hexdigest()}"
        assert part_bytes(tree, ENTRY) == 0
    assert not (tmp_path / "folder").exists()


def test_too_few_bytes_are_not_committed(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        part.append(DATA[:-1])
        with pytest.raises(DigestMismatchError, match="expected 100000 bytes, got 99999 bytes"):
            part.commit()


def test_more_bytes_than_the_manifest_says_are_refused(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        with pytest.raises(DigestMismatchError, match="longer"):
            part.append(DATA + b"x")
        assert part.offset == 0
        part.close()


def test_a_part_longer_than_the_file_starts_clean(tmp_path: Path) -> None:
    path = tmp_path / ".grokdist/parts/folder/data.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA + b"x")
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        assert part.offset == 0
        part.close()


def test_git_blob_is_checked_where_there_is_no_sha256(tmp_path: Path) -> None:
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # of "hello\n"
    entry = FileEntry(path="hello", size=6, sha256=None, git_blob=blob)
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, entry)
        part.append(b"hallo\n")
        with pytest.raises(DigestMismatchError, match=f"git-blob-sha1:{blob}"):
            part.commit()
        part = PartFile(tree, entry)
        part.append(b"hello\n")
        part.commit()
    assert (tmp_path / "hello").read_bytes() == b"hello\n"


def test_an_interrupted_rehash_loses_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        part.append(DATA[:50_000])
        part.close()
        with pytest.raises(RehashStoppedError):
            PartFile(tree, ENTRY, stop=stop)
        assert part_bytes(tree, ENTRY) == 50_000


def test_sources_are_remembered_over_processes_and_forgotten_with_the_bytes(
    tmp_path: Path,
) -> None:
    with ModelTree(tmp_path) as tree:
        part = PartFile(tree, ENTRY)
        part.append(DATA[:10])
        part.note_source("one")
        part.close()
        part = PartFile(tree, ENTRY)
        part.note_source("two")
        part.note_source("one")
        assert part.sources == ("one", "two")
        part.discard()
        part = PartFile(tree, ENTRY)
        assert part.sources == ()
        part.close()


class TestSwarmMode:
    def test_a_swarm_file_is_hashed_behind_the_swarm_and_committed(self, tmp_path: Path) -> None:
        with ModelTree(tmp_path) as tree:
            part = PartFile(tree, ENTRY)
            path = part.begin_swarm()
            with path.open("r+b") as stream:
                stream.seek(70_000)
                stream.write(DATA[70_000:])
                stream.seek(0)
                stream.write(DATA[:70_000])
            part.hash_swarm(40_000)
            assert part.offset == 40_000
            part.hash_swarm(len(DATA))
            part.adopt_swarm()
            part.commit()
        assert (tmp_path / "folder" / "data").read_bytes() == DATA
        assert not list((tmp_path / ".grokdist/parts/folder").iterdir())

    def test_a_stream_goes_on_where_a_swarm_gave_up(self, tmp_path: Path) -> None:
        with ModelTree(tmp_path) as tree:
            part = PartFile(tree, ENTRY)
            path = part.begin_swarm()
            path.write_bytes(DATA[:30_000] + b"\0" * 50_000)
            part.hash_swarm(30_000)
            with pytest.raises(StoreError):
                part.append(b"x")
            part.adopt_swarm()
            assert part.offset == 30_000
            part.close()
            part = PartFile(tree, ENTRY)
            assert part.offset == 30_000
            part.append(DATA[30_000:])
            part.commit()
        assert (tmp_path / "folder" / "data").read_bytes() == DATA

    def test_a_swarm_takes_over_what_a_stream_began(self, tmp_path: Path) -> None:
        with ModelTree(tmp_path) as tree:
            part = PartFile(tree, ENTRY)
            part.append(DATA[:20_000])
            path = part.begin_swarm()
            assert path.read_bytes() == DATA[:20_000]
            path.write_bytes(DATA)
            part.hash_swarm(len(DATA))
            part.commit()
        assert (tmp_path / "folder" / "data").read_bytes() == DATA

    def test_a_killed_swarm_leaves_its_finished_prefix(self, tmp_path: Path) -> None:
        with ModelTree(tmp_path) as tree:
            part = PartFile(tree, ENTRY)
            part.begin_swarm().write_bytes(DATA[:25_000] + b"\0" * 10_000)
            part.hash_swarm(25_000)
            part.close()
            assert part_bytes(tree, ENTRY) == 25_000
            again = PartFile(tree, ENTRY)
            assert (again.offset, again.in_swarm) == (25_000, True)
            again.adopt_swarm()
            again.append(DATA[25_000:])
            again.commit()
        assert (tmp_path / "folder" / "data").read_bytes() == DATA

    @pytest.mark.parametrize("recorded", [b"999999", b"-5", b"junk", b"9" * 40])
    def test_a_foreign_record_of_the_prefix_does_no_harm(
        self, tmp_path: Path, recorded: bytes
    ) -> None:
        folder = tmp_path / ".grokdist/parts/folder"
        folder.mkdir(parents=True)
        (folder / "data.swarm").write_bytes(b"\0" * 10)
        (folder / "data.upto").write_bytes(recorded)
        with ModelTree(tmp_path) as tree:
            part = PartFile(tree, ENTRY)
            assert part.offset <= 10
            part.close()


def test_a_link_in_the_place_of_a_part_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "model/.grokdist/parts/folder"
    folder.mkdir(parents=True)
    (folder / "data.part").symlink_to(outside)
    with ModelTree(tmp_path / "model") as tree, pytest.raises(UnsafePathError):
        PartFile(tree, ENTRY)
    assert outside.read_bytes() == b"precious"


def test_a_second_name_of_a_foreign_file_is_not_written_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "model/.grokdist/parts/folder"
    folder.mkdir(parents=True)
    os.link(outside, folder / "data.part")
    with ModelTree(tmp_path / "model") as tree:
        part = PartFile(tree, ENTRY)
        part.append(DATA)
        part.commit()
    assert outside.read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    model = tmp_path / "model"
    model.mkdir()
    (model / "data").symlink_to(outside)
    with ModelTree(model) as tree:
        part = PartFile(tree, replace(ENTRY, path="data"))
        part.append(DATA)
        part.commit()
    assert outside.read_bytes() == b"precious"
    assert (model / "data").read_bytes() == DATA
