"""The listings of commits that this machine has fetched: packs of git objects, kept as they came.

``GROKDIST_HOME/listings/<commit>/objects.pack`` is a pack that any git reads. The list of files is
derived from it anew each time, every object id recomputed: nothing that was derived is kept, so
there is nothing to believe but the 40 digits of the commit.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from grokdist import settings
from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.catalog.git_listing import Listing, list_commit, peel
from grokdist.catalog.git_pack import PackLimits, read_pack
from grokdist.catalog.manifest import AnchorKind, Manifest, SourceKind
from grokdist.errors import (
    DigestMismatchError,
    GrokdistError,
    NoSourceError,
    StoreError,
    TrustError,
)
from grokdist.private_folder import make_private
from grokdist.transfer.torrent_payload import hub_endpoint

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACK = "objects.pack"


class Listings:
    """The listings on this machine.

    Args:
        home: root of the store; None for ``GROKDIST_HOME`` or the platform's user data folder.
        limits: what a pack may take.
    """

    def __init__(self, home: Path | None = None, limits: PackLimits | None = None) -> None:
        self.folder = (home if home is not None else settings.home()) / "listings"
        self._limits = limits or PackLimits()

    def path(self, commit: str) -> Path:
        """Where the pack of a commit is kept, whether it is there or not."""
        if not _COMMIT.fullmatch(commit):
            raise StoreError(f"{commit!r} is no commit; expected 40 hexadecimal digits")
        return self.folder / commit / _PACK

    def load(self, commit: str) -> Listing | None:
        """The listing of a commit, recomputed from the kept objects; None where none is kept.

        Raises:
            TrustError, DigestMismatchError: what is kept is not that commit's.
            StoreError: it cannot be read.
        """
        path = self.path(commit)
        try:
            pack = read_bounded(path, self._limits.size)
        except FileNotFoundError:
            return None
        except (OSError, TooLargeError) as error:
            raise StoreError(f"the listing {path} cannot be read: {error}") from error
        try:
            return list_commit(commit, read_pack(pack, self._limits))
        except (TrustError, DigestMismatchError) as error:
            error.hint = error.hint or f"take {path.parent} away and fetch the listing again"
            raise

    def keep(self, commit: str, pack: bytes) -> Listing:
        """Check a pack and keep it.

        Args:
            commit: what was asked for: a commit, or a tag of one.
            pack: the pack that came.

        Raises:
            TrustError, DigestMismatchError, UnsafePathError: it does not hold that commit, whole
                and sound; nothing is kept.
            StoreError: it cannot be written.
        """
        objects = read_pack(pack, self._limits)
        listing = list_commit(peel(commit, objects), objects)
        path = self.path(listing.commit.id)
        try:
            make_private(path.parent)
            fd, name = tempfile.mkstemp(dir=path.parent, prefix=".objects-")
            temporary = Path(name)
            try:
                with os.fdopen(fd, "wb") as stream:
                    stream.write(pack)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(f"cannot keep the listing {path}: {error.strerror}") from error
        return listing

    def fetch(self, url: str, revision: str) -> Listing:
        """Fetch a commit's objects over git's protocol, check and keep them.

        Raises:
            UsageError, UnknownModelError, SourceError, TrustError: as ``git_fetch.fetch_commit``.
            DigestMismatchError, UnsafePathError: as ``keep``.
        """
        from grokdist.transfer.sources.git_fetch import fetch_commit

        fetched = fetch_commit(url, revision, token=hub_token(url))
        return self.keep(fetched.commit, fetched.pack)

    def of(self, manifest: Manifest, *, offline: bool = False) -> Listing | None:
        """The listing of a manifest's ``hub-commit`` anchor: the kept one, or a new one.

        Args:
            manifest: one that has such an anchor.
            offline: ask nobody.

        Returns:
            the listing; None where none is kept and nobody may be asked.

        Raises:
            NoSourceError: no Hub repository of the manifest gave it.
            TrustError, DigestMismatchError, UnsafePathError: what came is not the commit.
        """
        commit = next(a.value for a in manifest.anchors if a.kind is AnchorKind.HUB_COMMIT)
        kept = self.load(commit)
        if kept is not None or offline:
            return kept
        failures: list[GrokdistError] = []
        for source in manifest.sources:
            if source.kind is SourceKind.HUB and source.revision == commit:
                try:
                    return self.fetch(hub_url(source.location), commit)
                except (TrustError, DigestMismatchError):
                    raise
                except GrokdistError as error:
                    failures.append(error)
        told = "; ".join(str(error) for error in failures) or "no Hub repository is listed"
        raise NoSourceError(
            f"the list of files of {manifest.name} could not be had: {told}",
            hint=next((error.hint for error in failures if error.hint), None),
        )


def hub_url(repository: str) -> str:
    """The git address of a Hub repository, by ``HF_ENDPOINT``."""
    return f"{hub_endpoint()}/{repository}"


def hub_token(url: str) -> str | None:
    """The Hub's access token for a repository of the Hub; None for any other address."""
    endpoint = hub_endpoint()
    if not url.startswith(f"{endpoint}/"):
        return None
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise NoSourceError("HF_HUB_OFFLINE is set, and the list of files is not kept here")
    return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
