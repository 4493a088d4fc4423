"""The least that a checked download costs in Python: http.client, one buffer, pwrite, SHA-256.

A contestant of the benchmark, and a measure of what an engine adds: it has no resume and no checks
of what the server answers. With ``--durable`` every file is on the disk at its exit: the disk is
asked to begin with each stretch as it comes, and a thread of its own syncs the files.

    python -m benchmarks.fetch.plain_reader MANIFEST URL FOLDER
        [--connections 2] [--unchecked] [--durable]
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import queue
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from grokdist.catalog.manifest import FileEntry
from grokdist.catalog.parsing import parse_manifest
from grokdist.transfer.read_buffer import read_buffer
from grokdist.transfer.writeback import begin_writeback

_BLOCK = 1 << 20
_STRETCH = 8 << 20


def main() -> None:
    """Read all files of a manifest; exit 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--durable", action="store_true")
    options = parser.parse_args()
    left: queue.SimpleQueue[FileEntry] = queue.SimpleQueue()
    for entry in parse_manifest(options.manifest.read_bytes()).files:
        (options.folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        left.put(entry)
    wrong: list[str] = []
    written: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    syncer = threading.Thread(target=_finish_all, args=(written, options.durable))
    threads = [
        threading.Thread(target=_read_all, args=(left, written, options, wrong))
        for _ in range(options.connections)
    ]
    for thread in (syncer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    written.put(None)
    syncer.join()
    sys.exit(1 if wrong else 0)


def _finish_all(written: queue.SimpleQueue[int | None], durable: bool) -> None:
    while (fd := written.get()) is not None:
        if durable:
            os.fsync(fd)
        os.close(fd)


def _read_all(
    left: queue.SimpleQueue[FileEntry],
    written: queue.SimpleQueue[int | None],
    options: argparse.Namespace,
    wrong: list[str],
) -> None:
    parts = urlsplit(options.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    buffer = read_buffer(_BLOCK)
    while True:
        try:
            entry = left.get_nowait()
        except queue.Empty:
            return
        connection.request("GET", parts.path + entry.path)
        response = connection.getresponse()
        hasher = hashlib.sha256(usedforsecurity=False)
        fd = os.open(options.folder / entry.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        offset = begun = 0
        while count := response.readinto(buffer):
            os.pwrite(fd, buffer[:count], offset)
            if not options.unchecked:
                hasher.update(buffer[:count])
            offset += count
            if options.durable and (offset - begun >= _STRETCH or offset == entry.size):
                begin_writeback(fd, begun, offset - begun)
                begun = offset
        written.put(fd)
        if offset != entry.size or not (options.unchecked or hasher.hexdigest() == entry.sha256):
            wrong.append(entry.path)


if __name__ == "__main__":
    main()
