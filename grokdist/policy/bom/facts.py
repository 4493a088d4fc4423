"""What a bill of materials says of a model: taken from its manifest and the receipt of a fetch.

Both formats are written from these facts, so neither knows anything that the other does not.
Nothing is guessed: what the manifest does not say is None, or says that it is not known. Knows
neither CycloneDX nor SPDX.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

import grokdist
from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.converted import converted_from
from grokdist.catalog.manifest import (
    Manifest,
    SignedBy,
    SourceKind,
    TrustedManifest,
)
from grokdist.errors import DigestMismatchError, PolicyError, TrustError
from grokdist.policy.bom.architecture import (
    families_of,
    hyperparameters_of,
    parameters_of,
    task_of,
)
from grokdist.policy.bom.disclosure import DataFact, data_of, limitations_of, training_of
from grokdist.policy.bom.references import Reference, references_of
from grokdist.policy.licenses import KNOWN_TEXTS, normalise
from grokdist.trust.oms.root import root_of_files
from grokdist.trust.receipt import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFact:
    """One file of the release.

    Attributes:
        path, size, sha256, git_blob, lfs, pieces_root: as in the manifest's ``FileEntry``.
        verified: UTC time at which its bytes here had been found right; None where they were not
            looked at here.
    """

    path: str
    size: int
    sha256: str | None
    git_blob: str | None = None
    lfs: bool = False
    pieces_root: str | None = None
    verified: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The model that this one was converted from.

    Attributes:
        name, revision: as in its manifest.
        root: root digest over its files, 64 hex digits; None where it is not known.
    """

    name: str
    revision: str
    root: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """Everything that a bill of materials says of a model.

    Attributes:
        name, title, publisher, revision, released, format, summary: as in the manifest.
        statement: what was observed and what was not, and whether bytes were verified here.
        role: ``observer`` or ``publisher``.
        purl: package URL with the revision.
        download: URI of where the release is published.
        task: the Hub's name of the task; None where nothing says it.
        families: kinds of architecture, most general first; empty where unknown.
        parameters: number of parameters; None where it does not follow from what is known.
        hyperparameters: of the architecture, name and value as text.
        inputs, outputs: formats that go in and come out; empty where unknown.
        training: a sentence on what is known of how it was made.
        limitations: sentences on what is not released, not known, or wants care.
        declared: the licence that the publisher states, SPDX spelling.
        license_name: its name for people.
        concluded: the licence whose text was found among bytes verified here; else None.
        license_scope, license_covers, license_excludes, license_text, license_sha256,
        license_evidence: as in the manifest.
        files: the files of the release; empty where the manifest does not list them.
        listed: False where the manifest does not list the files and no receipt does.
        data: training data first, then evaluation data where it was released.
        references: where to find more.
        root: root digest over all files (OpenSSF Model Signing); None where a digest is missing.
        manifest_sha256: of the manifest's exact bytes.
        signed_by: who vouches for the manifest.
        verified_at: UTC time of the verification that the receipt records; None without one.
        origin: what it was converted from; None for a release as it is.
        altered: what was done to the released weights; None where nothing was.
        verified_by: the program that the receipt names; None where the files were verified for
            this document.
        tool_version: version of grokdist.
    """

    name: str
    title: str
    publisher: str
    revision: str
    released: str | None
    format: str
    summary: str
    statement: str
    role: str
    purl: str
    download: str | None
    task: str | None
    families: tuple[str, ...]
    parameters: int | None
    hyperparameters: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    training: str
    limitations: tuple[str, ...]
    declared: str
    license_name: str
    concluded: str | None
    license_scope: str | None
    license_covers: tuple[str, ...]
    license_excludes: tuple[str, ...]
    license_text: str | None
    license_sha256: str | None
    license_evidence: str | None
    files: tuple[FileFact, ...]
    listed: bool
    data: tuple[DataFact, ...]
    references: tuple[Reference, ...]
    root: str | None
    manifest_sha256: str
    signed_by: SignedBy
    verified_at: str | None
    verified_by: str | None
    origin: Origin | None
    altered: str | None
    tool_version: str = grokdist.__version__

    @property
    def verified_files(self) -> int:
        """How many of the files were verified here."""
        return sum(file.verified is not None for file in self.files)

    @property
    def verification(self) -> str:
        """A sentence on which bytes were verified, by whom and when."""
        if self.verified_at is None:
            return (
                "No bytes were verified here: digests are those that the manifest lists. Fetch the"
                " model to bind this document to verified bytes."
            )
        checked = (
            f"{self.verified_files} of {len(self.files)} files were verified against the manifest"
        )
        if self.verified_by is None:
            return f"{checked} at {self.verified_at}, for this document."
        return (
            f"{checked} by {self.verified_by} at {self.verified_at}, as the unsigned receipt of"
            " that fetch records."
        )


def facts_of(
    trusted: TrustedManifest, receipt: Receipt | None = None, *, verified_now: str | None = None
) -> ModelFacts:
    """The facts of a model.

    Args:
        trusted: its manifest, and who vouches for it.
        receipt: of the directory that holds its bytes; None for the catalog's model alone. It is
            not signed: it only says which files were verified and when, and each must be as the
            manifest has it.
        verified_now: UTC time at which the caller verified every file of the receipt itself; None
            where that is as long ago as the receipt says.

    Raises:
        PolicyError: no weights were released, so there is nothing to list.
        TrustError: the receipt is of another release.
        DigestMismatchError: the receipt records other bytes than the manifest lists.
    """
    manifest = trusted.manifest
    if not manifest.has_weights:
        raise PolicyError(
            f"no weights of {manifest.title} were released: a bill of materials would list nothing",
            hint=f"grokdist show {manifest.name}",
        )
    when = None if receipt is None else verified_now or receipt.finished
    files = _files(manifest, receipt, when)
    config = dict(manifest.config or {})
    task = task_of(manifest.format)
    text = ("text",) if task == "text-generation" else ()
    return ModelFacts(
        name=manifest.name,
        title=manifest.title,
        publisher=manifest.publisher,
        revision=manifest.revision,
        released=manifest.released,
        format=manifest.format,
        summary=manifest.summary,
        statement=manifest.statement,
        role=str(manifest.role),
        purl=_purl(manifest),
        download=_download(manifest),
        task=task,
        families=families_of(manifest.format, config),
        parameters=parameters_of(manifest.format, config),
        hyperparameters=hyperparameters_of(config),
        inputs=text,
        outputs=text,
        training=training_of(manifest),
        limitations=limitations_of(manifest),
        declared=_spelled(manifest.license.expression),
        license_name=manifest.license.name,
        concluded=_concluded(manifest, files),
        license_scope=manifest.license.scope,
        license_covers=manifest.license.covers,
        license_excludes=manifest.license.excludes,
        license_text=manifest.license.text_path,
        license_sha256=manifest.license.text_sha256,
        license_evidence=manifest.license.evidence,
        files=files,
        listed=bool(files),
        data=data_of(manifest),
        references=tuple(references_of(manifest)),
        root=_root(files),
        manifest_sha256=trusted.sha256,
        signed_by=trusted.signed_by,
        verified_at=when,
        verified_by=None if receipt is None or verified_now else receipt.tool,
        origin=_origin(manifest),
        altered=alteration_of(manifest),
    )


def _files(manifest: Manifest, receipt: Receipt | None, when: str | None) -> tuple[FileFact, ...]:
    if receipt is not None and (receipt.model, receipt.revision) != (
        manifest.name,
        manifest.revision,
    ):
        raise TrustError(
            f"the receipt is that of {receipt.model} at {receipt.revision[:12]}; expected"
            f" {manifest.name} at {manifest.revision[:12]}"
        )
    got = {} if receipt is None else {file.path: file for file in receipt.files}
    if not manifest.files:  # the list follows from the publisher's commit: the fetch wrote it down
        return tuple(
            FileFact(path=each.path, size=each.size, sha256=each.sha256, verified=when)
            for each in sorted(got.values(), key=lambda file: file.path)
        )
    facts = []
    for entry in sorted(manifest.files, key=lambda entry: entry.path):
        seen = got.get(entry.path)
        digest = entry.sha256
        if seen is not None:
            if seen.size != entry.size or digest not in (None, seen.sha256):
                raise DigestMismatchError(
                    f"the receipt records other bytes for {entry.path} than the manifest lists;"
                    f" expected sha256 {digest} ({entry.size} bytes), got {seen.sha256}"
                    f" ({seen.size} bytes)",
                    path=entry.path,
                    expected=digest,
                    got=seen.sha256,
                    hint="verify the model again: grokdist verify DIR",
                )
            digest = seen.sha256
        facts.append(
            FileFact(
                path=entry.path,
                size=entry.size,
                sha256=digest,
                git_blob=entry.git_blob,
                lfs=entry.lfs,
                pieces_root=entry.pieces_root,
                verified=None if seen is None else when,
            )
        )
    return tuple(facts)


def _origin(manifest: Manifest) -> Origin | None:
    found = converted_from(manifest)
    if "name" not in found or "revision" not in found:
        return None
    root = found.get("root_sha256", "")
    return Origin(
        name=found["name"],
        revision=found["revision"],
        root=root if re.fullmatch("[0-9a-f]{64}", root) else None,
    )


def _root(files: tuple[FileFact, ...]) -> str | None:
    digests = {file.path: file.sha256 for file in files if file.sha256 is not None}
    return root_of_files(digests) if files and len(digests) == len(files) else None


def _purl(manifest: Manifest) -> str:
    """https://github.com/package-url/purl-spec, type ``huggingface``; ``generic`` elsewhere."""
    for source in manifest.sources:
        if source.kind is SourceKind.HUB and source.revision:
            return f"pkg:huggingface/{quote(source.location, safe='/')}@{source.revision.lower()}"
    return f"pkg:generic/{quote(manifest.name)}@{quote(manifest.revision)}"


def _download(manifest: Manifest) -> str | None:
    for source in manifest.sources:
        if source.kind is SourceKind.HUB:
            revision = source.revision or "main"
            return f"https://huggingface.co/{quote(source.location, safe='/')}/tree/{revision}"
    for source in manifest.sources:
        if source.kind in (SourceKind.HTTPS, SourceKind.TORRENT):
            return source.location
    for source in manifest.sources:
        if source.kind is SourceKind.LOCAL:  # a folder bundled with the package
            return (
                f"pkg:generic/grokdist@{quote(grokdist.__version__)}"
                f"#grokdist/bundled/{quote(source.location)}"
            )
    return None


def _spelled(expression: str) -> str:
    try:
        return normalise(expression)
    except PolicyError:  # a licence, but no expression: it is carried as it was stated
        return expression


def _concluded(manifest: Manifest, files: tuple[FileFact, ...]) -> str | None:
    """The licence of the text among the files, by digest, where these bytes were verified."""
    for file in files:
        if file.path == manifest.license.text_path and file.verified is not None:
            return KNOWN_TEXTS.get(file.sha256 or "")
    return None
