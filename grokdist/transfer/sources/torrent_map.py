"""Which file of a torrent is which file of the manifest. Pure.

A torrent's root folder, order and extra files are its author's choice, so paths are compared
from their end. A wrong guess costs bytes, never trust: the digest decides when the file is here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer.sources.torrent_metainfo import TorrentFile


def map_entries(
    files: Iterable[TorrentFile],
    entries: Iterable[FileEntry],
    *,
    roots: Mapping[str, bytes] | None = None,
) -> dict[str, TorrentFile]:
    """Find each entry among a torrent's files.

    An entry whose BEP 52 root is known and in the torrent is that file. Any other is the file of
    the same size and base name whose path has the most names in common with it, counted from the
    end. Where that is not exactly one file, or one file would serve two entries equally well, the
    entry is left out.

    Args:
        files: the torrent's files.
        entries: the manifest's files.
        roots: BEP 52 roots (32 bytes) by path, where the manifest has them.

    Returns:
        the torrent's file for each path that was found.
    """
    known = roots or {}
    by_root: dict[tuple[bytes, int], TorrentFile] = {}
    by_name: dict[tuple[str, int], list[TorrentFile]] = defaultdict(list)
    for file in files:
        if file.root is not None:
            by_root.setdefault((file.root, file.size), file)
        by_name[(file.path.rpartition("/")[2], file.size)].append(file)
    mapped: dict[str, TorrentFile] = {}
    guesses: dict[int, list[tuple[int, str, TorrentFile]]] = defaultdict(list)
    for entry in entries:
        root = known.get(entry.path)
        if root is not None and (root, entry.size) in by_root:
            mapped[entry.path] = by_root[(root, entry.size)]
            continue
        candidates = by_name[(entry.path.rpartition("/")[2], entry.size)]
        if root is not None:
            # A file with another root is another file, whatever its name.
            candidates = [file for file in candidates if file.root is None]
        best = _closest(entry.path, candidates)
        if best is not None:
            score, file = best
            guesses[file.index].append((score, entry.path, file))
    for claims in guesses.values():
        claims.sort(key=lambda claim: claim[0], reverse=True)
        if len(claims) == 1 or claims[0][0] > claims[1][0]:
            _, path, file = claims[0]
            mapped[path] = file
    return mapped


def _closest(path: str, candidates: list[TorrentFile]) -> tuple[int, TorrentFile] | None:
    """The candidate with the longest common end of the path, if it is only one."""
    scored = sorted(
        ((_common_end(path, file.path), file) for file in candidates),
        key=lambda item: item[0],
        reverse=True,
    )
    if not scored or (len(scored) > 1 and scored[0][0] == scored[1][0]):
        return None
    return scored[0]


def _common_end(one: str, other: str) -> int:
    """Names that two paths share, counted from their end."""
    count = 0
    for mine, theirs in zip(reversed(one.split("/")), reversed(other.split("/")), strict=False):
        if mine != theirs:
            break
        count += 1
    return count
