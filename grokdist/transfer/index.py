"""What was hashed, and what the file system said of it then.

``.grokdist/index.jsonl`` gets one line a file when its digest was found right. A file whose
size, times and inode are still the same is taken as unchanged by a resumed fetch and by
``verify --quick``. That is convenience, not proof: whoever may write the directory may write the
index. A full verify never reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from grokdist.transfer.tree import STATE, ModelTree, StatMark

INDEX = f"{STATE}/index.jsonl"
_LIMIT = 64 << 20
_ROW_KEYS = ("size", "mtime_ns", "ctime_ns", "inode")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashed:
    """One file that was hashed.

    Attributes:
        mark: what the file system said of it.
        digest: the digest it was checked by, as ``algorithm:hex``.
        sha256: its SHA-256.
        hashed_at: UTC time at which it was found right, ``YYYY-MM-DDThh:mm:ssZ``; None for rows
            of earlier versions, which kept no time.
    """

    mark: StatMark
    digest: str
    sha256: str
    hashed_at: str | None = field(default_factory=_now)


class Index:
    """The index of one model directory; rows may be added from several threads."""

    def __init__(self, tree: ModelTree, rows: dict[str, Hashed]) -> None:
        self._tree = tree
        self._rows = rows
        self._lock = threading.Lock()
        self._superseded = False
        self._unwritten: list[bytes] = []
        self._fd = -1

    @classmethod
    def load(cls, tree: ModelTree) -> Self:
        """Read the index; an absent one, and every line that is not well-formed, is nothing."""
        data = tree.read_small(INDEX, _LIMIT) or b""
        rows: dict[str, Hashed] = {}
        lines = data.splitlines()
        for document in _documents(lines):
            with contextlib.suppress(KeyError, TypeError):
                path, row = _parse(document)
                rows[path] = row
        index = cls(tree, rows)
        index._superseded = len(rows) < len(lines)
        return index

    @property
    def rows(self) -> Mapping[str, Hashed]:
        """All rows, by path."""
        return self._rows

    def unchanged(self, path: str, digest: str, mark: StatMark) -> Hashed | None:
        """The row of ``path`` if it was hashed to ``digest`` and its mark is still ``mark``."""
        row = self._rows.get(path)
        return row if row is not None and row.digest == digest and row.mark == mark else None

    def rows_of(self, paths: Iterable[str]) -> dict[str, Hashed]:
        """The rows of those of ``paths`` that have one."""
        return {path: self._rows[path] for path in paths if path in self._rows}

    def record(self, path: str, row: Hashed) -> None:
        """Add a row; it is on disk, so that a killed process need not hash again, at ``flush``."""
        line = json.dumps(_document(path, row)).encode() + b"\n"
        with self._lock:
            self._superseded |= path in self._rows
            self._rows[path] = row
            self._unwritten.append(line)

    def flush(self) -> None:
        """Write the rows that were added."""
        with self._lock:
            if not self._unwritten:
                return
            lines = b"".join(self._unwritten)
            self._unwritten.clear()
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._fd = self._tree.open(INDEX, flags, create_folders=True)
                if os.fstat(self._fd).st_size:
                    # A process that died while writing may have left half a line.
                    lines = b"\n" + lines
            os.write(self._fd, lines)

    def keep(self, rows: Mapping[str, Hashed]) -> None:
        """Replace the index by ``rows``; one that says just that is left as it is."""
        self.flush()
        if not self._superseded and self._rows == dict(rows):
            return
        lines = [json.dumps(_document(path, row)) for path, row in rows.items()]
        data = "".join(f"{line}\n" for line in lines).encode()
        with self._lock:
            self._close()
            self._tree.write_small(INDEX, data)
            self._rows = dict(rows)
            self._superseded = False

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        self.flush()
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _document(path: str, row: Hashed) -> dict[str, object]:
    mark = {key: getattr(row.mark, key) for key in _ROW_KEYS}
    digests = {"digest": row.digest, "sha256": row.sha256}
    return {"path": path, **mark, **digests, "hashed_at": row.hashed_at}


def _documents(lines: Sequence[bytes]) -> list[Any]:
    """What the lines say, all at once if every one of them is JSON: that takes half the time."""
    with contextlib.suppress(ValueError, RecursionError):
        documents: list[Any] = json.loads(b"[%b]" % b",".join(lines))
        if len(documents) == len(lines):
            return documents
    documents = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            documents.append(json.loads(line))
    return documents


def _parse(document: Any) -> tuple[str, Hashed]:
    path, digest, sha256 = (document[key] for key in ("path", "digest", "sha256"))
    numbers = {key: document[key] for key in _ROW_KEYS}
    if not all(isinstance(text, str) for text in (path, digest, sha256)):
        raise TypeError
    if not all(type(number) is int for number in numbers.values()):
        raise TypeError
    when = document.get("hashed_at")
    if not (isinstance(when, str) and _TIME.fullmatch(when)):
        when = None
    return path, Hashed(mark=StatMark(**numbers), digest=digest, sha256=sha256, hashed_at=when)
