"""Where models are kept: one directory a release, found again by name.

``GROKDIST_HOME/models/<name>/<revision, 12 digits>/`` holds the files of a release and, in
``.grokdist/``, what is known about them: lock, parts, index, the manifest's exact bytes and the
receipt. A model fetched into another directory leaves a small file ``<revision>.elsewhere`` with
its path, so that it is found by name too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from grokdist import settings
from grokdist.errors import GrokdistError, NotFetchedError, StoreError
from grokdist.private_folder import make_private
from grokdist.transfer.record import MANIFEST, RECEIPT, load_receipt
from grokdist.transfer.tree import ModelTree
from grokdist.trust.receipt import Receipt, ReceiptError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DIGITS = 12
_ELSEWHERE = ".elsewhere"
_MAX_PATH = 4096
MAX_MANIFEST = 64 << 20
"""Largest stored manifest that is read, bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """A model directory.

    Attributes:
        directory: where it is.
        receipt: what was fetched; None where no fetch has come to its end.
        damage: why the receipt cannot be read; None where it can or there is none.
    """

    directory: Path
    receipt: Receipt | None
    damage: str | None = None

    @property
    def complete(self) -> bool:
        """True where a fetch of the whole model came to its end."""
        return self.receipt is not None and not self.receipt.include

    def manifest_bytes(self) -> bytes | None:
        """The manifest that the last fetch went by, exactly as it was signed; None if absent.

        It is a copy in a directory that others may write: check it against the registry, or
        against ``receipt.manifest_sha256`` where the receipt itself is trusted.
        """
        with ModelTree(self.directory) as tree:
            return tree.read_small(MANIFEST, MAX_MANIFEST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A release that the store keeps, or only remembers.

    Attributes:
        name: the model's.
        short: its revision's first digits.
        directory: where it is, or was.
        note: the file that remembers a directory outside the store; None for one inside.
        inside: whether the directory is the store's own.
        stored: what stands there; None where the directory is gone or holds another model now.
    """

    name: str
    short: str
    directory: Path
    note: Path | None
    inside: bool
    stored: StoredModel | None


class Store:
    """The models on this machine.

    Args:
        home: root of the store; None for ``GROKDIST_HOME`` or the platform's user data folder.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home if home is not None else settings.home()

    @property
    def models(self) -> Path:
        """The folder that holds a folder a model."""
        return self.home / "models"

    def prepare(self) -> None:
        """Make the store's folders, private to the user.

        Raises:
            StoreError: they cannot be made.
        """
        try:
            make_private(self.models)
        except OSError as error:
            raise StoreError(
                f"cannot make the store {self.home}: {error.strerror}",
                hint="set GROKDIST_HOME to a folder that you can write",
            ) from error

    def directory(self, name: str, revision: str) -> Path:
        """Where a release is kept, whether it is there or not.

        Raises:
            StoreError: the name cannot be a folder's.
        """
        short = revision[:_DIGITS].lower()
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(short):
            raise StoreError(f"{name!r} at {revision!r} cannot name a folder of the store")
        return self.models / name / short

    def note_elsewhere(self, directory: Path, name: str, revision: str) -> None:
        """Remember that a release was fetched into a directory outside the store."""
        inside = self.directory(name, revision)
        if directory.resolve() == inside.resolve():
            return
        self.prepare()
        with ModelTree.create(inside.parent) as tree:
            path = str(directory.resolve()).encode()
            if len(path) <= _MAX_PATH:
                tree.write_small(f"{inside.name}{_ELSEWHERE}", path)

    def list(self) -> list[StoredModel]:
        """Every model directory that is known, by name; unfinished ones have no receipt."""
        return [stored for name in _names(self.models) for stored in self._releases(name)]

    def all_placed(self) -> Iterator[Placed]:
        """Every release that the store keeps or remembers, also those that are gone."""
        for name in _names(self.models):
            yield from self.placed(name)

    def placed(self, name: str) -> Iterator[Placed]:
        """The releases of one model."""
        if not _NAME.fullmatch(name):
            return
        folder = self.models / name
        for short in _names(folder):
            directory = folder / short
            yield Placed(
                name=name,
                short=short,
                directory=directory,
                note=None,
                inside=True,
                stored=open_model(directory),
            )
        for note in sorted(folder.glob(f"*{_ELSEWHERE}")):
            if (elsewhere := _noted(folder, note.name)) is not None:
                yield Placed(
                    name=name,
                    short=note.name.removesuffix(_ELSEWHERE),
                    directory=elsewhere,
                    note=note,
                    inside=False,
                    stored=_still(elsewhere, name),
                )

    def knows(self, directory: Path) -> bool:
        """True where a fetch on this machine, into the store or elsewhere, made the directory."""
        wanted = directory.resolve()
        return any(stored.directory.resolve() == wanted for stored in self.list())

    def find(
        self,
        target: str,
        *,
        registries: Collection[str] | None = None,
        directories: bool = True,
    ) -> StoredModel:
        """Find a model by its name in the store, or by its directory.

        Args:
            target: ``name``, ``name@revision`` (its first digits will do), or a directory. A
                name wins over a directory of that name in the working directory: ``./name``
                means the directory.
            registries: by a name, only what these registries vouched for; None for any.
            directories: whether the target may be a directory.

        Raises:
            NotFetchedError: neither is there.
        """
        name, _, revision = target.partition("@")
        if _NAME.fullmatch(name):
            found = [
                stored
                for stored in self._releases(name)
                if _matches(stored, revision)
                and stored.receipt is not None
                and (registries is None or stored.receipt.signed_by.registry in registries)
            ]
            if found:
                return max(found, key=_finished)
        directory = Path(target).expanduser()
        if directories and directory.is_dir():
            return open_model(directory)
        if directories and directory.exists():
            raise NotFetchedError(f"{target} is a file; expected a model's name or directory")
        raise NotFetchedError(
            f"{target!r} has not been fetched, and is no directory",
            hint=f"grokdist fetch {target}" if _NAME.fullmatch(name) else None,
        )

    def _releases(self, name: str) -> Iterator[StoredModel]:
        return (placed.stored for placed in self.placed(name) if placed.stored is not None)


def open_model(directory: Path) -> StoredModel:
    """Look at a model directory, in the store or not.

    Raises:
        StoreError: it is not a directory that can be opened.
    """
    with ModelTree(directory) as tree:
        try:
            return StoredModel(directory=directory, receipt=load_receipt(tree))
        except ReceiptError as error:
            return StoredModel(directory=directory, receipt=None, damage=f"{RECEIPT}: {error}")


def _noted(folder: Path, note: str) -> Path | None:
    """The directory that a note remembers; None where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, GrokdistError), ModelTree(folder) as tree:
        return Path((tree.read_small(note, _MAX_PATH) or b"").decode())
    return None


def _still(directory: Path, name: str) -> StoredModel | None:
    """What stands in a directory outside the store, if it is that model still, or was."""
    with contextlib.suppress(OSError, GrokdistError):
        stored = open_model(directory)
        # The directory may hold another model by now.
        if stored.damage is not None or (stored.receipt and stored.receipt.model == name):
            return stored
    return None


def _names(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; links are not followed."""
    try:
        return sorted(
            each.name
            for each in folder.iterdir()
            if each.is_dir() and not each.is_symlink() and _NAME.fullmatch(each.name)
        )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _matches(stored: StoredModel, revision: str) -> bool:
    return stored.receipt is not None and stored.receipt.revision.startswith(revision)


def _finished(stored: StoredModel) -> str:
    return stored.receipt.finished if stored.receipt is not None else ""
