"""Finds a release's files in a folder, in whatever layout another tool left them.

Known are: the manifest's own layout (also that of ``hf download --local-dir``), the Hub's cache
(given as the cache, as a repository's folder in it or as a snapshot), and anything else in which a
file is told by its name and size: a torrent's folder, whose root is named otherwise, or all files
in one place.

No link is followed, with one exception: the cache's snapshots are links to ``blobs`` of the same
repository, and such a link is resolved by its text, inside that repository's folder and nowhere
else. What a file holds is for the digest to say.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import StoreError, UnsafePathError
from grokdist.transfer.tree import STATE, ModelTree, split

_MAX_SCANNED = 200_000
"""Entries that a search by name looks at; a folder with more is not searched further."""
_MAX_REPOSITORIES = 1000
_MAX_SNAPSHOTS = 100
_MAX_DEPTH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a file is: a regular file, reached from ``root`` without following a link.

    Attributes:
        root: a folder.
        relative: path below it.
        size: bytes, when it was found.
    """

    root: Path
    relative: str
    size: int

    def open(self) -> int:
        """Open it for reading; returns a file descriptor.

        Raises:
            FileNotFoundError: it is gone.
            UnsafePathError: it, or a folder on the way, is a link or special file now.
            StoreError: the folder cannot be opened.
        """
        with ModelTree(self.root) as tree:
            return tree.open(self.relative, os.O_RDONLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Snapshot:
    repository: Path
    names: tuple[str, ...]


class Folder:
    """A folder that may hold files of a release; nothing is looked at before it is asked.

    Args:
        root: the folder.
        repositories: the Hub's repositories that the release is known by (``org/name``); these
            are looked for first in a cache that holds several.
        revision: commit of the snapshot to look into first.
    """

    def __init__(
        self, root: Path, *, repositories: Sequence[str] = (), revision: str | None = None
    ) -> None:
        self.root = root
        self._repositories = tuple(repositories)
        self._revision = revision
        self._lock = threading.Lock()
        self._known: dict[str, Place | None] = {}
        self._snapshots: tuple[_Snapshot, ...] | None = None
        self._scanned: dict[tuple[str, int], list[tuple[str, ...]]] | None = None

    def find(self, entry: FileEntry) -> Place | None:
        """Where ``entry`` seems to be.

        A file of its size is preferred wherever it is; without one, a file at its own path of
        another size, which may be the beginning of it.
        """
        with self._lock:
            if entry.path not in self._known:
                self._known[entry.path] = self._find(entry)
            return self._known[entry.path]

    def _find(self, entry: FileEntry) -> Place | None:
        try:
            split(entry.path)
        except UnsafePathError:
            return None
        own = _regular(self.root, entry.path)
        if own is not None and own.size == entry.size:
            return own
        for snapshot in self._all_snapshots():
            place = _resolved(snapshot, entry.path)
            if place is not None and place.size == entry.size:
                return place
            own = own or place
        if entry.size:
            return self._by_name(entry) or own
        return own

    def _by_name(self, entry: FileEntry) -> Place | None:
        """The file of this name and size that has most of the path; None if there are several."""
        if self._scanned is None:
            self._scanned = {}
            for names, size in _walk(self.root):
                self._scanned.setdefault((names[-1], size), []).append(names)
        wanted = split(entry.path)
        ranked: dict[int, list[tuple[str, ...]]] = {}
        for names in self._scanned.get((wanted[-1], entry.size), ()):
            ranked.setdefault(_common_end(names, wanted), []).append(names)
        best = ranked[max(ranked)] if ranked else []
        if len(best) != 1:
            return None
        return Place(root=self.root, relative="/".join(best[0]), size=entry.size)

    def _all_snapshots(self) -> tuple[_Snapshot, ...]:
        if self._snapshots is None:
            self._snapshots = tuple(self._look_for_snapshots())
        return self._snapshots

    def _look_for_snapshots(self) -> Iterator[_Snapshot]:
        if self.root.parent.name == "snapshots" and (self.root.parent.parent / "blobs").is_dir():
            repository = self.root.parent.parent
            yield _Snapshot(repository=repository, names=("snapshots", self.root.name))
            return
        for repository in self._cached_repositories():
            revisions = _folders(repository / "snapshots")[:_MAX_SNAPSHOTS]
            for revision in sorted(revisions, key=lambda name: name != self._revision):
                yield _Snapshot(repository=repository, names=("snapshots", revision))

    def _cached_repositories(self) -> list[Path]:
        if (self.root / "snapshots").is_dir():
            return [self.root]
        first = [f"models--{name.replace('/', '--')}" for name in self._repositories]
        for cache in (self.root, self.root / "hub"):
            names = [name for name in _folders(cache) if name.startswith("models--")]
            if names:
                names.sort(key=lambda name: name not in first)
                return [cache / name for name in names[:_MAX_REPOSITORIES]]
        return []


def _regular(root: Path, relative: str) -> Place | None:
    """The regular file at a path, no link followed; None where none is to be had."""
    try:
        with ModelTree(root) as tree:
            status = tree.stat(relative)
    except (StoreError, UnsafePathError, OSError):
        return None
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    return Place(root=root, relative=relative, size=status.st_size)


def _resolved(snapshot: _Snapshot, path: str) -> Place | None:
    """A file of a snapshot: itself, or what its link names inside the repository's folder."""
    *folders, name = (*snapshot.names, *split(path))
    try:
        with ModelTree(snapshot.repository) as tree, tree.folder(tuple(folders)) as handle:
            target = os.readlink(name, dir_fd=handle)
    except (StoreError, UnsafePathError, FileNotFoundError):
        return None
    except OSError:
        # Not a link: a cache on a file system without links holds the files themselves.
        return _regular(snapshot.repository, "/".join((*folders, name)))
    if target.startswith("/"):
        below = _below(Path(target), snapshot.repository)
    else:
        below = _joined(folders, target)
    return None if below is None else _regular(snapshot.repository, below)


def _joined(folders: Sequence[str], target: str) -> str | None:
    """The path that a relative link means, by its text; None where it leaves the folder.

    The folders on the way to the link are no links, so ``..`` means what it says.
    """
    names = list(folders)
    for name in target.split("/"):
        if name in ("", "."):
            continue
        if name == "..":
            if not names:
                return None
            names.pop()
        else:
            names.append(name)
    return "/".join(names) or None


def _below(target: Path, repository: Path) -> str | None:
    """An absolute link's path inside the repository; one with ``..`` in it is refused later."""
    for root in (repository.absolute(), repository.resolve()):
        if target.is_relative_to(root):
            return target.relative_to(root).as_posix()
    return None


def _walk(root: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Regular files below a folder, as (names, size); what cannot be read is passed over."""
    left = _MAX_SCANNED
    try:
        tree = ModelTree(root)
    except StoreError:
        return
    pending: list[tuple[str, ...]] = [()]
    with tree:
        while pending:
            folder = pending.pop()
            try:
                with tree.listing(folder) as entries:
                    for entry in entries:
                        left -= 1
                        if left < 0:
                            return
                        names = (*folder, entry.name)
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            yield names, status.st_size
                        elif stat.S_ISDIR(status.st_mode) and _searched(names):
                            pending.append(names)
            except (OSError, UnsafePathError):
                continue


def _searched(names: tuple[str, ...]) -> bool:
    return names[-1] not in (STATE, ".git") and len(names) < _MAX_DEPTH


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many names two paths have in common at their ends."""
    count = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        count += 1
    return count
