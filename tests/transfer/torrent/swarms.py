"""A small model on disk, torrents of it, and the parts of a fetch without the engine."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.torrent import TorrentSource
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import CreatedTorrent, TorrentVersion, create_torrent
from grokdist.transfer.tree import ModelTree, StatMark

PIECE = 32 << 10
SIZES = {
    # Not multiples of the piece size: neighbours of a v1 torrent share pieces.
    "ckpt-0/tensor00000_000": 700_001,
    "ckpt-0/tensor00001_000": 24_727,
    "ckpt-0/tensor00002_000": 400_007,
    "ckpt-0/tensor00003_000": 65_536,
    "tokenizer.model": 2_229,
}


@dataclass(frozen=True, kw_only=True)
class SmallModel:
    """Files on disk and what a manifest says of them."""

    directory: Path
    entries: tuple[FileEntry, ...]

    def entry(self, path: str) -> FileEntry:
        return next(entry for entry in self.entries if entry.path == path)

    def torrent(self, version: TorrentVersion = TorrentVersion.HYBRID) -> CreatedTorrent:
        paths = [entry.path for entry in self.entries]
        return create_torrent(
            self.directory, paths, name="model", version=version, piece_size=PIECE
        )


def make_model(
    directory: Path, sizes: dict[str, int] | None = None, *, seed: int = 0
) -> SmallModel:
    """Write a model of random bytes."""
    entries = []
    for path, size in (sizes or SIZES).items():
        data = random.Random(f"{seed}:{path}").randbytes(size)
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        entries.append(FileEntry(path=path, size=size, sha256=hashlib.sha256(data).hexdigest()))
    return SmallModel(directory=directory, entries=tuple(entries))


def seed(
    model: SmallModel, torrent: CreatedTorrent, *, trackers: Sequence[str] = (), **limits: int
) -> Seeder:
    """A seed on loopback."""
    return Seeder(
        torrent.data,
        model.directory,
        settings=SwarmSettings.on_loopback(**limits),
        trackers=trackers,
    )


def swarm_source(
    torrent: str | Path,
    model: SmallModel,
    directory: Path,
    *,
    peers: Sequence[int] = (),
    trackers: Sequence[str] = (),
    stall_s: float = 10.0,
    max_rate: int | None = None,
    anchor: str | None = None,
) -> TorrentSource:
    """A source on loopback that calls the seeds on ``peers``."""
    return TorrentSource(
        torrent,
        entries=model.entries,
        directory=directory,
        settings=SwarmSettings.on_loopback(max_rate=max_rate),
        peers=[("127.0.0.1", port) for port in peers],
        trackers=trackers,
        stall_s=stall_s,
        anchor=anchor,
    )


def begin(tree: ModelTree, entry: FileEntry, source: str) -> tuple[Part, Segment]:
    """Open the part of a file and let ``source`` have what is missing, which is one range."""
    part = Part(tree, entry)
    part.catch_up()
    ((start, end),) = part.gaps()
    return part, part.claim(start, end, source)


def finish(tree: ModelTree, part: Part) -> StatMark:
    """Check a part of which every byte came, and give it its name."""
    part.catch_up()
    try:
        part.check()
    except DigestMismatchError:
        part.discard()
        raise
    part.rename()
    part.on_named()
    return part.let_go()


def bring(
    source: TorrentSource,
    directory: Path,
    entry: FileEntry,
    *,
    stop: threading.Event | None = None,
) -> StatMark:
    """What the engine does with one file."""
    with ModelTree.create(directory) as tree:
        part, segment = begin(tree, entry, source.name)
        try:
            source.fetch(entry, segment, stop or threading.Event())
            return finish(tree, part)
        finally:
            part.release(segment)
            part.close(keep=True)


def check(model: SmallModel, directory: Path, entries: Sequence[FileEntry]) -> None:
    """Exactly ``entries`` are in ``directory``, right, under no other name as well."""
    found = {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_file() and ".grokdist" not in path.relative_to(directory).parts
    }
    assert set(found) == {entry.path for entry in entries}
    for path, file in found.items():
        assert file.read_bytes() == (model.directory / path).read_bytes()
