"""The folder libtorrent writes to, looked at while other threads change it."""

from __future__ import annotations

import threading
from pathlib import Path

from grokdist.transfer.sources.torrent_storage import SwarmStorage


def test_left_over_is_counted_while_files_are_finished(tmp_path: Path) -> None:
    storage = SwarmStorage(tmp_path)
    done = threading.Event()

    def finish() -> None:
        for index in range(3000):
            storage.point(index % 8, "finished")
        done.set()

    worker = threading.Thread(target=finish)
    worker.start()
    try:
        while not done.is_set():
            assert storage.left_over(()) == 0
    finally:
        worker.join()


def test_left_over_counts_what_is_neither_shared_nor_active(tmp_path: Path) -> None:
    storage = SwarmStorage(tmp_path)
    for index in (1, 2):
        storage.path_of(index).write_bytes(b"x" * 8192)
    assert storage.left_over((1,)) == storage.path_of(2).stat().st_blocks * 512
