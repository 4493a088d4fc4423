"""Taking a model off this machine: whole, or so that the same command goes on where it stopped.

A release in the store first gets another name, in one step and while nobody else uses it; from then
on it is not there, and what is left of it is waste (``waste``) should the process be killed. A
folder outside the store is only forgotten unless its files are asked for by name; then what its
receipt lists goes first and the receipt last.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from grokdist.errors import StoreError
from grokdist.transfer.lock import exclusive
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.store import Placed, Store, StoredModel, open_model
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.transfer.use import unused

REMOVED = ".removed-"
"""How the folder of a removed release begins, until it is gone."""

TASK = "remove"
"""What a listener is told that it is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What a removal did.

    Attributes:
        files: files that are gone, without what ``.grokdist`` held.
        bytes: what they took.
        kept: files that stay in the folder, since no receipt lists them or they were not asked for.
    """

    files: int
    bytes: int
    kept: int


def candidates(
    store: Store, target: str, *, registries: Collection[str] | None = None, by_path: bool = True
) -> list[Placed]:
    """What a name or a directory may mean; also fetches that did not end, and folders now gone.

    Args:
        store: where to look.
        target: ``name``, ``name@revision`` (its first digits will do), or a directory.
        registries: by a name, only what these registries vouched for, or nobody yet; None for any.
        by_path: whether the target may be a directory.
    """
    name, _, revision = target.partition("@")
    found = [
        placed
        for placed in store.placed(name)
        if placed.short.startswith(revision[: len(placed.short)].lower())
        and (
            registries is None
            or placed.stored is None
            or placed.stored.receipt is None
            or placed.stored.receipt.signed_by.registry in registries
        )
    ]
    directory = Path(target).expanduser()
    if found or not by_path or not directory.is_dir():
        return found
    wanted = directory.resolve()
    for placed in store.all_placed():
        if placed.directory.resolve() == wanted:
            return [placed]
    stored = open_model(directory)
    if stored.receipt is None:
        return []
    return [
        Placed(
            name=stored.receipt.model,
            short=stored.receipt.revision,
            directory=directory,
            note=None,
            inside=False,
            stored=stored,
        )
    ]


def remove(
    store: Store, placed: Placed, *, files: bool = False, progress: Progress | None = None
) -> Removed:
    """Take one release off this machine.

    Args:
        store: the store.
        placed: the release.
        files: for a folder outside the store, remove its files too: those of the receipt.
        progress: told of every file that is gone.

    Raises:
        StoreError: somebody uses it, or the file system refuses.
    """
    progress = progress or NoProgress()
    try:
        if placed.inside:
            return _remove_inside(store, placed, progress)
        if files and placed.stored is not None:
            removed = _remove_outside(placed.stored, progress)
        else:
            removed = Removed(files=0, bytes=0, kept=_count(placed.directory))
        if placed.note is not None:
            placed.note.unlink(missing_ok=True)
            _leave(placed.note.parent)
    except OSError as error:
        raise StoreError(
            f"cannot remove {error.filename or placed.directory}: {error.strerror}",
            hint=f"look at its owner and mode: ls -la {placed.directory}",
        ) from error
    return removed


def clear(folder: Path, progress: Progress | None = None) -> None:
    """Remove a folder and all that is in it; links are removed, never what they lead to.

    Raises:
        OSError: the file system refuses.
    """
    progress = progress or NoProgress()
    for _, folders, names, handle in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in names:
            size = os.stat(name, dir_fd=handle, follow_symlinks=False).st_size
            os.unlink(name, dir_fd=handle)
            progress.advance(DISK, name, size)
            progress.file_done(name, size, DISK)
        for name in folders:
            try:
                os.rmdir(name, dir_fd=handle)
            except NotADirectoryError:  # a link to a folder
                os.unlink(name, dir_fd=handle)
    folder.rmdir()


def _remove_inside(store: Store, placed: Placed, progress: Progress) -> Removed:
    gone = placed.directory.with_name(f"{REMOVED}{placed.short}-{secrets.token_hex(4)}")
    with ModelTree(placed.directory) as tree, exclusive(tree), unused(tree):
        sizes = [status.st_size for _, status in tree.walk()]
        placed.directory.rename(gone)
    progress.begin(TASK, files=len(sizes), size=sum(sizes), have=0)
    clear(gone, progress)
    progress.end()
    _leave(gone.parent)
    return Removed(files=len(sizes), bytes=sum(sizes), kept=0)


def _remove_outside(stored: StoredModel, progress: Progress) -> Removed:
    """The files that the receipt lists, then the folders that this empties, then the receipt."""
    listed = {file.path: file.size for file in stored.receipt.files} if stored.receipt else {}
    files = size = 0
    with ModelTree(stored.directory) as tree, exclusive(tree), unused(tree):
        progress.begin(TASK, files=len(listed), size=sum(listed.values()), have=0)
        for path in listed:
            status = tree.stat(path)
            if status is None:
                continue
            tree.remove(path)
            files, size = files + 1, size + status.st_size
            progress.advance(DISK, path, status.st_size)
            progress.file_done(path, status.st_size, DISK)
        progress.end()
        for path in sorted(listed, reverse=True):
            for parent in Path(path).parents:
                if parent == Path():
                    break
                with contextlib.suppress(OSError):
                    (stored.directory / parent).rmdir()
        kept = sum(1 for _ in tree.walk())
    clear(stored.directory / STATE)
    with contextlib.suppress(OSError):
        stored.directory.rmdir()
    return Removed(files=files, bytes=size, kept=kept)


def _count(directory: Path) -> int:
    if not directory.is_dir():
        return 0
    with ModelTree(directory) as tree:
        return sum(1 for _ in tree.walk())


def _leave(folder: Path) -> None:
    """Take away the folder of a model's releases once it holds none."""
    with contextlib.suppress(OSError):
        folder.rmdir()
