"""The names in a folder, so that what an undisturbed run leaves can be told from strays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_COUNTED = re.compile(r"(^|/)\d+\.(?=root|targets|snapshot)")
_DIGEST = re.compile(r"[0-9a-f]{8,}")


def names(folder: Path) -> frozenset[str]:
    """Paths of all files below a folder; versions and digests in them do not count.

    A file that was emptied or is a link of ours counts too: nothing is left out but folders.
    """
    return frozenset(_names(folder))


def _names(folder: Path) -> Iterator[str]:
    for each in folder.rglob("*"):
        if each.is_dir() and not each.is_symlink():
            continue
        path = each.relative_to(folder).as_posix()
        yield _DIGEST.sub("#", _COUNTED.sub(r"\1N.", path))


def strays(folder: Path, expected: frozenset[str]) -> list[str]:
    """What is wrong with the names in a folder."""
    found = names(folder)
    return [
        *(f"{each} was left behind" for each in sorted(found - expected)),
        *(f"{each} is not there" for each in sorted(expected - found)),
    ]
