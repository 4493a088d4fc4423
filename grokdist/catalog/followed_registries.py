"""Registries of others that this machine follows, each pinned to a root that its user gave.

``GROKDIST_HOME/registries/<name>/`` holds

- ``registry.json``: where it is, which root is pinned, and which generation counts (replaced in
  one step);
- ``root.json``: the pinned root;
- ``tuf/``: python-tuf's memory. It remembers every version it verified, also of updates that came
  to no end, so that nothing older is taken again;
- ``generations/<n>/``: a whole verified set, metadata and manifests, laid out as ``Registry``
  reads it: what is used offline.

An update runs python-tuf's client, gathers a new generation, verifies it once more as it will be
read, and then points ``registry.json`` to it. Who dies on the way leaves the old one in force.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grokdist import settings
from grokdist.catalog import parsing
from grokdist.catalog.followed_registry import (
    SETTINGS,
    Followed,
    locked,
    read_settings,
    time_text,
)
from grokdist.catalog.registry_names import NAME, RESERVED
from grokdist.cursor import Cursor
from grokdist.document import shorten
from grokdist.errors import ManifestError, StoreError, TrustError, UnknownModelError, UsageError
from grokdist.private_folder import make_private

if TYPE_CHECKING:
    from tuf.ngclient.fetcher import FetcherInterface

    from grokdist.catalog.registry_update import Update


class FollowedRegistries:
    """The registries that this machine follows.

    Args:
        home: root of the store; None for ``GROKDIST_HOME`` or the platform's user data folder.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.folder = (home if home is not None else settings.home()) / "registries"

    def names(self) -> list[str]:
        """Names of the followed registries, sorted."""
        try:
            return sorted(
                each.name
                for each in self.folder.iterdir()
                if NAME.fullmatch(each.name) and (each / SETTINGS).exists()
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def get(self, name: str) -> Followed:
        """One followed registry.

        Raises:
            UnknownModelError: none of that name is followed.
            TrustError: its state cannot be read.
        """
        if not NAME.fullmatch(name) or name not in self.names():
            names = self.names()
            raise UnknownModelError(
                f"no registry {shorten(name)} is followed; expected "
                + (f"one of {', '.join(names)}" if names else "one that was added first"),
                hint="grokdist registry add NAME URL --root FILE",
            )
        return read_settings(self.folder / name)

    def add(
        self,
        name: str,
        url: str,
        root: bytes,
        fetcher: FetcherInterface,
        *,
        targets_url: str | None = None,
    ) -> Update:
        """Follow a registry: pin the root, and fetch all of it once.

        Args:
            name: what to call it.
            url: where its ``timestamp.json`` lies.
            root: the root metadata that the user trusts, of any version.
            fetcher: how files come.
            targets_url: where its targets lie; None where they lie beside the metadata.

        Raises:
            UsageError: the name is taken or none, the address cannot be used, or the root is none.
            NoSourceError, TrustError: as for ``update``; nothing is kept then.
        """
        if not NAME.fullmatch(name) or name in RESERVED:
            raise UsageError(
                f"{shorten(name)} cannot name a registry; expected small letters, digits and '.-_',"
                f" and neither {' nor '.join(RESERVED)}"
            )
        if name in self.names():
            raise UsageError(
                f"a registry {name} is followed already, at {self.get(name).url}",
                hint=f"grokdist registry remove {name}",
            )
        from grokdist.catalog.registry_update import update_one

        version = _version_of(root)
        now = time_text(datetime.now(UTC))
        try:
            make_private(self.folder)
            for stale in self.folder.glob(f".{name}.*"):
                shutil.rmtree(stale, ignore_errors=True)
            begun = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self.folder))
        except OSError as error:
            raise StoreError(f"cannot make {self.folder}: {error.strerror}") from error
        try:
            (begun / "root.json").write_bytes(root)
            followed = Followed(
                name=name,
                folder=begun,
                url=check_url(url),
                targets_url=check_url(targets_url or url),
                root_sha256=hashlib.sha256(root).hexdigest(),
                first_root=version,
                generation=0,
                updated=now,
                checked=now,
            )
            update = update_one(followed, fetcher)
            begun.rename(self.folder / name)
        finally:
            shutil.rmtree(begun, ignore_errors=True)
        return replace(update, followed=self.get(name))

    def update(self, name: str, fetcher: FetcherInterface) -> Update:
        """Fetch what is new of a followed registry.

        Raises:
            UnknownModelError: none of that name is followed.
            NoSourceError: the server cannot be reached; what was cached stays.
            TrustError: what it answers must not be trusted; what was cached stays.
            StoreError: another process is at it, or the state cannot be written.
        """
        from grokdist.catalog.registry_update import update_one

        with locked(self.get(name).folder):
            return update_one(self.get(name), fetcher)

    def remove(self, name: str) -> None:
        """Follow a registry no longer; its state goes, what was fetched by it stays."""
        followed = self.get(name)
        with locked(followed.folder):
            (followed.folder / SETTINGS).unlink()
        shutil.rmtree(followed.folder, ignore_errors=True)


def check_url(url: str) -> str:
    """The address of a registry, ending in ``/``.

    Raises:
        UsageError: it is not https (or http on this machine), or holds a user, query or fragment.
    """
    address = url if url.endswith("/") else f"{url}/"
    try:
        parsing.base_url(Cursor(address))
    except ManifestError:
        raise UsageError(
            f"{shorten(url, 200)} cannot be a registry's address; expected https://HOST/PATH"
            " (http only for this machine), with no user, query or fragment"
        ) from None
    return address


def _version_of(root: bytes) -> int:
    from tuf.api.metadata import Root  # type: ignore[attr-defined]  # its documented names

    from grokdist.catalog.trusted_metadata import check_roles, load_metadata

    try:
        metadata = load_metadata("the root", root, Root, exact=False)
        check_roles("the root", metadata.signed)
    except TrustError as error:
        raise UsageError(
            f"this is no root to follow a registry by: {error}",
            hint="ask the publisher for root.json and its fingerprint",
        ) from error
    return int(metadata.signed.version)
