"""What stands in the store and is of no more use: found, measured, and removed.

Nothing that a fetch could go on from is waste unless it is asked for: bytes that arrived cost time
to get again. Of a folder outside the store nothing is looked at but the note that remembers it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from grokdist import settings
from grokdist.errors import GrokdistError, StoreError
from grokdist.transfer.lease import LEASE, Holder, read_lease
from grokdist.transfer.lock import exclusive
from grokdist.transfer.part_files import PARTS
from grokdist.transfer.removal import REMOVED, clear
from grokdist.transfer.store import Placed, Store
from grokdist.transfer.temporary import STEMS
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.trust.sha256_build import library_path

_ENDINGS = (".part", ".state")
_TEMPORARY = tuple(f"{stem}." for stem in STEMS)
"""How files begin that a step makes in ``.grokdist`` and takes away again."""
_BLOCK = 512


class Kind(StrEnum):
    """What waste is."""

    REMOVED = "removed"
    """A release that was removed, by a process that was killed before the end."""
    PART = "part"
    """Bytes gathered for a file that stands in its place by now."""
    UNFINISHED = "unfinished"
    """Bytes gathered for a file that is not there yet: a fetch could go on from them."""
    LEASE = "lease"
    """The sign of life of a process that is dead."""
    TEMPORARY = "temporary"
    """A small file that a step left behind when its process was killed."""
    GONE = "gone"
    """A note that remembers a model in a folder that is no longer there."""
    COMPILED = "compiled"
    """Programs compiled by another version of the compiler."""


MEANINGS = {
    Kind.REMOVED: "what a removal left",
    Kind.PART: "parts of files that are complete",
    Kind.UNFINISHED: "parts of a fetch that did not end",
    Kind.LEASE: "lease of a process that is dead",
    Kind.TEMPORARY: "what a killed process left",
    Kind.GONE: "note of a folder that is gone",
    Kind.COMPILED: "programs compiled by another version",
}
"""What people are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waste:
    """One thing that can go.

    Attributes:
        kind: what it is.
        path: the file or folder.
        bytes: what it takes on the disk.
        model: the model directory that it stands in, which must be nobody's meanwhile; None for
            what stands in none.
    """

    kind: Kind
    path: Path
    bytes: int
    model: Path | None = None


def find_waste(store: Store, *, unfinished: bool = False) -> list[Waste]:
    """Everything in the store that can go; nothing is changed.

    Args:
        store: where to look.
        unfinished: also what fetches that did not end could go on from.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        found = [*_left_over(store), *_of_releases(store), *_compiled(store)]
    except OSError as error:
        raise StoreError(f"cannot read {error.filename or store.home}: {error.strerror}") from error
    return [waste for waste in found if unfinished or waste.kind is not Kind.UNFINISHED]


def dispose(waste: Waste) -> None:
    """Remove one thing.

    Raises:
        StoreError: somebody uses its model right now, or the file system refuses.
    """
    try:
        if waste.model is None:
            _remove(waste.path)
            return
        with ModelTree(waste.model) as tree, exclusive(tree):
            # A dead process's lease has been taken over by now, and goes with ours.
            if waste.kind is not Kind.LEASE:
                _remove(waste.path)
    except OSError as error:
        raise StoreError(f"cannot remove {waste.path}: {error.strerror}") from error


def _left_over(store: Store) -> Iterator[Waste]:
    """Folders of removals that were cut short."""
    if not store.models.is_dir():
        return
    for left in sorted(store.models.glob(f"*/{REMOVED}*")):
        if left.is_dir() and not left.is_symlink():
            yield Waste(kind=Kind.REMOVED, path=left, bytes=_size(left))


def _of_releases(store: Store) -> Iterator[Waste]:
    for placed in store.all_placed():
        if placed.inside:
            yield from _in_state(placed)
        elif placed.stored is None and placed.note is not None and _gone(placed.directory):
            yield Waste(kind=Kind.GONE, path=placed.note, bytes=_size(placed.note))


def _gone(directory: Path) -> bool:
    """True where a folder was removed; the place of a disk that is not mounted is empty."""
    with contextlib.suppress(OSError):
        return not directory.exists() and any(directory.parent.iterdir())
    return False


def _in_state(placed: Placed) -> Iterator[Waste]:
    directory = placed.directory
    with ModelTree(directory) as tree:
        yield from _parts(tree)
        with contextlib.suppress(GrokdistError):
            lease = read_lease(tree)
            if lease is not None and _dead(lease[0]):
                path = directory / LEASE
                yield Waste(kind=Kind.LEASE, path=path, bytes=_size(path), model=directory)
    for each in sorted((directory / STATE).glob("*")):
        if each.name.startswith(_TEMPORARY) or each.name.endswith(".new"):
            yield Waste(kind=Kind.TEMPORARY, path=each, bytes=_size(each), model=directory)


def _parts(tree: ModelTree) -> Iterator[Waste]:
    try:
        found = list(tree.walk(tuple(PARTS.split("/"))))
    except (FileNotFoundError, GrokdistError):
        return
    for path, status in found:
        name = path.removeprefix(f"{PARTS}/")
        for ending in _ENDINGS:
            name = name.removesuffix(ending)
        with contextlib.suppress(GrokdistError):
            whole = tree.stat(name)
            done = whole is not None and stat.S_ISREG(whole.st_mode)
            yield Waste(
                kind=Kind.PART if done else Kind.UNFINISHED,
                path=tree.path(path),
                bytes=status.st_blocks * _BLOCK,
                model=tree.directory,
            )


def _compiled(store: Store) -> Iterator[Waste]:
    for kept in (settings.compile_cache(), library_path()):
        folder = kept.parent
        if not folder.is_relative_to(store.home) or not folder.is_dir():
            continue
        for each in sorted(set(folder.iterdir()) - {kept}):
            yield Waste(kind=Kind.COMPILED, path=each, bytes=_size(each))


def _dead(holder: Holder) -> bool:
    """True for a process of this run of this machine that has ended; any other may live."""
    if not holder.here:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _size(path: Path) -> int:
    """Bytes that a file, or all in a folder, takes on the disk."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_blocks * _BLOCK
    return sum(
        os.stat(name, dir_fd=handle, follow_symlinks=False).st_blocks * _BLOCK
        for _, _, names, handle in os.fwalk(path, follow_symlinks=False)
        for name in names
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        clear(path)
    else:
        path.unlink(missing_ok=True)
