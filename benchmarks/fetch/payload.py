"""The bytes that every contestant moves: files, manifest, digests for other tools, torrent."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt

from grokdist.catalog.manifest import FileEntry, LicenseInfo, Manifest, Role
from grokdist.catalog.serialise import serialise_manifest

COMMIT = "5e" * 20
_PIECE = 4 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Payload:
    """Files on disk, and what each tool needs to know of them.

    Attributes:
        name: its name, also the last part of its repository's.
        directory: where the files are.
        files: path, size and SHA-256 of each.
        manifest: the manifest file.
    """

    name: str
    directory: Path
    files: tuple[FileEntry, ...]
    manifest: Path

    @property
    def repository(self) -> str:
        """Its name on the Hub's stand-in."""
        return f"bench/{self.name}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    def right(self, directory: Path) -> str | None:
        """What is wrong with a copy: all sizes, and the bytes of one file by chance."""
        for entry in self.files:
            path = directory / entry.path
            if not path.is_file() or path.stat().st_size != entry.size:
                return f"{entry.path} is missing or has another size"
        chosen = random.choice(self.files)
        if digest_of(directory / chosen.path) != chosen.sha256:
            return f"{chosen.path} has other bytes"
        return None


def make_payload(home: Path, name: str, *, files: int, size: int, alike: bool = False) -> Payload:
    """Write ``files`` files of ``size`` bytes in all, or take those of an earlier run.

    Args:
        home: the benchmark's folder.
        name: the payload's name.
        files: number of files.
        size: bytes of all of them.
        alike: all files are links to one: quick to make where only their count matters.
    """
    directory = home / "payloads" / name
    manifest = home / "payloads" / f"{name}.json"
    note = home / "payloads" / f"{name}.made"
    made = json.dumps([files, size, alike, 1])
    if not note.is_file() or note.read_text("utf-8") != made:
        note.unlink(missing_ok=True)
        if alike:
            entries = _write_links(directory, files, size // files)
        else:
            entries = tuple(_write(directory, index, size // files) for index in range(files))
        wanted = {directory / entry.path for entry in entries}
        for path in directory.rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()
        manifest.write_bytes(serialise_manifest(_manifest(name, entries)))
        digests = {entry.path: [entry.size, entry.sha256] for entry in entries}
        note.with_suffix(".digests").write_text(json.dumps(digests), "utf-8")
        os.sync()
        note.write_text(made, "utf-8")
    digests = json.loads(note.with_suffix(".digests").read_text("utf-8"))
    return Payload(
        name=name,
        directory=directory,
        files=tuple(_entry(path, *row) for path, row in digests.items()),
        manifest=manifest,
    )


def make_torrent(payload: Payload, announce: str, target: Path) -> Path:
    """Write a v1 torrent of a payload, which every client can use; returns its path."""
    found = lt.list_files(str(payload.directory))
    # libtorrent takes the order of the directory, which is anyone's guess.
    found = sorted(found, key=lambda each: str(each.filename))
    torrent = lt.create_torrent(found, _PIECE, lt.create_torrent.v1_only)
    torrent.add_tracker(announce)
    lt.set_piece_hashes(torrent, str(payload.directory.parent))
    target.write_bytes(lt.bencode(torrent.generate()))
    return target


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def warm(payload: Payload) -> None:
    """Read a payload once, so that it is in the page cache."""
    buffer = memoryview(bytearray(_BLOCK))
    for entry in payload.files:
        with (payload.directory / entry.path).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _write(directory: Path, index: int, size: int) -> FileEntry:
    path = _path(index)
    target = directory / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    source = random.Random(index)
    hasher = hashlib.sha256()
    with target.open("wb") as file:
        left = size
        while left:
            data = source.randbytes(min(left, _BLOCK))
            hasher.update(data)
            file.write(data)
            left -= len(data)
    return _entry(path, size, hasher.hexdigest())


def _write_links(directory: Path, files: int, size: int) -> tuple[FileEntry, ...]:
    first = _write(directory, 0, size)
    for index in range(1, files):
        link = directory / _path(index)
        link.unlink(missing_ok=True)
        link.hardlink_to(directory / first.path)
    return tuple(_entry(_path(index), size, str(first.sha256)) for index in range(files))


def _path(index: int) -> str:
    return f"ckpt-0/tensor{index:05}_000"


def _entry(path: str, size: int, sha256: str) -> FileEntry:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    data = pointer.encode()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return FileEntry(path=path, size=size, sha256=sha256, git_blob=blob, lfs=True)


def _manifest(name: str, entries: tuple[FileEntry, ...]) -> Manifest:
    return Manifest(
        schema="grokdist/manifest/v1",
        name=name,
        revision=COMMIT,
        title="Payload of a benchmark",
        publisher="Nobody",
        role=Role.OBSERVER,
        statement="These bytes were made by a benchmark.",
        released=None,
        format="grok-1-pickle",
        summary="random bytes",
        config=None,
        license=LicenseInfo(expression="Apache-2.0", name="Apache License 2.0"),
        components=(),
        sources=(),
        anchors=(),
        files=entries,
    )
