"""Folders that are this user's alone, with those above them that had to be made."""

from __future__ import annotations

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder with mode 0700 if it is not there, and so each missing one above it.

    ``Path.mkdir(parents=True)`` gives its mode to the last one alone: what was the first thing to
    be kept would decide whether others may look into the store. What is there keeps its mode.

    Raises:
        OSError: it cannot be made, or a file stands in its place.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
