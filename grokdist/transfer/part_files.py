"""The files of a part on disk, and what can be said of them without opening the part."""

from __future__ import annotations

import contextlib
import errno
import os

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import UnsafePathError
from grokdist.transfer.boot import boot_id
from grokdist.transfer.part_state import PartState, StateFile, Written, read_state
from grokdist.transfer.ranges import RangeMap
from grokdist.transfer.tree import STATE, ModelTree, split
from grokdist.trust.digest import ContentDigest

PARTS = f"{STATE}/parts"
COPY, LINK = "-copy", "-link"
ADOPTED = ".link"
UNDER_WAY = (f".part{COPY}", f".part{LINK}", ADOPTED)
"""How names end that are there for moments only, while one process works on a file."""

_BLOCK = 1 << 20


def part_name(path: str) -> str:
    """Where the bytes of ``path`` are gathered, relative to the model directory."""
    return f"{PARTS}/{path}.part"


def state_name(path: str) -> str:
    """Where their state is, relative to the model directory."""
    return f"{PARTS}/{path}.state"


def part_bytes(tree: ModelTree, entry: FileEntry) -> int:
    """Bytes of ``entry`` that are here already, by what was written down (not hashed now)."""
    status = tree.stat(part_name(entry.path))
    if status is None or (status.st_nlink > 1 and not of_swarm(tree, status)):
        return 0
    state = read_state(tree, state_name(entry.path))
    if state is None or state.digest != str(expected_digest(entry)) or state.size != entry.size:
        return 0
    return within(state.usable.ranges, status.st_size).size


def expected_digest(entry: FileEntry) -> ContentDigest:
    """The digest that the content of ``entry`` must have.

    Raises:
        ManifestError: the entry names none.
    """
    return ContentDigest.choose(
        path=entry.path, sha256=entry.sha256, git_blob=entry.git_blob, lfs=entry.lfs
    )


def write_part(tree: ModelTree, entry: FileEntry, good: RangeMap) -> None:
    """Make a part of the file ``entry`` that stands in its place, of which only ``good`` is right.

    The file keeps its bytes; the ranges that are not ``good`` are then fetched anew.
    """
    state = StateFile(tree, state_name(entry.path))
    with contextlib.closing(state):
        # The state first: without the part it says nothing, and with it nothing may be missing.
        state.save(
            PartState(
                digest=str(expected_digest(entry)),
                size=entry.size,
                written=Written(ranges=good),
                synced=Written(ranges=good),
                boot=boot_id(),
            ),
            durable=True,
        )
    tree.rename(entry.path, part_name(entry.path), durable=True)


def sweep_parts(tree: ModelTree) -> None:
    """Take away what killed processes left: copies and links under way, states without a part.

    Only for who has the directory alone.
    """
    with contextlib.suppress(FileNotFoundError, UnsafePathError):
        found = {path for path, _ in tree.walk(split(PARTS))}
        for path in sorted(found):
            alone = path.endswith(".state") and f"{path.removesuffix('.state')}.part" not in found
            if alone or path.endswith(UNDER_WAY):
                with contextlib.suppress(OSError):
                    tree.remove(path)


def of_swarm(tree: ModelTree, status: os.stat_result) -> bool:
    """True where the second name of a file is the one that libtorrent wrote to it by."""
    if status.st_nlink != 2:
        return False
    try:
        with tree.listing((STATE, "swarm")) as entries:
            return any(each.inode() == status.st_ino for each in entries)
    except (FileNotFoundError, UnsafePathError):
        return False


def forget_swarm(tree: ModelTree) -> None:
    """Remove what a swarm left for a file that is under way, once none is."""
    with contextlib.suppress(FileNotFoundError):
        if any(path.endswith(".part") for path, _ in tree.walk((STATE, "parts"))):
            return
        with tree.folder((STATE, "swarm")) as handle:
            for name in os.listdir(handle):  # noqa: PTH208 (a handle is not a path)
                os.unlink(name, dir_fd=handle)


def copy_range(source: int, target: int, start: int, end: int) -> None:
    """Copy a byte range between two open files, in the kernel where it can."""
    while start < end:
        try:
            count = os.copy_file_range(source, target, end - start, start, start)
        except (AttributeError, OSError):
            count = os.pwrite(target, os.pread(source, min(_BLOCK, end - start), start), start)
        if not count:
            raise OSError(errno.EIO, "the part ends early")
        start += count


def within(ranges: RangeMap, size: int) -> RangeMap:
    """The ranges that a file of ``size`` bytes can hold."""
    kept = ranges.copy()
    kept.cut(size)
    return kept
