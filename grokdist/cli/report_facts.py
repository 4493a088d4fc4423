"""What a report is made of: a model's manifest, and what this machine holds of it.

Looks at the disk, and turns what the library finds into plain values; nothing here is judged.
A receipt that cannot be read, or a fetch that has not ended, is something to report, no failure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grokdist.cli.output import Output
from grokdist.errors import GrokdistError, NotFetchedError, NoWeightsError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokdist.catalog.git_listing import Listing
    from grokdist.catalog.manifest import Anchor, FileEntry, Manifest, TrustedManifest
    from grokdist.policy.report_files import (
        Acceptance,
        AnchorCheck,
        Held,
        HeldAttestation,
        HeldFile,
    )
    from grokdist.transfer.findings import VerifyReport
    from grokdist.transfer.store import StoredModel
    from grokdist.transfer.survey import SeenFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What a report is made of.

    Attributes:
        trusted: the manifest, and who vouches for it.
        held: what is here.
        target: arguments that name the same model again.
        faulty: True where files were hashed and are not what the manifest says.
    """

    trusted: TrustedManifest
    held: Held
    target: tuple[str, ...]
    faulty: bool = False


def gather(
    model: str | None,
    manifest_file: Path | None,
    out: Output,
    *,
    verify: bool,
    jobs: int | None,
    strict_freshness: bool,
) -> Gathered:
    """Find a model and look at what is here of it.

    Args:
        model: its name or directory; None for that of the manifest file.
        manifest_file: a manifest to go by instead of the catalog's.
        out: where to warn.
        verify: hash what is here.
        jobs: files hashed at once; None for what suits the cores.
        strict_freshness: refuse an expired catalog rather than report it.

    Raises:
        UnknownModelError: nothing of that name is known, or nothing says what a directory should
            hold; also where files are to be hashed and none are here.
        TrustError: the registry's signatures do not hold.
        ManifestError, UsageError: the manifest file cannot be read, or is that of another model.
    """
    from grokdist.policy.report_chain import root_of
    from grokdist.policy.report_files import Held, nothing_held

    trusted, stored = _find(model, manifest_file, out, strict_freshness=strict_freshness)
    manifest = trusted.manifest
    target: tuple[str, ...] = (model if model is not None else manifest.name,)
    if manifest_file is not None:
        target += ("--manifest", str(manifest_file))
    acceptance, anchors = _acceptance(manifest, stored, out), _anchors(trusted, out)
    if stored is None:
        if verify:
            raise NotFetchedError(
                f"{target[0]} is not here to be verified; expected a fetched model",
                hint=f"grokdist fetch {target[0]}",
            )
        held = Held(files=nothing_held(manifest), acceptance=acceptance, anchors=anchors)
        return Gathered(trusted=trusted, held=held, target=target)
    report = _verified(stored, manifest, manifest_file, jobs, out) if verify else None
    files, extra = _files(stored, manifest, manifest_file, report)
    held = Held(
        files=files,
        here=True,
        extra=extra,
        receipt=stored.receipt,
        damage=stored.damage,
        hashed_now=report is not None,
        acceptance=acceptance,
        anchors=anchors,
    )
    attestations = tuple(_attestations(stored, manifest, root_of(held)))
    return Gathered(
        trusted=trusted,
        held=replace(held, attestations=attestations),
        target=target,
        faulty=report is not None and not report.ok,
    )


def _find(
    model: str | None, manifest_file: Path | None, out: Output, *, strict_freshness: bool
) -> tuple[TrustedManifest, StoredModel | None]:
    """The manifest, and where the model is; None where nothing of it is here."""
    from grokdist.api.lookup import manifest_of, stored_model, trusted_manifest
    from grokdist.catalog.manifest_file import manifest_from_file

    if model is None:
        if manifest_file is None:
            raise AssertionError  # the command asks for one of them
        model = manifest_from_file(manifest_file).manifest.name
    try:
        stored = stored_model(model)
    except (NotFetchedError, NoWeightsError, UnknownModelError):
        if Path(model).is_dir():
            raise
        name = model.partition("@")[0]
        trusted = trusted_manifest(name, manifest_file, out, strict_freshness=strict_freshness)
        return trusted, _unfinished(trusted)
    if manifest_file is None and stored.receipt is None:
        return _by_kept_manifest(stored, out), stored
    return manifest_of(stored, manifest_file, out, strict_freshness=strict_freshness), stored


def _unfinished(trusted: TrustedManifest) -> StoredModel | None:
    """The directory of a fetch by this very manifest that left no receipt one can read."""
    from grokdist.transfer.store import Store, open_model

    manifest = trusted.manifest
    try:
        directory = Store().directory(manifest.name, manifest.revision)
        if not directory.is_dir():
            return None
        stored = open_model(directory)
        kept = stored.manifest_bytes() or b""
    except GrokdistError:
        return None
    return stored if hashlib.sha256(kept).hexdigest() == trusted.sha256 else None


def _by_kept_manifest(stored: StoredModel, out: Output) -> TrustedManifest:
    """The manifest that lies in a directory without a receipt; signed if a registry has it.

    Raises:
        UnknownModelError: there is none.
        ManifestError: it cannot be parsed.
    """
    from grokdist.api.lookup import say_trust, with_kept_files
    from grokdist.catalog import registries
    from grokdist.catalog.manifest import SignedBy, TrustedManifest
    from grokdist.catalog.parsing import parse_manifest

    raw = stored.manifest_bytes()
    if raw is None:
        damaged = f" (its receipt cannot be read: {stored.damage})" if stored.damage else ""
        raise UnknownModelError(
            f"nothing says what {stored.directory} should hold; expected the manifest of a fetch"
            f" beside it{damaged}",
            hint=f"grokdist report {stored.directory} --manifest FILE",
        )
    manifest, digest = parse_manifest(raw), hashlib.sha256(raw).hexdigest()
    for name in registries.names():
        try:
            trusted = registries.named(name).load(manifest.name)
        except GrokdistError:
            continue
        if trusted.sha256 == digest:
            break
    else:
        trusted = TrustedManifest(
            manifest=manifest, raw=raw, sha256=digest, signed_by=SignedBy(registry="unsigned")
        )
    say_trust(trusted, out)
    return with_kept_files(trusted)


def _verified(
    stored: StoredModel,
    manifest: Manifest,
    manifest_file: Path | None,
    jobs: int | None,
    out: Output,
) -> VerifyReport:
    from grokdist.cli.progress import showing
    from grokdist.transfer.verify import verify

    receipt = stored.receipt if manifest_file is None else None
    with showing(out) as progress:
        return verify(stored.directory, manifest, receipt=receipt, jobs=jobs, progress=progress)


def _files(
    stored: StoredModel,
    manifest: Manifest,
    manifest_file: Path | None,
    report: VerifyReport | None,
) -> tuple[tuple[HeldFile, ...], tuple[str, ...]]:
    """Every file of the manifest by what is here of it, and what is here besides."""
    from grokdist.transfer.survey import survey

    seen = survey(stored.directory, manifest)
    wanted = {entry.path for entry in manifest.files}
    if stored.receipt is not None and manifest_file is None:
        wanted = {file.path for file in stored.receipt.files}
    elif stored.receipt is None and stored.damage is None and manifest_file is None:
        wanted = set()  # the fetch has not ended: what is not here yet is not missing
    faults = {}
    if report is not None:
        faults = {
            each.path: f"expected {each.expected}, got {each.got}" for each in report.mismatched
        }
    now = None if report is None else _now()
    entries = {entry.path: entry for entry in manifest.files}
    return tuple(
        _held(
            file,
            entries[file.path],
            wanted=file.path in wanted,
            fault=faults.get(file.path),
            hashed=now,
        )
        for file in seen.files
    ), seen.extra


def _held(
    file: SeenFile, entry: FileEntry, *, wanted: bool, fault: str | None, hashed: str | None
) -> HeldFile:
    from grokdist.policy.report_files import HeldFile, Holding
    from grokdist.transfer.plan import FileState

    state, checked_at = Holding(str(file.state)), file.hashed_at
    if file.state is FileState.MISSING and not wanted:
        state = Holding.NOT_FETCHED
    elif fault is not None:
        state, checked_at = Holding.WRONG, None
    elif hashed is not None and file.state is FileState.PRESENT:
        # Right by the verification just done; its index could not be written.
        state, checked_at = Holding.VERIFIED, hashed
    elif file.state is FileState.WRONG:
        fault = "another size, or no regular file"
    return HeldFile(
        path=entry.path,
        size=entry.size,
        sha256=entry.sha256,
        state=state,
        have=file.have,
        checked_at=checked_at,
        fault=fault,
    )


def _attestations(
    stored: StoredModel, manifest: Manifest, root: str | None
) -> Iterator[HeldAttestation]:
    """Those that the receipt lists; of whom they are is not judged.

    Args:
        stored: where they lie.
        manifest: the model that they should be about.
        root: its root digest; None where that is not known, so that it is not compared.
    """
    from grokdist.policy.report_files import HeldAttestation
    from grokdist.transfer.attestations import chain
    from grokdist.trust.statement import Subject

    if stored.receipt is None:
        return
    subject = None
    if root is not None:
        subject = Subject(name=f"{manifest.name}@{manifest.revision}", sha256=root)
    for each in chain(stored.directory, stored.receipt, subject):
        result = each.result
        signatures = () if each.envelope is None else each.envelope.signatures
        yield HeldAttestation(
            path=each.listed.path,
            predicate_type=each.listed.predicate_type,
            state=str(each.state),
            fault=each.fault,
            keyids=tuple(signature.keyid or "unnamed key" for signature in signatures),
            properties=() if result is None else result.properties,
            created=None if result is None else f"{result.created:%Y-%m-%dT%H:%M:%SZ}",
        )


def _acceptance(manifest: Manifest, stored: StoredModel | None, out: Output) -> Acceptance | None:
    """The recorded acceptance of the licence: this machine's, else what the receipt notes."""
    from grokdist.api.acceptances import accepted, recorded
    from grokdist.policy.report_files import Acceptance

    try:
        given = accepted(manifest)
        found = next((each for each in recorded() if each.acceptance == given), None)
    except GrokdistError as error:
        out.warning(f"the record of accepted licences was not read: {error}")
        found = None
    if found is not None:
        return Acceptance(text=found.acceptance, when=found.when, who=found.who, how=found.how)
    receipt = None if stored is None else stored.receipt
    if receipt is None or receipt.license.accepted_by is None:
        return None
    return Acceptance(text=receipt.license.accepted_by, how="as the receipt notes")


def _anchors(trusted: TrustedManifest, out: Output) -> dict[str, AnchorCheck]:
    """What comes of holding the file list against the commits whose objects are kept here."""
    from grokdist.catalog.manifest import AnchorKind
    from grokdist.transfer.listings import Listings

    found = {}
    for anchor in trusted.manifest.anchors:
        if anchor.kind is AnchorKind.BTIH or not trusted.manifest.files:
            continue
        try:
            listing = Listings().load(anchor.value)
            if listing is not None and (check := _compared(trusted, anchor, listing)) is not None:
                found[anchor.value] = check
        except GrokdistError as error:
            out.warning(f"the kept objects of commit {anchor.value} were not used: {error}")
    return found


def _compared(trusted: TrustedManifest, anchor: Anchor, listing: Listing) -> AnchorCheck | None:
    """None where the manifest takes no file from that commit."""
    from grokdist.catalog.completion import patterns_of
    from grokdist.catalog.pinning import pin
    from grokdist.policy.report_files import AnchorCheck, plural

    if patterns_of(trusted.manifest, anchor) is None:
        return None
    pinned = pin(trusted.manifest, anchor, listing)
    if pinned.differences:
        first = pinned.differences[0]
        return AnchorCheck(
            held=False,
            says=f"{plural(len(pinned.differences), 'difference')}, the first of them in"
            f" {first.what} of {first.path}",
        )
    told = f"its git objects were recomputed, and name the {pinned.comparison.files:,} files"
    if pinned.comparison.by_size:
        told += f" ({len(pinned.comparison.by_size):,} of them by size alone)"
    return AnchorCheck(held=True, says=told)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
