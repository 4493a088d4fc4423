"""Hold a torrent against the infohash that a publisher published, and against a manifest.

The infohash is SHA-1 over the torrent's info dictionary: it is computed here from the bytes, with
collision detection, so that the metadata is the publisher's. Whether the torrent holds the bytes of
the manifest is another question. A v2 file root (SHA-256) that the manifest knows too answers it
without a byte; the pieces of a v1 torrent run over several files, and are checked against files on
disk that are hashed with SHA-256 in the same pass.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import libtorrent as lt

from grokdist.catalog.manifest import FileEntry
from grokdist.catalog.sha1_collisions import checked_sha1
from grokdist.errors import GrokdistError, SourceError, TrustError
from grokdist.transfer.read_buffer import read_buffer
from grokdist.transfer.sources.torrent_map import map_entries
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles, read_torrent
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.tree import ModelTree

_BUFFER = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TorrentPin:
    """A torrent held against a manifest.

    Attributes:
        files: what the torrent holds.
        btih: its v1 infohash, computed here; None for one of v2 only.
        mapped: the torrent's file for each of the manifest's paths that has one of its name and
            size.
        missing: paths of the manifest that the torrent has no file for.
        other: files of the torrent that the manifest does not list.
        same_root: paths whose BEP 52 root is the manifest's: the content is the same.
        other_root: paths whose BEP 52 root is not the manifest's: another content.
    """

    files: TorrentFiles
    btih: str | None
    mapped: dict[str, TorrentFile]
    missing: tuple[str, ...]
    other: tuple[str, ...]
    same_root: tuple[str, ...]
    other_root: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceCheck:
    """A torrent's v1 pieces held against files on disk.

    Attributes:
        pieces: number of pieces.
        right: pieces that are those of the files.
        wrong: pieces that are not.
        unchecked: pieces over bytes that are not here.
        proved: paths whose every byte lies in right pieces and whose SHA-256 is the manifest's: the
            torrent holds the manifest's bytes.
        bad_files: paths whose bytes on disk are not the manifest's, so that they prove nothing.
    """

    pieces: int
    right: int
    wrong: int
    unchecked: int
    proved: tuple[str, ...]
    bad_files: tuple[str, ...]


def pin_torrent(data: bytes, entries: Sequence[FileEntry], *, anchor: str | None) -> TorrentPin:
    """Read a torrent, check its infohash and find the manifest's files in it.

    Args:
        data: content of the ``.torrent`` file.
        entries: the manifest's files.
        anchor: v1 infohash that the publisher published, 40 hex digits; None where none is known.

    Raises:
        TrustError: its infohash is another, or its metadata was built to collide.
        SourceError, UnsafePathError: it cannot be used.
    """
    files = read_torrent(data)
    btih = None
    if files.btih is not None:
        btih = checked_sha1([info_of(files)], "the torrent's metadata")[0]
        if btih != files.btih:
            raise TrustError(
                f"the torrent's metadata is ambiguous: libtorrent reads infohash {files.btih}, its"
                f" bytes have {btih}"
            )
    if anchor is not None and btih != anchor:
        raise TrustError(
            f"the torrent's infohash is {btih or 'of v2 only'}; expected {anchor}, which the"
            " publisher published"
        )
    roots = {e.path: bytes.fromhex(e.pieces_root) for e in entries if e.pieces_root is not None}
    # By name alone first: a root that differs must be told, not searched elsewhere.
    mapped = map_entries(files.files, entries)
    mapped |= {
        path: file
        for path, file in map_entries(files.files, entries, roots=roots).items()
        if path not in mapped
    }
    known = {path: file for path, file in mapped.items() if file.root and path in roots}
    taken = {file.index for file in mapped.values()}
    return TorrentPin(
        files=files,
        btih=btih,
        mapped=mapped,
        missing=tuple(sorted(e.path for e in entries if e.path not in mapped)),
        other=tuple(file.path for file in files.files if file.index not in taken),
        same_root=tuple(sorted(path for path, file in known.items() if file.root == roots[path])),
        other_root=tuple(sorted(path for path, file in known.items() if file.root != roots[path])),
    )


def info_of(files: TorrentFiles) -> bytes:
    """The bytes of the info dictionary, as they stand in the torrent."""
    info = files.params().ti
    if info is None:
        raise SourceError("cannot use the torrent: it holds no metadata", source="torrent")
    return bytes(info.info_section())


def check_pieces(
    pin: TorrentPin,
    entries: Sequence[FileEntry],
    directory: Path,
    *,
    on_bytes: Callable[[str, int], None] = lambda _path, _count: None,
) -> PieceCheck:
    """Hold the v1 pieces against the files in a directory, each file read once.

    Args:
        pin: the torrent.
        entries: the manifest's files.
        directory: where they are, by the manifest's paths; a file that only the torrent lists is
            looked for under its own path.
        on_bytes: told path and bytes, as it goes on.

    Raises:
        SourceError: the torrent has no v1 pieces.
        StoreError: the directory cannot be read.
    """
    info: object = lt.bdecode(info_of(pin.files))
    hashes = cast("dict[bytes, object]", info).get(b"pieces") if isinstance(info, dict) else None
    size = pin.files.piece_size
    if not isinstance(hashes, bytes) or not hashes or len(hashes) != 20 * pin.files.pieces:
        raise SourceError(
            "the torrent has no v1 pieces, only file roots; expected a v1 or hybrid torrent",
            source="torrent",
            permanent=True,
        )
    names = {file.index: path for path, file in pin.mapped.items()}
    digests = {entry.path: entry.sha256 for entry in entries}
    walk = _Pieces(size, pin.files.pieces)
    good: dict[str, TorrentFile] = {}
    bad: list[str] = []
    with ModelTree(directory) as tree:
        for file in sorted(pin.files.files, key=lambda each: each.offset):
            path = names.get(file.index, file.path)
            walk.skip_to(file.offset)
            digest = _feed(walk, tree, path, file, on_bytes)
            if file.index not in names or digest is None:
                continue
            if digest == digests.get(path):
                good[path] = file
            else:
                bad.append(path)
    found = walk.finish()
    right = {at for at, digest in found.items() if digest == hashes[20 * at : 20 * at + 20]}
    proved = tuple(
        sorted(
            path for path, file in good.items() if all(at in right for at in _pieces_of(file, size))
        )
    )
    return PieceCheck(
        pieces=pin.files.pieces,
        right=len(right),
        wrong=len(found) - len(right),
        unchecked=pin.files.pieces - len(found),
        proved=proved,
        bad_files=tuple(sorted(bad)),
    )


def _pieces_of(file: TorrentFile, size: int) -> range:
    if not file.size:
        return range(0)
    return range(file.offset // size, (file.offset + file.size - 1) // size + 1)


class _Pieces:
    """SHA-1 of each piece of the one stream of bytes that a v1 torrent is."""

    def __init__(self, size: int, count: int) -> None:
        self._size = size
        self._count = count
        self._at = 0
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._whole = True
        self._found: dict[int, bytes] = {}

    def add(self, data: memoryview | bytes) -> None:
        """The next bytes."""
        view = memoryview(data)
        while view:
            room = self._size - self._at % self._size
            self._hash.update(view[:room])
            self._move(min(room, len(view)))
            view = view[room:]

    def skip(self, count: int) -> None:
        """Bytes that are not here: their pieces cannot be checked."""
        end = self._at + count
        while self._at < end:
            self._whole = False
            self._move(min(self._size - self._at % self._size, end - self._at))

    def skip_to(self, offset: int) -> None:
        """Padding up to where a file begins: BEP 47 has it zero."""
        while self._at < offset:
            self.add(bytes(min(offset - self._at, _BUFFER)))

    def finish(self) -> dict[int, bytes]:
        """Digest of each piece all bytes of which were here."""
        if self._at % self._size:
            self._close()
        return self._found

    def _move(self, count: int) -> None:
        self._at += count
        if self._at % self._size == 0:
            self._close()

    def _close(self) -> None:
        if self._whole and (piece := (self._at - 1) // self._size) < self._count:
            self._found[piece] = self._hash.digest()
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._whole = True


def _feed(
    walk: _Pieces,
    tree: ModelTree,
    path: str,
    file: TorrentFile,
    on_bytes: Callable[[str, int], None],
) -> str | None:
    """Add a file's bytes; its SHA-256, or None where it is not here in its size."""
    try:
        fd = tree.open(path, os.O_RDONLY)
    except (OSError, GrokdistError):
        walk.skip(file.size)
        return None
    digest = hashlib.sha256()
    left = file.size
    with os.fdopen(fd, "rb", buffering=0) as stream:
        if os.fstat(fd).st_size != file.size:
            walk.skip(file.size)
            return None
        buffer = read_buffer(_BUFFER)
        while left > 0:
            count = stream.readinto(buffer[: min(left, _BUFFER)]) or 0
            if not count:
                break
            digest.update(buffer[:count])
            walk.add(buffer[:count])
            on_bytes(path, count)
            left -= count
    if left:
        walk.skip(left)
        return None
    return digest.hexdigest()


def torrent_bytes(
    torrent: str,
    *,
    peers: Sequence[tuple[str, int]] = (),
    trackers: Sequence[str] = (),
    settings: SwarmSettings | None = None,
    seconds: float = 60.0,
) -> bytes:
    """Content of a ``.torrent`` file, or the metadata that a swarm has for a magnet link.

    Args:
        torrent: path, magnet link or infohash.
        peers: (host, port) pairs to call.
        trackers: announce URLs beside its own.
        settings: how to take part in the swarm; None for the defaults.
        seconds: how long to wait for a swarm.

    Raises:
        SourceError: the file cannot be read, or nobody gave the metadata.
    """
    from tempfile import TemporaryDirectory

    from grokdist.transfer.sources.torrent_alerts import AlertPump
    from grokdist.transfer.sources.torrent_invitation import Invitation
    from grokdist.transfer.sources.torrent_metadata import ask
    from grokdist.transfer.sources.torrent_session import end_session, open_session

    invitation = Invitation(torrent, peers=peers, trackers=trackers)
    if invitation.files is not None:
        return invitation.files.data
    chosen = settings or SwarmSettings(upnp=False)
    session = open_session(chosen)
    pump = AlertPump(session)
    try:
        with TemporaryDirectory(prefix="grokdist-magnet-") as folder:
            found = ask(
                session,
                pump,
                invitation,
                Path(folder),
                settings=chosen,
                stop=threading.Event(),
                seconds=seconds,
            )
    finally:
        pump.close()
        end_session(session)
    if found is None:
        raise SourceError("the search was given up", source="torrent")
    return found[0].data
