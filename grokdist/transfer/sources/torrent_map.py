"""Which file of a torrent is which file of the manifest. Pure.

A torrent's root folder, order and extra files are its author's choice, so paths are compared
from their end. A wrong guess costs bytes, never trust: the digest decides when the file is here.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer.sources.torrent_metainfo import TorrentFile

_Names = tuple[str, ...]
"""The names of a path, the last first."""

_Candidate = tuple[_Names, TorrentFile]

_Guess = tuple[int, TorrentFile]
"""Names in common, and the file."""


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
    ordered, wanted = tuple(files), tuple(entries)
    mapped = _by_root(ordered, wanted, known)
    taken = {file.index for file in mapped.values()}
    named = _by_name(file for file in ordered if file.index not in taken)
    # A file with another root is another file, whatever its name.
    rootless = _by_name(file for file in ordered if file.root is None)
    guesses: dict[int, list[tuple[int, str, TorrentFile]]] = defaultdict(list)
    for entry in wanted:
        if entry.path in mapped:
            continue
        group = rootless if entry.path in known else named
        best = _closest(entry.path, group.get((_from_end(entry.path)[0], entry.size), []))
        if best is not None:
            score, file = best
            guesses[file.index].append((score, entry.path, file))
    for claims in guesses.values():
        claims.sort(key=lambda claim: claim[0], reverse=True)
        if len(claims) == 1 or claims[0][0] > claims[1][0]:
            _, path, file = claims[0]
            mapped[path] = file
    return mapped


def _by_root(
    files: Iterable[TorrentFile], entries: Iterable[FileEntry], roots: Mapping[str, bytes]
) -> dict[str, TorrentFile]:
    """Match by BEP 52 root; of files with the same content each serves one entry."""
    same: dict[tuple[bytes, int], list[TorrentFile]] = defaultdict(list)
    for file in files:
        if file.root is not None:
            same[(file.root, file.size)].append(file)
    mapped = {}
    for entry in entries:
        equal = same.get((roots.get(entry.path, b""), entry.size))
        if equal:
            mapped[entry.path] = equal.pop()
    return mapped


def _by_name(files: Iterable[TorrentFile]) -> dict[tuple[str, int], list[_Candidate]]:
    """Files by base name and size, each group sorted by the names from the end."""
    groups: dict[tuple[str, int], list[_Candidate]] = defaultdict(list)
    for file in files:
        names = _from_end(file.path)
        groups[(names[0], file.size)].append((names, file))
    for group in groups.values():
        group.sort(key=lambda item: item[0])
    return groups


def _closest(path: str, candidates: list[_Candidate]) -> _Guess | None:
    """The candidate with the longest common end of the path, if it is only one.

    Candidates are sorted by their names from the end, so that the closest stand where the path
    itself would: a torrent with 100,000 files of one name costs no more than any other.
    """
    names = _from_end(path)
    at = bisect.bisect_left(candidates, names, key=lambda item: item[0])
    near = candidates[max(at - 2, 0) : at + 2]
    scored = sorted(
        ((_common(names, theirs), file) for theirs, file in near),
        key=lambda item: item[0],
        reverse=True,
    )
    if not scored or (len(scored) > 1 and scored[0][0] == scored[1][0]):
        return None
    return scored[0]


def _from_end(path: str) -> _Names:
    return tuple(reversed(path.split("/")))


def _common(one: _Names, other: _Names) -> int:
    """Names that two paths share, counted from their end."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
