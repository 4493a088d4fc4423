"""What a verification is about: which files should be in a directory, and which are."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.transfer.plan import select
from grokdist.transfer.tree import ModelTree
from grokdist.trust.receipt import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a verification is about.

    Attributes:
        expected: the files that should be there.
        present: what is there, by path.
        extra: what is there and should not be.
    """

    expected: tuple[FileEntry, ...]
    present: Mapping[str, os.stat_result]
    extra: tuple[str, ...]


def look(
    tree: ModelTree,
    manifest: Manifest,
    *,
    receipt: Receipt | None,
    include: Sequence[str],
) -> Scope:
    """See what is there and what should be.

    Args:
        tree: the model directory.
        manifest: what should be there.
        receipt: where it covers a part of the model only, files that it does not list may be
            absent; without one every file of the manifest is expected.
        include: glob patterns that restrict the check; what they do not match is not looked at.

    Raises:
        UsageError: a glob pattern matches no file of the manifest.
    """
    chosen = select(manifest.files, include)
    fetched = {file.path for file in receipt.files} if receipt is not None else None
    present = dict(tree.walk())
    listed = {entry.path for entry in manifest.files}
    extra = sorted(path for path in present if path not in listed)
    return Scope(
        # Not fetched is not missing; but what is here is checked, fetched or not.
        expected=tuple(
            entry
            for entry in chosen
            if fetched is None or entry.path in fetched or entry.path in present
        ),
        present=present,
        extra=tuple(path for path in extra if not include or _matches(path, include)),
    )


def roots_of(receipt: Receipt | None) -> dict[str, str]:
    """The tree roots that a receipt names, by path."""
    files = () if receipt is None else receipt.files
    return {file.path: file.pieces_root for file in files if file.pieces_root is not None}


def _matches(path: str, include: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in include)
