"""Which files were found to be those of a torrent, and what the file system said of them then.

``.grokdist/torrents/<infohash>.checked`` lets a seed start without hashing 300 GB once more. Like
the index it is convenience: whoever may write the directory may write it, and what comes of a lie
is a peer that is banned, since everyone who takes a piece checks it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from grokdist.errors import GrokdistError
from grokdist.transfer.sources.torrent_metadata import METADATA
from grokdist.transfer.tree import ModelTree, StatMark

_LIMIT = 64 << 20


def note_checked(directory: Path, infohash: str, paths: Iterable[str]) -> None:
    """Record that ``paths`` are right, as they stand. A directory that is read-only keeps none."""
    with contextlib.suppress(OSError, GrokdistError), ModelTree(directory) as tree:
        rows = {path: _row(tree, path) for path in paths}
        tree.write_small(_name(infohash), json.dumps(rows).encode())


def unchanged(directory: Path, infohash: str, paths: Iterable[str]) -> bool:
    """True where all of ``paths`` were found right and nothing has touched them since."""
    try:
        with ModelTree(directory) as tree:
            rows = json.loads(tree.read_small(_name(infohash), _LIMIT) or b"null")
            return isinstance(rows, dict) and all(
                (row := _row(tree, path)) is not None and rows.get(path) == row for path in paths
            )
    except (OSError, GrokdistError, ValueError, RecursionError):
        return False


def _row(tree: ModelTree, path: str) -> list[int] | None:
    status = tree.stat(path)
    if status is None:
        return None
    mark = StatMark.of(status)
    return [mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode]


def _name(infohash: str) -> str:
    return f"{METADATA}/{infohash}.checked"
