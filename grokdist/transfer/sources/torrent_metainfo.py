"""Read the content of a ``.torrent`` file, or the metadata that a magnet link led to.

A torrent comes from strangers. libtorrent parses it within limits and quietly repairs unsafe
paths; we read the raw names as well and refuse such a torrent instead, since an author who puts
``..`` in it has nothing to offer. Which of its files are wanted is left to ``torrent_map``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

import libtorrent as lt

from grokdist.errors import SourceError, UnsafePathError
from grokdist.transfer.sources.torrent_session import MAX_METADATA, MAX_PIECES

MAX_FILES = 200_000
"""Files that a torrent may have, padding included."""

MAX_TOKENS = 5_000_000
MAX_NAME = 255
_MAX_SIZE = 1 << 50
_BLOCK = 16384

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, kw_only=True, slots=True)
class TorrentFile:
    """One file of a torrent.

    Attributes:
        index: its number in the torrent.
        path: relative POSIX path, the root folder left out.
        size: bytes.
        offset: where it begins in the torrent's one stream of bytes.
        root: BEP 52 file root, 32 bytes; None in a v1 torrent and for an empty file.
    """

    index: int
    path: str
    size: int
    offset: int
    root: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TorrentFiles:
    """What a torrent holds.

    Attributes:
        name: name of the root folder, or of the only file.
        btih: v1 infohash, 40 hex digits; None for a v2 torrent.
        btmh: v2 infohash, 64 hex digits; None for a v1 torrent.
        piece_size: bytes.
        pieces: number of pieces.
        count: number of files, padding included.
        files: the real files, in the order of their offsets.
        length: bytes of that stream, padding included.
        data: the ``.torrent`` content itself.
    """

    name: str
    btih: str | None
    btmh: str | None
    piece_size: int
    pieces: int
    count: int
    files: tuple[TorrentFile, ...]
    length: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of the real files."""
        return sum(file.size for file in self.files)

    @property
    def exchanged(self) -> int:
        """Bytes that peers send each other for a whole copy.

        Of a v1 torrent that is every block of 16 KiB with content in it, with the padding behind
        that content; of a v2 torrent the content.
        """
        if self.btih is None:
            return self.size
        total = after = 0
        for file in self.files:
            start = max(after, file.offset - file.offset % _BLOCK)
            end = -(-(file.offset + file.size) // _BLOCK) * _BLOCK
            if file.size and end > start:
                total += min(end, self.length) - start
                after = end
        return total

    def params(self) -> lt.add_torrent_params:
        """A fresh set of libtorrent's parameters for this torrent."""
        return _load(self.data)


def wrap_info(info: bytes) -> bytes:
    """Make ``.torrent`` content of the metadata that came over a magnet link."""
    return b"d4:info" + info + b"e"


def read_torrent(data: bytes) -> TorrentFiles:
    """Parse the content of a ``.torrent`` file.

    What it checks: size, form, counts, that every name is plain and that nothing is a link. What
    it does not: that the files are the ones anybody wanted.

    Raises:
        SourceError: it is too large, malformed, or holds absurd counts or sizes.
        UnsafePathError: a name in it is not plain, or it holds a symbolic link.
    """
    if len(data) > MAX_METADATA:
        raise _refused(f"it has {len(data)} bytes; expected at most {MAX_METADATA}")
    params = _load(data)
    info = params.ti
    if info is None or info.num_files() == 0:
        raise _refused("it holds no metadata")
    if info.num_files() > MAX_FILES:
        raise _refused(f"it holds {info.num_files()} files; expected at most {MAX_FILES}")
    if info.total_size() > _MAX_SIZE:
        raise _refused(f"it holds {info.total_size()} bytes; expected at most {_MAX_SIZE}")
    for name in _raw_names(lt.bdecode(info.info_section())):
        _check_name(name)
    layout = info.layout()
    root = info.name()
    single = info.num_files() == 1 and layout.file_path(0) == root
    files = []
    for index in range(info.num_files()):
        flags = layout.file_flags(index)
        if flags & layout.flag_symlink:
            raise UnsafePathError(f"unsafe torrent: {layout.file_path(index)!r} is a link")
        if flags & layout.flag_pad_file:
            continue
        path = layout.file_path(index)
        digest = layout.root(index).to_bytes()
        files.append(
            TorrentFile(
                index=index,
                path=path if single else path.removeprefix(f"{root}/"),
                size=layout.file_size(index),
                offset=layout.file_offset(index),
                root=digest if any(digest) else None,
            )
        )
    hashes = params.info_hashes
    return TorrentFiles(
        name=root,
        btih=hashes.v1.to_bytes().hex() if hashes.has_v1() else None,
        btmh=hashes.v2.to_bytes().hex() if hashes.has_v2() else None,
        piece_size=info.piece_length(),
        pieces=info.num_pieces(),
        count=info.num_files(),
        files=tuple(files),
        length=info.total_size(),
        data=data,
    )


def _load(data: bytes) -> lt.add_torrent_params:
    limits = {
        "max_buffer_size": MAX_METADATA,
        "max_pieces": MAX_PIECES,
        "max_decode_depth": 100,
        "max_decode_tokens": MAX_TOKENS,
    }
    try:
        return lt.load_torrent_buffer(data, cast("lt.AddTorrentParamsdict", limits))
    except (RuntimeError, ValueError, OverflowError) as error:
        raise _refused(str(error)) from error


def _raw_names(info: object) -> Iterator[bytes]:
    """Every name in an info dictionary, as its author wrote it."""
    if not isinstance(info, dict):
        raise _refused("its info is no dictionary")
    yield _of(bytes, info.get(b"name", b""))
    for file in _of(list, info.get(b"files", [])):
        for key in (b"path", b"path.utf-8"):
            for part in _of(list, _of(dict, file).get(key, [])):
                yield _of(bytes, part)
    pending = [info.get(b"file tree", {})]
    while pending:
        for name, below in _of(dict, pending.pop()).items():
            # The empty name holds the file's own length and root.
            if name != b"":
                yield name
                pending.append(below)


def _of(kind: type[_Kind], value: object) -> _Kind:
    """A value that must be of this type; libtorrent passes over some that are not."""
    if not isinstance(value, kind):
        raise _refused(f"its info holds a {type(value).__name__}; expected a {kind.__name__}")
    return value


def _check_name(raw: bytes) -> None:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise UnsafePathError(f"unsafe torrent: name {raw!r} is not UTF-8") from None
    if (
        name in ("", ".", "..")
        or any(character in name for character in "/\\")
        or any(ord(character) < 32 for character in name)
        or len(raw) > MAX_NAME
    ):
        raise UnsafePathError(f"unsafe torrent: name {name!r}; expected a plain name")


def _refused(reason: str) -> SourceError:
    return SourceError(f"cannot use the torrent: {reason}", source="torrent", permanent=True)
