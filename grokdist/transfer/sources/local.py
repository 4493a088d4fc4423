"""Files from a folder of this machine: bundled with the package, or any that the user names.

They are copied while they are hashed; a folder is no more trusted than a server. Links, devices
and pipes in it are refused.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import grokdist
from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import (
    DigestMismatchError,
    SourceError,
    StoreError,
    UnsafePathError,
    UsageError,
)
from grokdist.transfer.part import PartFile
from grokdist.transfer.stop import Stop
from grokdist.transfer.tree import ModelTree

_BLOCK = 1 << 20


def bundled(location: str) -> Path:
    """The folder of the package that a manifest calls ``location``.

    Raises:
        UsageError: it is not a plain name.
    """
    if not location or location != Path(location).name or location.startswith("."):
        raise UsageError(f"{location!r} is not the name of a bundled folder")
    return Path(grokdist.__file__).parent / "bundled" / location


class LocalSource:
    """Files under a folder.

    Args:
        root: the folder; that it is not there is an error of the first fetch, not of this call.
        name: label; None for ``local:`` and the folder.
        files: glob patterns of the paths it holds; empty means all.
        slots: files at once.
    """

    kind = SourceKind.LOCAL

    def __init__(
        self,
        root: Path,
        *,
        name: str | None = None,
        files: tuple[str, ...] = (),
        slots: int = 2,
    ) -> None:
        self.name = name or f"local:{root}"
        self.slots = slots
        self._root = root
        self._files = files

    def offers(self, entry: FileEntry) -> bool:
        """True where something stands at its path."""
        if self._files and not any(
            fnmatch.fnmatchcase(entry.path, pattern) for pattern in self._files
        ):
            return False
        try:
            with ModelTree(self._root) as tree:
                return tree.stat(entry.path) is not None
        except (StoreError, UnsafePathError, OSError):
            return False

    def fetch(self, entry: FileEntry, part: PartFile, stop: Stop) -> None:
        """Copy a file to its end; see ``Source.fetch``."""
        try:
            with ModelTree(self._root) as tree:
                fd = tree.open(entry.path, os.O_RDONLY)
        except (StoreError, UnsafePathError) as error:
            raise self._error(entry, str(error)) from error
        except OSError as error:
            raise self._error(entry, f"cannot be read: {error.strerror}") from error
        try:
            self._copy(fd, entry, part, stop)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is held open."""

    def _copy(self, fd: int, entry: FileEntry, part: PartFile, stop: Stop) -> None:
        size = os.fstat(fd).st_size
        if size != entry.size:
            raise DigestMismatchError(
                f"{self.name}: {entry.path} has another size; expected {entry.size} bytes,"
                f" got {size} bytes",
                path=entry.path,
                expected=f"{entry.size} bytes",
                got=f"{size} bytes",
            )
        buffer = memoryview(bytearray(min(_BLOCK, max(part.remaining, 1))))
        while part.remaining and not stop.is_set():
            try:
                count = os.preadv(fd, [buffer[: part.remaining]], part.offset)
            except OSError as error:
                raise self._error(entry, f"cannot be read: {error.strerror}") from error
            if not count:
                raise self._error(entry, f"ended at {part.offset} of {entry.size} bytes")
            part.append(buffer[:count])

    def _error(self, entry: FileEntry, reason: str) -> SourceError:
        return SourceError(reason, source=self.name, path=entry.path, permanent=True)
