"""One followed registry: where it is, what is pinned, what counts; read and written in one step.

The layout of its folder is told in ``followed_registries``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokdist import document
from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.cursor import Cursor
from grokdist.errors import StoreError, TrustError

if TYPE_CHECKING:
    from grokdist.catalog.registry import Registry

SETTINGS = "registry.json"
_SCHEMA = "grokdist/followed-registry/v1"
_LIMITS = document.Limits(size=1 << 16, depth=4)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """One followed registry.

    Attributes:
        name: what the user calls it.
        folder: where its state is.
        url: where its metadata comes from; ends in ``/``.
        targets_url: where its manifests come from; ends in ``/``.
        root_sha256: fingerprint of the pinned root.
        first_root: the pinned root's version.
        generation: number of the generation that counts.
        updated: UTC time of the last update that brought something new.
        checked: UTC time of the last update that came to its end, when all of it was fresh.
    """

    name: str
    folder: Path
    url: str
    targets_url: str
    root_sha256: str
    first_root: int
    generation: int
    updated: str
    checked: str

    @property
    def checked_at(self) -> datetime:
        """``checked`` as a time: known to be past, whatever the clock says."""
        return datetime.strptime(self.checked, _FORMAT).replace(tzinfo=UTC)

    def registry(self) -> Registry:
        """The cached registry, for use offline."""
        return self.read_in(self.cached)

    @property
    def cached(self) -> Path:
        """The folder of the generation that counts."""
        return self.folder / "generations" / str(self.generation)

    def read_in(self, folder: Path) -> Registry:
        """The registry of which a folder holds a generation."""
        from grokdist.catalog.registry import Registry

        return Registry(
            folder,
            name=self.name,
            root_sha256=self.root_sha256,
            first_root=self.first_root,
            exact=False,
            not_before=self.checked_at,
            renewal=f"grokdist registry update {self.name}",
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from updating the registry meanwhile.

    Raises:
        StoreError: one is at it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another process is updating the registry {folder.name}",
                hint="wait for it to end",
            ) from None
        yield
    finally:
        os.close(descriptor)


def read_settings(folder: Path) -> Followed:
    """Read the state of a registry from its folder.

    Raises:
        TrustError: it cannot be read, or is malformed.
    """
    file = folder / SETTINGS
    try:
        tree: Any = document.load(read_bounded(file, _LIMITS.size), _LIMITS)
    except (OSError, TooLargeError, document.MalformedJsonError) as error:
        raise TrustError(
            f"{file} cannot be read: {error}",
            hint=f"remove {folder} and follow the registry again",
        ) from error
    root = Cursor(tree, noun=str(file), kind=TrustError)
    root["schema"].match(re.compile(re.escape(_SCHEMA)), _SCHEMA)
    return Followed(
        name=folder.name,
        folder=folder,
        url=root["url"].text(),
        targets_url=root["targets_url"].text(),
        root_sha256=root["root_sha256"].match(_SHA256, "64 hexadecimal digits"),
        first_root=root["first_root"].integer(low=1),
        generation=root["generation"].integer(low=1),
        updated=_time(root["updated"]),
        checked=_time(root["checked"]),
    )


def write_settings(followed: Followed) -> None:
    """Write the state of a registry, in one step."""
    tree = {
        "schema": _SCHEMA,
        "url": followed.url,
        "targets_url": followed.targets_url,
        "root_sha256": followed.root_sha256,
        "first_root": followed.first_root,
        "generation": followed.generation,
        "updated": followed.updated,
        "checked": followed.checked,
    }
    partial = followed.folder / f".{SETTINGS}.new"
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(tree, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(followed.folder / SETTINGS)


def time_text(time: datetime) -> str:
    """A time as the state has it: UTC, whole seconds."""
    return time.strftime(_FORMAT)


def _time(cursor: Cursor) -> str:
    try:
        datetime.strptime(text := cursor.text(), _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise cursor.error("a time like 2026-01-31T12:00:00Z") from None
    return text
