"""What is shared: the files of one manifest by their digests, numbered alike by every member.

A share is known by the digests and sizes of its files and by nothing else: neither a name nor a
path travels between machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer.share.ownership import chunk_size


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedFile:
    """One content.

    Attributes:
        sha256: 64 hex digits.
        size: bytes, at least 1.
        paths: where the manifest places it; content that it has twice is shared once.
    """

    sha256: str
    size: int
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Content:
    """The files of a share, in the order of their digests.

    Attributes:
        files: the files; a file's place is its number in the protocol.
        share_id: 40 hex digits that two members have in common exactly if they fetch by the same
            list of digests and sizes.
        chunk: bytes of the pieces that are taken from the origin by one member each.
    """

    files: tuple[SharedFile, ...]
    share_id: str
    chunk: int

    @classmethod
    def of(cls, entries: Iterable[FileEntry]) -> Self:
        """The share of a manifest's files; those that are empty or have no SHA-256 are left out."""
        paths: dict[tuple[str, int], list[str]] = {}
        for entry in entries:
            if entry.sha256 is not None and entry.size:
                paths.setdefault((entry.sha256, entry.size), []).append(entry.path)
        listed = sorted(paths)
        text = "".join(f"{sha256} {size}\n" for sha256, size in listed)
        return cls(
            files=tuple(
                SharedFile(sha256=sha256, size=size, paths=tuple(paths[sha256, size]))
                for sha256, size in listed
            ),
            share_id=hashlib.sha256(b"grokdist share 1\n" + text.encode()).hexdigest()[:40],
            chunk=chunk_size(sum(size for _, size in listed)),
        )

    @cached_property
    def by_sha256(self) -> Mapping[str, int]:
        """Numbers of the files by digest."""
        return {file.sha256: number for number, file in enumerate(self.files)}

    @cached_property
    def by_path(self) -> Mapping[str, int]:
        """Numbers of the files by path."""
        return {path: number for number, file in enumerate(self.files) for path in file.paths}

    def number(self, entry: FileEntry) -> int | None:
        """The number of an entry's content; None where it is not shared."""
        return self.by_path.get(entry.path)
