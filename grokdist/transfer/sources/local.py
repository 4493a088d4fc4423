"""Files from a folder of this machine: bundled with the package, or any that the user names.

A folder is no more trusted than a server: every byte is hashed on its way in. Where the file system
can share blocks (``reflink``), a whole file is taken without a second copy: the part becomes a copy
that shares the source's blocks and is written apart from it, and it is the part that is hashed, so
that nobody who writes to the source meanwhile changes what was found right. Elsewhere the bytes are
copied while they are hashed.

A file that is cut short, as an interrupted download leaves it, gives what it has; the rest is for
other sources.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
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
from grokdist.transfer.part import Segment
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.reflink import reflink
from grokdist.transfer.sources.base import AnyRange
from grokdist.transfer.sources.folder import Folder, Place
from grokdist.transfer.stop import Stop

_BLOCK = 1 << 20


def bundled(location: str) -> Path:
    """The folder of the package that a manifest calls ``location``.

    Raises:
        UsageError: it is not a plain name.
    """
    if not location or location != Path(location).name or location.startswith("."):
        raise UsageError(f"{location!r} is not the name of a bundled folder")
    return Path(grokdist.__file__).parent / "bundled" / location


class LocalSource(AnyRange):
    """Files under a folder, in any of the layouts that ``Folder`` knows.

    Args:
        root: the folder; that it is not there is an error of the first fetch, not of this call.
        name: label; None for ``local:`` and the folder.
        files: glob patterns of the paths it holds; empty means all.
        repositories: the Hub's names of the release, for a folder that is a cache of the Hub.
        revision: the commit to look for first in such a cache.
        slots: files at once; None for what the cores can hash.
    """

    kind = SourceKind.LOCAL

    def __init__(
        self,
        root: Path,
        *,
        name: str | None = None,
        files: tuple[str, ...] = (),
        repositories: Sequence[str] = (),
        revision: str | None = None,
        slots: int | None = None,
    ) -> None:
        self.name = name or f"local:{root}"
        self.slots = slots or max(2, min(os.cpu_count() or 2, 8))
        self._files = files
        self._shares: dict[tuple[int, int], bool] = {}
        self._folder = Folder(root, repositories=repositories, revision=revision)

    def offers(self, entry: FileEntry) -> bool:
        """True where the file, or the beginning of it, seems to be there."""
        place = self.place(entry)
        return place is not None and (place.size > 0 or not entry.size)

    def place(self, entry: FileEntry) -> Place | None:
        """Where the file seems to be; None where nothing is offered."""
        if self._files and not any(
            fnmatch.fnmatchcase(entry.path, pattern) for pattern in self._files
        ):
            return None
        return self._folder.find(entry)

    def takes_room(self, entry: FileEntry, directory: Path, *, link: bool) -> bool:
        """True where the file would be copied, block by block, into ``directory``.

        Args:
            entry: the file.
            directory: a folder that exists, on the file system of the model.
            link: it would be given a second name, where it can.
        """
        place = self.place(entry)
        if place is None or place.size != entry.size:
            return True
        try:
            devices = directory.stat().st_dev, place.root.stat().st_dev
            if devices[0] != devices[1]:
                return True
            if link:
                return False
            if devices not in self._shares:
                self._shares[devices] = _can_share(place, directory)
            return not self._shares[devices]
        except (OSError, StoreError, UnsafePathError):
            return True

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Share or copy a file to its end; see ``Source.fetch``."""
        place = self.place(entry)
        if place is None:
            raise self._error(entry, "is not there")
        try:
            fd = place.open()
        except (StoreError, UnsafePathError) as error:
            raise self._error(entry, str(error)) from error
        except OSError as error:
            raise self._error(entry, f"cannot be read: {error.strerror}") from error
        try:
            size = os.fstat(fd).st_size
            if size > entry.size:
                raise DigestMismatchError(
                    f"{self.name}: {entry.path} has another size; expected {entry.size} bytes,"
                    f" got {size} bytes",
                    path=entry.path,
                    expected=f"{entry.size} bytes",
                    got=f"{size} bytes",
                )
            if size == entry.size and _shared(fd, entry, segment):
                self._count(segment, stop)
            else:
                self._copy(fd, entry, segment, size, stop)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is held open."""

    def _count(self, segment: Segment, stop: Stop) -> None:
        """Hash what a part shares with the source, as if it arrived."""
        while segment.remaining and not stop.is_set():
            before = segment.offset
            segment.adopt(before + min(_BLOCK, segment.remaining))
            segment.arrived(segment.offset - before)

    def _copy(self, fd: int, entry: FileEntry, segment: Segment, size: int, stop: Stop) -> None:
        upto = size if size == entry.size else _first_hole(fd, size)
        with MIB_BUFFERS.lent() as buffer:
            while segment.remaining and not stop.is_set():
                room = min(segment.remaining, upto - segment.offset, len(buffer))
                try:
                    count = os.preadv(fd, [buffer[: max(room, 0)]], segment.offset)
                except OSError as error:
                    raise self._error(entry, f"cannot be read: {error.strerror}") from error
                if not count:
                    raise self._error(entry, f"ends at {segment.offset} of {entry.size} bytes")
                segment.append(buffer[:count])

    def _error(self, entry: FileEntry, reason: str) -> SourceError:
        return SourceError(reason, source=self.name, path=entry.path, permanent=True)


def _shared(fd: int, entry: FileEntry, segment: Segment) -> bool:
    """Make the part a copy of the source that shares its blocks; False where that cannot be."""
    if segment.start or segment.offset or segment.end != entry.size:
        return False
    try:
        part = os.open(segment.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return reflink(fd, part)
    finally:
        os.close(part)


def _can_share(place: Place, directory: Path) -> bool:
    """Try whether a file of ``directory`` can share blocks, with one that has no name."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    source = place.open()
    try:
        target = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            return reflink(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _first_hole(fd: int, size: int) -> int:
    """Where the data of an unfinished file ends: what was never written reads as zeros."""
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE)
    except (OSError, AttributeError):
        return size
