"""A model directory, walked without ever following a link.

Every file that a fetch writes or a verify reads is reached folder by folder from one open
directory handle, each step refusing symbolic links, so that nothing placed inside the directory
can lead a write or a read out of it. What the files mean is left to others.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from grokdist.errors import ResourceError, StoreError, UnsafePathError

STATE = ".grokdist"
"""Folder inside a model directory that holds the lock, parts, receipt, manifest and index."""
NEW_SUFFIX = ".new"
"""What a small file is called while it is written."""

_T = TypeVar("_T")
_FOLDERS_KEPT = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, kw_only=True, slots=True)
class StatMark:
    """What the file system says of a file; any write to it changes this."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The mark of a stat result."""
        return cls(
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
        )


def refusal(path: str, error: OSError) -> ResourceError | StoreError:
    """The error for what the file system refused while ``path`` was written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(
            f"no space left on the disk while writing {path}",
            hint="free some space and run the same command again: it goes on where it stopped",
        )
    return StoreError(f"cannot write {path}: {error.strerror}")


def split(relative: str) -> tuple[str, ...]:
    """Split a relative POSIX path into its names.

    Raises:
        UnsafePathError: the path is absolute, empty, or has ``.``, ``..`` or NUL in it.
    """
    names = tuple(relative.split("/"))
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        raise UnsafePathError(f"unsafe path {relative!r}; expected a plain relative path")
    return names


class ModelTree:
    """One model directory, held open; safe to use from several threads.

    Args:
        directory: an existing directory. It may itself be reached through links: it is the
            user's own choice; what is inside is not.

    Raises:
        StoreError: it is not there, not a directory, or cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._folders: dict[tuple[str, ...], int] = {}
        try:
            self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            raise StoreError(
                f"{directory} is not a directory", hint="choose another --dir"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot open {directory}: {error.strerror}") from error

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Open ``directory``, making it and its parents first.

        Raises:
            StoreError: it cannot be made, or a file stands in its place.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StoreError(
                f"{directory} is not a directory", hint="choose another --dir"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot make {directory}: {error.strerror}") from error
        return cls(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        folders, self._folders = self._folders, {}
        for handle in folders.values():
            os.close(handle)
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    @property
    def in_place(self) -> bool:
        """False once the directory was removed or renamed, or another stands in its place."""
        try:
            now = self.directory.stat()
        except OSError:
            return False
        return os.path.samestat(now, os.fstat(self._root))

    def path(self, relative: str) -> Path:
        """Where ``relative`` is, as a path for people and for other programs."""
        return self.directory.joinpath(*split(relative))

    @contextlib.contextmanager
    def folder(self, names: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """A handle on the folder ``names``, valid inside the ``with``.

        Raises:
            FileNotFoundError: it is not there (and ``create`` is False).
            UnsafePathError: one of the names is a link or no folder.
        """
        kept = self._folders.get(names)
        # One that was removed meanwhile has no name any more, and can hold none.
        if kept is not None and os.fstat(kept).st_nlink:
            yield kept
            return
        handle = self._walk_to(names, create=create)
        # Many small files of one folder would be walked to a dozen times each.
        if kept is None and len(self._folders) < _FOLDERS_KEPT and self._root >= 0:
            kept = self._folders.setdefault(names, handle)
            if kept == handle:
                yield handle
                return
        try:
            yield handle
        finally:
            os.close(handle)

    def _at(self, names: tuple[str, ...], use: Callable[[int], _T], *, create: bool = False) -> _T:
        """What ``use`` makes of a handle on the folder ``names``, with no call more than it needs.

        Raises:
            FileNotFoundError, UnsafePathError: as ``folder`` does.
        """
        kept = self._folders.get(names)
        if kept is not None:
            try:
                return use(kept)
            except FileNotFoundError:
                if os.fstat(kept).st_nlink:
                    raise
                # The folder was removed; another may stand in its place, or be made.
        with self.folder(names, create=create) as handle:
            return use(handle)

    def _walk_to(self, names: tuple[str, ...], *, create: bool) -> int:
        handle = os.dup(self._root)
        try:
            for depth, name in enumerate(names):
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o755, dir_fd=handle)
                try:
                    below = os.open(name, _FOLDER, dir_fd=handle)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise self._unsafe("/".join(names[: depth + 1]), "a folder") from None
                    raise
                os.close(handle)
                handle = below
        except BaseException:
            os.close(handle)
            raise
        return handle

    def open(self, relative: str, flags: int, *, create_folders: bool = False) -> int:
        """Open a regular file; returns a file descriptor.

        Raises:
            FileNotFoundError: it is not there.
            UnsafePathError: it is a link, a device, a pipe or a folder.
        """
        *folders, name = split(relative)
        # Without O_NONBLOCK the opening of a pipe would wait for its other end.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = self._at(
                tuple(folders),
                lambda handle: os.open(name, flags, 0o644, dir_fd=handle),
                create=create_folders,
            )
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise self._unsafe(relative, "a regular file") from None
            raise
        # What did not exist is a file now.
        if not flags & os.O_EXCL and not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._unsafe(relative, "a regular file")
        return fd

    def stat(self, relative: str) -> os.stat_result | None:
        """The status of what stands at ``relative`` itself (links not followed), or None."""
        *folders, name = split(relative)
        try:
            return self._at(
                tuple(folders),
                lambda handle: os.stat(name, dir_fd=handle, follow_symlinks=False),
            )
        except FileNotFoundError:
            return None

    def rename(self, old: str, new: str, *, durable: bool = False) -> None:
        """Give the file ``old`` the name ``new`` in one step, replacing what is there.

        Args:
            old: its name now.
            new: its name then; folders are made.
            durable: wait until the file system has both names on disk.

        Raises:
            UnsafePathError: a folder stands at ``new``, or a folder on the way is a link.
        """
        *old_folders, old_name = split(old)
        *new_folders, new_name = split(new)

        def move(source: int, target: int) -> None:
            try:
                os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
                    raise self._unsafe(new, "a regular file or nothing") from None
                raise
            if durable:
                os.fsync(target)
                os.fsync(source)

        self._at(
            tuple(old_folders),
            lambda source: self._at(
                tuple(new_folders), lambda target: move(source, target), create=True
            ),
        )

    def remove(self, relative: str) -> None:
        """Remove a file if it is there; a link is removed, never what it points to."""
        *folders, name = split(relative)
        with contextlib.suppress(FileNotFoundError):
            self._at(tuple(folders), lambda handle: os.unlink(name, dir_fd=handle))

    def read_small(self, relative: str, limit: int) -> bytes | None:
        """The content of a small file, or None if it is not there.

        Raises:
            StoreError: it has more than ``limit`` bytes.
            UnsafePathError: it is not a regular file.
        """
        try:
            fd = self.open(relative, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{self.path(relative)} is too large; expected at most {limit} bytes")
        return data

    def write_small(self, relative: str, data: bytes, *, durable: bool = True) -> None:
        """Write a small file in one step: readers see the old content or the new one.

        A process that is killed on the way leaves ``relative`` with ``NEW_SUFFIX``, which the next
        one to write that file takes away.

        Raises:
            OSError: the disk is full, or the like; ``filename`` says at which file.
        """
        temporary = f"{relative}{NEW_SUFFIX}"
        try:
            with os.fdopen(self._open_new(temporary), "wb") as stream:
                stream.write(data)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            self.rename(temporary, relative, durable=durable)
        except OSError as error:
            with contextlib.suppress(OSError, UnsafePathError):
                self.remove(temporary)
            error.filename = str(self.path(relative))
            raise

    def _open_new(self, temporary: str) -> int:
        """Make a file to write to, locked for as long as it is open: so its writer is alive."""
        while True:
            self.remove(temporary)
            fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, create_folders=True)
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
            # Swept away as a dead one's in the moment before it was locked.
            os.close(fd)

    def walk(self, top: tuple[str, ...] = ()) -> Iterator[tuple[str, os.stat_result]]:
        """Everything that is not a folder, as (path, status), sorted; ``.grokdist`` left out.

        Links are reported as links and never followed. Names that are not UTF-8 come with
        surrogate escapes.
        """
        pending = [top]
        while pending:
            names = pending.pop()
            with self.listing(names) as entries:
                found = sorted(
                    ((entry.name, entry.stat(follow_symlinks=False)) for entry in entries),
                    key=lambda item: item[0],
                )
            below = []
            for name, status in found:
                if stat.S_ISDIR(status.st_mode) and not names and name == STATE:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    below.append((*names, name))
                else:
                    yield "/".join((*names, name)), status
            pending.extend(reversed(below))

    @contextlib.contextmanager
    def listing(self, names: tuple[str, ...]) -> Iterator[Iterator[os.DirEntry[str]]]:
        """The entries of a folder, valid inside the ``with``.

        By a handle of its own: those of ``folder`` are shared, and so is their position.

        Raises:
            FileNotFoundError: it is not there.
            UnsafePathError: one of the names is a link or no folder.
        """
        with self.folder(names) as handle:
            own = os.open(".", _FOLDER, dir_fd=handle)
        try:
            with os.scandir(own) as entries:
                yield entries
        finally:
            os.close(own)

    def _unsafe(self, relative: str, expected: str) -> UnsafePathError:
        return UnsafePathError(
            f"{self.directory / relative} is a link or special file; expected {expected}",
            hint="remove it, or choose another --dir",
        )
