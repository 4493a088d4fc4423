"""From what a person types (a name, a directory, a manifest file) to a manifest and its trust."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from grokdist.api.voice import Voice
from grokdist.catalog.manifest import Manifest, SignedBy, TrustedManifest
from grokdist.document import shorten
from grokdist.errors import (
    NotFetchedError,
    NoWeightsError,
    StoreError,
    TrustError,
    UnknownModelError,
    UsageError,
)

if TYPE_CHECKING:
    from grokdist.catalog.registry import Registry
    from grokdist.transfer.store import StoredModel


def trusted_manifest(
    model: str, manifest_file: Path | None, voice: Voice, *, strict_freshness: bool = False
) -> TrustedManifest:
    """The manifest of a model, verified against its registry unless given as a file.

    Args:
        model: its name, or ``REGISTRY:NAME`` for that of a followed registry.
        manifest_file: a manifest to take instead of the catalog's.
        voice: where to warn.
        strict_freshness: refuse an expired catalog rather than warn.

    Raises:
        UnknownModelError: no such model; a manifest file that cannot be parsed.
        TrustError: the registry's signatures do not hold.
        UsageError: the manifest file is that of another model.
    """
    if manifest_file is None:
        from grokdist.catalog import registries

        trusted = registries.load(model, strict_freshness=strict_freshness)
    else:
        from grokdist.catalog.manifest_file import manifest_from_file

        trusted = manifest_from_file(manifest_file)
        if trusted.manifest.name != model:
            raise UsageError(
                f"{manifest_file} is the manifest of {trusted.manifest.name!r};"
                f" expected that of {model!r}"
            )
    say_trust(trusted, voice)
    return with_kept_files(trusted)


def require_weights(manifest: Manifest) -> None:
    """Refuse to fetch or use what was never released.

    Raises:
        NoWeightsError: the publisher released no weights of this model.
    """
    if not manifest.has_weights:
        raise NoWeightsError(
            f"no weights of {manifest.title} were released by {manifest.publisher}:"
            " there is nothing to fetch or run",
            hint=f"grokdist openness {manifest.name}",
        )


def stored_model(target: str) -> StoredModel:
    """The model directory that a name or path means.

    ``REGISTRY:NAME`` is what was fetched by that registry. A bare name of the embedded catalog is
    never what a followed registry vouches for under the same name.

    Raises:
        UnknownModelError: the name is neither here nor in the catalog.
        NoWeightsError: the model is known, but its weights were never released.
        NotFetchedError: the model is known, but not here.
    """
    from grokdist.catalog import registries
    from grokdist.transfer.store import Store

    try:
        registry, name = registries.split(target)
        if registry is None:
            return Store().find(target, registries=registries.vouching(target.partition("@")[0]))
        return Store().find(name, registries=(registry,), directories=False)
    except NotFetchedError as error:
        if not Path(target).exists() and "/" not in target:
            manifest = registries.load(target.partition("@")[0]).manifest
            require_weights(manifest)
            _refuse_unfinished(manifest)
            error.hint = f"grokdist fetch {target.partition('@')[0]}"
        raise


def _refuse_unfinished(manifest: Manifest) -> None:
    """Say so where a fetch of a model is under way or was cut off.

    Raises:
        NotFetchedError: it is.
    """
    from grokdist.transfer.store import Store, open_model

    directory = Store().directory(manifest.name, manifest.revision)
    if not directory.is_dir():
        return
    stored = open_model(directory)
    # With a receipt it is complete, and what another registry calls by this name.
    if stored.receipt is not None or stored.damage is not None:
        return
    refuse_while_fetched(directory, manifest.name)
    raise NotFetchedError(
        f"the fetch of {manifest.name} into {directory} has not come to its end",
        hint=f"grokdist fetch {manifest.name} goes on from there",
    )


def refuse_while_fetched(directory: Path, name: str) -> None:
    """Refuse to judge a directory that has no receipt while a process still fills it.

    Raises:
        NotFetchedError: one does.
    """
    holder = fetching(directory)
    if holder is not None:
        raise NotFetchedError(
            f"{name} is being fetched into {directory} by {holder}",
            hint=f"wait for it to end: grokdist fetch {name} --wait",
        )


def fetching(directory: Path) -> str | None:
    """The process that writes to a model directory now, in words; None where none does."""
    from grokdist.transfer.lease import holder_now
    from grokdist.transfer.tree import ModelTree

    try:
        with ModelTree(directory) as tree:
            holder = holder_now(tree)
    except StoreError:
        return None
    return None if holder is None else str(holder)


def manifest_of(
    stored: StoredModel,
    manifest_file: Path | None,
    voice: Voice,
    *,
    strict_freshness: bool = False,
) -> TrustedManifest:
    """The manifest that a model directory must equal.

    That of the catalog, for the model its receipt names; the receipt itself is not trusted. A
    model fetched by a manifest file is held against the copy of that file, unsigned as it was.

    Raises:
        TrustError: the registry's signatures do not hold, or a stored manifest was changed.
        UnknownModelError: nothing says what the directory should hold.
    """
    from grokdist.catalog.manifest_file import manifest_from_file
    from grokdist.catalog.parsing import parse_manifest

    receipt = stored.receipt
    if manifest_file is not None:
        trusted = manifest_from_file(manifest_file)
    elif stored.damage is not None:
        raise TrustError(
            f"the receipt of {stored.directory} cannot be read: {stored.damage}",
            hint="fetch the model into this directory again: files that are right stay",
        )
    elif receipt is None:
        refuse_while_fetched(stored.directory, "a model")
        raise UnknownModelError(
            f"nothing says what {stored.directory} should hold; expected the receipt of a fetch",
            hint=f"grokdist verify {stored.directory} --manifest FILE",
        )
    elif receipt.signed_by.registry != "unsigned":
        registry = _registry_of(stored.directory, receipt.signed_by.registry)
        trusted = registry.load(receipt.model, strict_freshness=strict_freshness)
        if trusted.sha256 != receipt.manifest_sha256:
            voice.note(
                f"the catalog's manifest of {receipt.model} is not the one this was fetched by;"
                " the current one counts"
            )
    else:
        raw = stored.manifest_bytes() or b""
        digest = hashlib.sha256(raw).hexdigest()
        if digest != receipt.manifest_sha256:
            raise TrustError(
                f"the manifest kept in {stored.directory} was changed;"
                f" expected sha256 {receipt.manifest_sha256}, got {digest}"
            )
        trusted = TrustedManifest(
            manifest=parse_manifest(raw),
            raw=raw,
            sha256=digest,
            signed_by=SignedBy(registry="unsigned"),
        )
    say_trust(trusted, voice)
    return with_files(trusted, voice, online=False)


def with_kept_files(trusted: TrustedManifest) -> TrustedManifest:
    """The manifest, its files listed if it lists them or this machine keeps the listing.

    Raises:
        TrustError, DigestMismatchError: the kept listing is not that of the manifest's commit.
    """
    if trusted.manifest.listed:
        return trusted
    from grokdist.catalog.completion import complete
    from grokdist.transfer.listings import Listings

    listing = Listings().of(trusted.manifest, offline=True)
    return trusted if listing is None else complete(trusted, listing)


def with_files(trusted: TrustedManifest, voice: Voice, *, online: bool) -> TrustedManifest:
    """The manifest with its files; where it does not list them, as its commit names them.

    Args:
        trusted: the manifest.
        voice: where to say that the listing is fetched.
        online: whether the Hub may be asked for what is not kept here.

    Raises:
        UnknownModelError: the listing is not here, and nobody may be asked.
        NoSourceError: nobody gave it.
        TrustError, DigestMismatchError: what came, or is kept, is not the commit's.
    """
    completed = with_kept_files(trusted)
    if completed.manifest.listed:
        return completed
    manifest = trusted.manifest
    if not online:
        raise UnknownModelError(
            f"the manifest of {manifest.name} leaves its list of files to commit"
            f" {manifest.revision}, whose listing is not kept on this machine",
            hint=f"grokdist manifest pin {manifest.name}",
        )
    from grokdist.catalog.completion import complete
    from grokdist.transfer.listings import Listings

    voice.note(f"fetching the list of files of {manifest.name} as its commit names them")
    with voice.waiting(f"commit {manifest.revision[:12]}, its trees and pointers"):
        listing = Listings().of(manifest)
    return trusted if listing is None else complete(trusted, listing)


def say_trust(trusted: TrustedManifest, voice: Voice) -> None:
    """Warn about what the signature of a manifest does not give."""
    from grokdist.catalog import registries

    signed_by = trusted.signed_by
    if (checked := registries.last_checked(signed_by.registry)) is not None:
        voice.note(
            f"by the registry {signed_by.registry} as it was at {checked};"
            f" grokdist registry update {signed_by.registry} looks for newer"
        )
    if not signed_by.signed:
        voice.warning(f"the manifest of {trusted.manifest.name} is not signed: you vouch for it")
    elif signed_by.expired:
        voice.warning(
            f"the signed catalog{_of(signed_by.registry)} expired at {signed_by.expires}; its"
            " signatures hold, but newer manifests may exist"
        )


def _of(registry: str) -> str:
    return "" if registry == "embedded" else f" of {registry}"


def _registry_of(directory: Path, name: str) -> Registry:
    """The registry that a receipt names; the receipt may be a stranger's.

    Raises:
        TrustError: this machine does not follow it.
    """
    from grokdist.catalog import registries

    try:
        return registries.named(name)
    except UnknownModelError as error:
        raise TrustError(
            f"{directory} was fetched by a registry {shorten(name)} that this machine does not"
            " follow, so nothing here vouches for it",
            hint="grokdist registry add NAME URL --root FILE",
        ) from error


def signature_text(trusted: TrustedManifest) -> str:
    """Who vouches for a manifest, in a phrase."""
    signed_by = trusted.signed_by
    if signed_by.root_sha256 is None:
        return "nobody (manifest given as a file)"
    return (
        f"{signed_by.registry} registry: {len(signed_by.keyids)} signatures,"
        f" {signed_by.threshold} required; root {signed_by.root_sha256[:16]}"
    )
