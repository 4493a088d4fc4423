"""What ``verify``, ``fetch`` and ``attest`` have in common: a statement, sealed and kept.

Turns what the library found into plain values for a predicate, signs with the user's keys where
there are any, and says plainly where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli.attest_verification import (
    checked_by,
    policy_properties,
    stem_of,
    verification,
)
from grokdist.cli.output import Output
from grokdist.errors import GrokdistError, NotFetchedError, UsageError
from grokdist.settings import config_path, load_config

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.attestations import Link
    from grokdist.transfer.engine import FetchResult
    from grokdist.transfer.findings import VerifyReport
    from grokdist.transfer.store import StoredModel
    from grokdist.trust.dsse import Envelope
    from grokdist.trust.keys import SigningKey
    from grokdist.trust.receipt import Receipt
    from grokdist.trust.statement import Statement

KEY_VARIABLE = "GROKDIST_ATTEST_KEY"
"""Names the user's key, for every command that attests."""

Attest = Annotated[
    bool, typer.Option(help="Leave an attestation of what was checked beside the model.")
]
AttestKey = Annotated[
    list[Path] | None,
    typer.Option(
        "--attest-key", metavar="PEM", envvar=KEY_VARIABLE, help="Sign the attestation with it."
    ),
]
ManifestFile = Annotated[
    Path | None, typer.Option("--manifest", help="Go by this manifest file; its signer is you.")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attested:
    """An attestation that was made.

    Attributes:
        statement: what it says.
        envelope: the statement as it was signed, or not.
        path: where it was written.
        sha256: digest of that file.
    """

    statement: Statement
    envelope: Envelope
    path: Path
    sha256: str

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        predicate = self.statement.predicate
        (subject,) = self.statement.subjects
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "predicate_type": self.statement.predicate_type,
            "subject": {"name": subject.name, "sha256": subject.sha256},
            "signed": bool(self.envelope.signatures),
            "keyids": [each.keyid for each in self.envelope.signatures],
            "properties": list(predicate.get("properties", ())),
        }

    def text(self) -> str:
        """What a person reads: where it is, and who vouches for it."""
        by = [each.keyid[:16] for each in self.envelope.signatures]
        signed = f"signed by key {' and '.join(by)}" if by else "UNSIGNED: no key was given"
        return f"attested in {self.path} ({signed})"


def signing_keys(paths: Sequence[Path] | None) -> tuple[SigningKey, ...]:
    """The user's keys: those given, else ``key`` under ``[attest]`` of the configuration file.

    Raises:
        UsageError: one cannot be read, or its password does not do.
        TrustError: one is of a kind or curve that is not used here.
    """
    from grokdist.cli.passwords import key_password
    from grokdist.trust.keys import load_signing_key, read_pem

    return tuple(
        load_signing_key(
            path, password=key_password(path) if b"ENCRYPTED" in read_pem(path) else None
        )
        for path in (paths or _configured())
    )


def _configured() -> Iterator[Path]:
    value = load_config(config_path()).get("attest", {}).get("key", [])
    for each in [value] if isinstance(value, str) else value:
        if not isinstance(each, str):
            raise UsageError(
                f"key under [attest] of the configuration file is {each!r}; expected a path"
            )
        yield Path(each).expanduser()


def after_verify(
    stored: StoredModel,
    trusted: TrustedManifest,
    report: VerifyReport,
    *,
    quick: bool,
    include: Sequence[str],
    attest: bool,
    keys: Sequence[SigningKey],
    file: Path | None,
    out: Output,
) -> tuple[Attested | None, tuple[Link, ...]]:
    """Look through the attestations beside a model, and leave that of a verification there.

    What keeps one from being written beside the model is said and no error: the verification
    itself has its result. Nothing is attested of a model that was not found right.

    Returns:
        What was made, and how those stand that the receipt listed before.

    Raises:
        StoreError: ``file`` cannot be written.
    """
    from grokdist.transfer.attestations import State, chain, model_subject

    receipt = stored.receipt
    if receipt is not None and not _of(receipt, trusted):
        receipt = None  # that of another model, which a manifest file was held against
    why, subject = "", None
    try:
        subject = model_subject(trusted.manifest, stored.directory)
    except GrokdistError as error:
        why = str(error)
    links = () if receipt is None else chain(stored.directory, receipt, subject)
    for link in links:
        if link.state is not State.INTACT:
            out.warning(f"attestation {link.listed.path} is {link.state}: {link.fault}")
    if not (report.ok and (attest or file is not None)):
        return None, links
    if subject is None:
        out.note(f"not attested: {why}")
        return None, links
    checked = checked_by(report, trusted.manifest, quick=quick, include=include)
    statement = verification(trusted, subject, checked)
    made = None if file is None else write(statement, keys, file)
    if not attest:
        return made, links
    if receipt is None:
        if file is None:
            out.note("not attested: no receipt could list it (--attestation FILE writes one)")
        return made, links
    try:
        made = keep_beside(stored.directory, statement, keys, stem=stem_of(checked))
    except (OSError, GrokdistError) as error:
        (out.warning if keys else out.note)(f"not attested beside the model: {error}")
    return made, links


def attest_fetched(
    trusted: TrustedManifest,
    result: FetchResult,
    *,
    again: bool,
    keys: Sequence[SigningKey],
    out: Output,
) -> Attested | None:
    """Leave the result of a fetch beside the model; what keeps it from that is said.

    Args:
        trusted: what the files were held against.
        result: what was fetched.
        again: attest also where nothing came, and an earlier verification is listed.
        keys: to sign with; with any, it is always attested.
        out: where to say it.
    """
    from grokdist.transfer.attestations import model_subject
    from grokdist.trust.attestations.kinds import SVR
    from grokdist.trust.attestations.svr import Checked, Mode, Policy

    receipt = result.receipt
    listed = any(each.predicate_type == SVR for each in receipt.attestations)
    if listed and not (keys or again or result.fetched_bytes):
        return None  # nothing has happened since that one
    checked = Checked(
        mode=Mode.ON_ARRIVAL,
        files=result.files,
        of_files=len(trusted.manifest.files),
        bytes=result.size,
        of_bytes=trusted.manifest.size,
    )
    decided = receipt.policy
    try:
        statement = verification(
            trusted,
            model_subject(trusted.manifest, result.directory),
            checked,
            policies=[
                Policy(name="policy file", sha256=each)
                for each in (() if decided is None else decided.policies)
            ],
            properties=policy_properties(None if decided is None else decided.outcome),
        )
        made = keep_beside(result.directory, statement, keys, stem=stem_of(checked))
    except (OSError, GrokdistError) as error:
        (out.warning if keys else out.note)(f"not attested: {error}")
        return None
    out.note(made.text())
    return made


def keep_beside(
    directory: Path, statement: Statement, keys: Sequence[SigningKey], *, stem: str
) -> Attested:
    """Seal a statement and keep it beside a fetched model, listed in its receipt.

    Raises:
        StoreError, TrustError: as ``grokdist.transfer.attestations.keep``.
    """
    from grokdist.transfer.attestations import keep
    from grokdist.trust.attestations.envelopes import seal

    envelope = seal(statement, keys)
    listed = keep(directory, stem, envelope, predicate_type=statement.predicate_type)
    return Attested(
        statement=statement,
        envelope=envelope,
        path=directory / listed.path,
        sha256=listed.sha256,
    )


def write(statement: Statement, keys: Sequence[SigningKey], file: Path) -> Attested:
    """Seal a statement and write it to a file of the user's choice, in one step.

    Raises:
        StoreError: it cannot be written.
    """
    import hashlib

    from grokdist.transfer.attestations import encode
    from grokdist.transfer.tree import ModelTree
    from grokdist.trust.attestations.envelopes import seal

    envelope = seal(statement, keys)
    data = encode(envelope)
    with ModelTree.create(file.parent) as tree:
        tree.write_small(file.name, data)
    return Attested(
        statement=statement,
        envelope=envelope,
        path=file,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def link_document(link: Link) -> dict[str, Any]:
    """One attestation of a receipt, as ``--json`` prints it."""
    signatures = link.envelope.signatures if link.envelope is not None else ()
    return {
        "path": link.listed.path,
        "predicate_type": link.listed.predicate_type,
        "sha256": link.listed.sha256,
        "state": str(link.state),
        "fault": link.fault,
        "signed": bool(signatures),
        "keyids": [each.keyid for each in signatures],
        "properties": list(link.result.properties) if link.result is not None else [],
    }


def _of(receipt: Receipt, trusted: TrustedManifest) -> bool:
    manifest = trusted.manifest
    return (receipt.model, receipt.revision) == (manifest.name, manifest.revision)


def target(
    model: str, manifest_file: Path | None, out: Output, *, strict_freshness: bool
) -> tuple[TrustedManifest, StoredModel | None]:
    """The manifest of a model, and where it is; a model of the catalog need not be here."""
    from grokdist.api.lookup import manifest_of, stored_model, trusted_manifest

    try:
        stored = stored_model(model)
    except NotFetchedError:
        name = model.partition("@")[0]
        trusted = trusted_manifest(name, manifest_file, out, strict_freshness=strict_freshness)
        return trusted, None
    return manifest_of(stored, manifest_file, out, strict_freshness=strict_freshness), stored
