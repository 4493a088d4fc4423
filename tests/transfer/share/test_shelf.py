"""What can be given: files that proved right, and bytes as they come from the origin."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from grokdist.transfer.part import Part
from grokdist.transfer.share import shelf as shelf_module
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.shelf import GRAIN, Shelf, first_hand
from grokdist.transfer.tree import ModelTree
from tests.transfer.models import content, entry_of
from tests.transfer.share.machines import Moving

DATA = content("big", 3 * GRAIN)
BIG = entry_of("folder/big", DATA)
TWICE = [entry_of("one", b"the same"), entry_of("two", b"the same")]
CONTENT = Content.of([BIG, *TWICE, entry_of("empty", b"")])
NUMBER = CONTENT.by_path["folder/big"]
SAME = CONTENT.by_path["one"]


def test_content_is_numbered_by_digest_and_empty_files_are_left_out() -> None:
    assert len(CONTENT.files) == 2
    assert CONTENT.by_path["two"] == SAME
    assert CONTENT.files[SAME].paths == ("one", "two")
    again = Content.of([*TWICE, BIG])
    assert (again.share_id, again.files) == (CONTENT.share_id, CONTENT.files)
    renamed = Content.of([entry_of("other", DATA), *TWICE])
    assert renamed.share_id == CONTENT.share_id
    assert Content.of([BIG]).share_id != CONTENT.share_id


def test_bytes_are_told_as_they_come_from_the_origin(tmp_path: Path) -> None:
    shelf_module._SAMPLE, before = 0.0, shelf_module._SAMPLE
    try:
        shelf = Shelf(CONTENT, tmp_path)
        moving = Moving(start=GRAIN, offset=GRAIN, end=3 * GRAIN)
        with shelf.taking(NUMBER, moving):
            cursor, whole, files = shelf.changes(0)
            assert (whole, files.get(NUMBER, ())) == (True, ())
            moving.offset += GRAIN - 1
            assert shelf.changes(cursor) == (cursor, False, {})
            assert shelf.takings == [(NUMBER, GRAIN, 3 * GRAIN)]
            moving.offset += 2
            cursor, whole, files = shelf.changes(cursor)
            assert (whole, files) == (False, {NUMBER: ((GRAIN, 2 * GRAIN + 1),)})
            # No byte is neither here nor being taken.
            assert shelf.takings == [(NUMBER, 2 * GRAIN + 1, 3 * GRAIN)]
            moving.offset += 5
        assert shelf.ranges(NUMBER) == ((GRAIN, 2 * GRAIN + 6),)
        assert shelf.takings == []
        shelf.lose("folder/big")
        assert shelf.changes(cursor)[2] == {NUMBER: ()}
    finally:
        shelf_module._SAMPLE = before


def test_a_cursor_that_is_not_ours_gets_everything(tmp_path: Path) -> None:
    shelf = Shelf(CONTENT, tmp_path)
    shelf.finish("one")
    cursor, whole, files = shelf.changes(10_000)
    assert (whole, files) == (True, {SAME: ((0, 8),)})
    assert shelf.changes(cursor) == (cursor, False, {})


def test_what_is_given_is_read_from_the_part_and_then_from_the_file(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = Part(tree, BIG)
        segment = part.claim(0, 2 * GRAIN, "hub")
        segment.append(DATA[: 2 * GRAIN])
        part.release(segment)
        shelf = Shelf(CONTENT, tmp_path)
        shelf.add(NUMBER, [(0, 2 * GRAIN)])
        assert _read(shelf, 10, 20) == DATA[10:20]
        assert shelf.open(NUMBER, 0, 2 * GRAIN + 1) is None
        segment = part.claim(2 * GRAIN, 3 * GRAIN, "hub")
        segment.append(DATA[2 * GRAIN :])
        part.release(segment)
        part.check()
        part.rename()
        part.let_go()
        # Renamed, and the shelf has not heard of it yet.
        assert _read(shelf, 10, 20) == DATA[10:20]
        shelf.finish("folder/big")
        assert _read(shelf, 0, 3 * GRAIN) == DATA
        assert shelf.has(NUMBER)
        shelf.close()
        assert shelf.open(NUMBER, 0, 1) is None


def test_only_what_did_not_come_from_members_is_given_of_an_old_part(tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree:
        part = Part(tree, BIG)
        for start, end, source in ((0, 100, "hub"), (100, 300, "share"), (500, 600, "mirror")):
            segment = part.claim(start, end, source)
            segment.append(DATA[start:end])
            part.release(segment)
        part.close(keep=True)
        assert first_hand(tree, BIG, besides="share") == [(0, 100), (500, 600)]
        other = entry_of("folder/big", DATA[:-1] + b"x")
        assert first_hand(tree, other, besides="share") == []


def test_waiting_ends_with_the_first_news(tmp_path: Path) -> None:
    shelf = Shelf(CONTENT, tmp_path)
    cursor = shelf.changes(0)[0]
    waiting = threading.Thread(target=shelf.wait, args=(cursor, 30.0, threading.Event()))
    waiting.start()
    shelf.finish("one")
    waiting.join(10)
    assert not waiting.is_alive()
    stopped = threading.Event()
    stopped.set()
    shelf.wait(10_000, 30.0, stopped)


def _read(shelf: Shelf, start: int, end: int) -> bytes:
    fd = shelf.open(NUMBER, start, end)
    assert fd is not None
    try:
        return os.pread(fd, end - start, start)
    finally:
        os.close(fd)
