"""Two paths of a model that are one file on the file system at hand.

The catalog refuses manifests whose paths differ only in case or Unicode form. A manifest that
comes from elsewhere need not be so careful, and on a file system that ignores such differences
one file would take the place of the other. Whether this one does is not guessed: it is tried, in
the directory itself, with the very names, and only where there are such names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from grokdist.catalog.paths import fold
from grokdist.errors import StoreError
from grokdist.transfer.temporary import temporary
from grokdist.transfer.tree import STATE, ModelTree, split


def refuse_clashes(tree: ModelTree, paths: Iterable[str]) -> None:
    """Make sure that each path is a file of its own in the directory ``tree``.

    Raises:
        StoreError: two of them are one file there; both are named.
    """
    for one, other in _suspects(paths):
        if _same(tree, split(one)[-1], split(other)[-1]):
            raise StoreError(
                f"{one!r} and {other!r} are one name on the file system of {tree.directory};"
                " expected one that tells them apart",
                hint="choose a directory on another file system with --dir",
            )


def _suspects(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of files or folders in one folder whose names differ in case or form alone."""
    seen: dict[tuple[str, str], str] = {}
    for path in paths:
        names = split(path)
        for depth in range(len(names)):
            above = "/".join(names[:depth])
            name = names[depth]
            key = (above, name.lower() if name.isascii() else fold(name))
            here = f"{above}/{name}" if above else name
            other = seen.setdefault(key, here)
            if other != here:
                yield other, here


def _same(tree: ModelTree, one: str, other: str) -> bool:
    folder = temporary("probe")
    os.close(tree.open(f"{folder}/{one}", os.O_WRONLY | os.O_CREAT, create_folders=True))
    try:
        return tree.stat(f"{folder}/{other}") is not None
    finally:
        tree.remove(f"{folder}/{one}")
        with contextlib.suppress(OSError), tree.folder((STATE,)) as handle:
            os.rmdir(split(folder)[-1], dir_fd=handle)
