"""The files of a folder as a manifest lists them, every digest from one reading of each file.

SHA-256, git's blob id and the root of the BEP 52 tree come from the same bytes; files are read in
parallel, with one buffer a thread. Links are refused rather than followed: what a link means
depends on the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grokdist.catalog.git_objects import EXECUTABLE
from grokdist.catalog.manifest import FileEntry
from grokdist.catalog.parsing import MAX_FILES
from grokdist.catalog.paths import check_paths
from grokdist.errors import StoreError, UnsafePathError, UsageError
from grokdist.transfer.front_to_back import read_on
from grokdist.transfer.hashing import Task, Worker, default_jobs, in_parallel
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.trust.merkle import hash_blocks, root
from grokdist.trust.sha256_build import prepare

_LEFT_OUT = ".git"
"""A clone's own folder: no part of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderListing:
    """What a folder holds.

    Attributes:
        files: the files, sorted by path.
        modes: mode of each file that may be run, by path.
    """

    files: tuple[FileEntry, ...]
    modes: dict[str, str]


def list_folder(
    directory: Path,
    *,
    jobs: int | None = None,
    on_begin: Callable[[int, int], None] = lambda _files, _size: None,
    on_bytes: Callable[[str, int], None] = lambda _path, _count: None,
) -> FolderListing:
    """Hash every file of a folder.

    ``.grokdist`` and a clone's ``.git`` are left out.

    Args:
        directory: the folder.
        jobs: files at once; None for what the machine bears.
        on_begin: told number and bytes of the files before they are read.
        on_bytes: told path and bytes, as it goes on.

    Raises:
        UsageError: it holds no files, or too many.
        UnsafePathError: a link or special file, or a path that is not safe everywhere.
        StoreError: a file cannot be read, or changed meanwhile.
    """
    with ModelTree(directory) as tree:
        found: dict[str, os.stat_result] = {}
        for path, status in tree.walk():
            if path.partition("/")[0] == _LEFT_OUT:
                continue
            if not stat.S_ISREG(status.st_mode):
                raise UnsafePathError(
                    f"{directory / path} is a link or special file; expected regular files only"
                )
            if len(found) == MAX_FILES:
                raise UsageError(f"{directory} holds more than {MAX_FILES} files")
            found[path] = status
        if not found:
            raise UsageError(f"{directory} holds no files; expected those of a model")
        check_paths(found)
        size = sum(status.st_size for status in found.values())
        on_begin(len(found), size)
        prepare(size)

        def task(path: str) -> Task[FileEntry]:
            return lambda worker: _hashed(tree, path, worker, on_bytes)

        tasks = (task(path) for path in sorted(found))
        results = in_parallel(tasks, jobs=jobs or default_jobs(), nbytes=size)
        with contextlib.closing(results):
            entries = sorted(results, key=lambda entry: entry.path)
    return FolderListing(
        files=tuple(entries),
        modes={
            path: EXECUTABLE for path, status in sorted(found.items()) if status.st_mode & 0o100
        },
    )


def _hashed(
    tree: ModelTree, path: str, worker: Worker, on_bytes: Callable[[str, int], None]
) -> FileEntry:
    """One file, read once."""
    try:
        fd = tree.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"cannot read {tree.path(path)}: {error.strerror}") from error
    with os.fdopen(fd, "rb", buffering=0), MIB_BUFFERS.lent() as buffer:
        before = os.fstat(fd)
        size = before.st_size
        sha256 = hashlib.sha256()
        # SHA-1 is git's object name here, beside a SHA-256.
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        leaves: list[bytes] = []
        try:
            for data in read_on(fd, 0, size, buffer, keep=worker.keep):
                if worker.stop.is_set():
                    raise HashingStoppedError(f"hashing of {path} was interrupted")
                sha256.update(data)
                blob.update(data)
                leaves.append(hash_blocks(data))
                on_bytes(path, len(data))
        except OSError as error:
            raise StoreError(f"cannot read {tree.path(path)}: {error.strerror}") from error
        if StatMark.of(os.fstat(fd)) != StatMark.of(before):
            raise StoreError(f"{tree.path(path)} changed while it was read; expected one at rest")
    return FileEntry(
        path=path,
        size=size,
        sha256=sha256.hexdigest(),
        git_blob=blob.hexdigest(),
        pieces_root=root(b"".join(leaves)).hex() if leaves else None,
    )
