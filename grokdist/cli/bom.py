"""``grokdist bom``: a model's bill of materials, signed if wanted; or what one lacks."""

from __future__ import annotations

import json as json_format
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, options
from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.errors import DigestMismatchError, NotFetchedError, TrustError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.policy.bom.facts import ModelFacts
    from grokdist.transfer.store import StoredModel
    from grokdist.trust.dsse import Envelope


class Format(StrEnum):
    """The formats that ``--format`` takes."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


class Check(StrEnum):
    """The lists that ``--check`` takes."""

    G7 = "g7"


def bom(
    model: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.model_names,
            help="Name of a model, or the directory of a fetched one.",
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="Which format to write.")] = Format.CYCLONEDX,
    spec_version: Annotated[
        str | None, typer.Option(metavar="V", help="CycloneDX: 1.6 (default) or 1.7; SPDX: 3.0.1.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    author: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who makes this document: you, not grokdist.")
    ] = None,
    sign: Annotated[
        list[Path] | None,
        typer.Option(
            "--sign", metavar="PEM", help="Sign it: an in-toto statement on the model's root."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the fetched files again first.")
    ] = False,
    check: Annotated[
        Check | None, typer.Option(help="Say which of the G7's minimum elements it has.")
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check this document, of anybody; signed or not."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PEM", help="Public key that must have signed --input."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Read this manifest file instead of the catalog.")
    ] = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a model's bill of materials, or check one for the G7's minimum elements."""
    from grokdist.policy.bom.facts import facts_of

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if input is not None:
        _refuse_beside_input(check, model=model, output=output, sign=sign, verify=verify)
        from grokdist.cli.bom_check import check_file

        check_file(input, key or (), out)
        return
    if model is None:
        raise UsageError("bom needs a model; expected its name or directory, or --input FILE")
    if key:
        raise UsageError("--key says who must have signed --input; expected --sign to sign with")
    trusted, stored = _target(model, manifest, out, strict_freshness=strict_freshness)
    receipt = None if stored is None else stored.receipt
    now = _verified(model, trusted, stored, out) if verify else None
    facts = facts_of(trusted, receipt, verified_now=now)
    document = _document(facts, format, spec_version, author)
    envelope = _signed(document, facts, sign) if sign else None
    if check is not None:
        from grokdist.cli.bom_check import show_check

        if output is not None:
            _write(output, document, envelope)
        by = None if envelope is None else _signers(envelope)
        show_check(document, out, model=facts.name, signature=by)
        return
    if output is None:
        shown = document if envelope is None else envelope.document()
        out.result(shown, json_format.dumps(shown, indent=2, ensure_ascii=False))
        return
    size = _write(output, document, envelope)
    out.result(
        {
            "model": facts.name,
            "revision": facts.revision,
            "format": str(format),
            "spec_version": _version(format, spec_version),
            "output": str(output),
            "bytes": size,
            "files": len(facts.files),
            "verified_files": facts.verified_files,
            "verified_at": facts.verified_at,
            "root_digest": facts.root,
            "signed": envelope is not None,
            "keyids": [] if envelope is None else [each.keyid for each in envelope.signatures],
        },
        _text(facts, format, _version(format, spec_version), output, size, envelope),
    )


def _refuse_beside_input(check: Check | None, **others: object) -> None:
    if check is None:
        raise UsageError("--input is a document to check; expected --check g7 beside it")
    given = [name for name, value in others.items() if value]
    if given:
        what = "model" if given[0] == "model" else f"--{given[0]}"
        raise UsageError(f"--input is checked as it is; expected no {what} beside it")


def _target(
    model: str, manifest: Path | None, out: Output, *, strict_freshness: bool
) -> tuple[TrustedManifest, StoredModel | None]:
    """The manifest of a model, and where it is; a model of the catalog need not be here."""
    from grokdist.api.lookup import manifest_of, stored_model, trusted_manifest

    try:
        stored = stored_model(model)
    except NotFetchedError:
        if "/" in model or Path(model).exists():
            raise
        name = model.partition("@")[0]
        return trusted_manifest(name, manifest, out, strict_freshness=strict_freshness), None
    return manifest_of(stored, manifest, out, strict_freshness=strict_freshness), stored


def _verified(model: str, trusted: TrustedManifest, stored: StoredModel | None, out: Output) -> str:
    """The time of a verification of what the receipt lists, done just now.

    Raises:
        NotFetchedError: the model is not here.
        DigestMismatchError: its files are not those of the manifest.
    """
    from datetime import UTC, datetime

    from grokdist.cli.progress import showing
    from grokdist.transfer.verify import verify

    if stored is None or stored.receipt is None:
        raise NotFetchedError(
            f"{model} is not here to be verified; expected a fetched model",
            hint=f"grokdist fetch {model}",
        )
    with showing(out) as progress:
        report = verify(
            stored.directory, trusted.manifest, receipt=stored.receipt, progress=progress
        )
    if not report.ok:
        raise DigestMismatchError(
            f"{stored.directory} is not what its manifest says:"
            f" {count_text(len(report.missing), 'file')} missing,"
            f" {len(report.mismatched)} mismatched, {len(report.extra)} extra",
            hint=f"grokdist verify {model}",
        )
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(format: Format, asked: str | None) -> str:
    """The version of the format to write.

    Raises:
        UsageError: it is not one that is written.
    """
    from grokdist.policy.bom import cyclonedx, spdx

    known = cyclonedx.SPEC_VERSIONS if format is Format.CYCLONEDX else (spdx.SPEC_VERSION,)
    version = asked or known[0]
    if version not in known:
        raise UsageError(f"--spec-version {version[:20]!a}; expected {' or '.join(known)}")
    return version


def _document(
    facts: ModelFacts, format: Format, spec_version: str | None, author: str | None
) -> dict[str, Any]:
    from grokdist.policy.bom.cyclonedx import cyclonedx_document
    from grokdist.policy.bom.moment import moment
    from grokdist.policy.bom.spdx import spdx_document

    version = _version(format, spec_version)
    if author is not None and not (author.isprintable() and 0 < len(author) <= 200):
        raise UsageError(f"--author {author[:40]!a}; expected a name of 1 to 200 printable letters")
    if format is Format.SPDX:
        return spdx_document(facts, created=moment(), author=author)
    return cyclonedx_document(facts, created=moment(), author=author, spec_version=version)


def _signed(document: dict[str, Any], facts: ModelFacts, keys: list[Path]) -> Envelope:
    """The document in an envelope, its subject the model's root digest.

    Raises:
        TrustError: the root digest is not known, so nothing binds the document to bytes.
        UsageError: a key cannot be read.
    """
    from grokdist.cli.attesting import signing_keys
    from grokdist.trust.attestations.bom import bom_statement
    from grokdist.trust.attestations.envelopes import seal
    from grokdist.trust.statement import Subject

    if facts.root is None:
        raise TrustError(
            f"the SHA-256 of some files of {facts.name} is not known, so no root digest binds the"
            " document to the model's bytes; expected a fetched model",
            hint=f"grokdist fetch {facts.name}",
        )
    subject = Subject(name=f"{facts.name}@{facts.revision}", sha256=facts.root)
    return seal(bom_statement(document, subject), signing_keys(keys))


def _write(file: Path, document: dict[str, Any], envelope: Envelope | None) -> int:
    """Write the document, or its envelope, in one step; bytes written."""
    from grokdist.transfer.attestations import encode
    from grokdist.transfer.tree import ModelTree

    if envelope is not None:
        data = encode(envelope)
    else:
        data = json_format.dumps(document, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"
    with ModelTree.create(file.parent) as tree:
        tree.write_small(file.name, data)
    return len(data)


def _signers(envelope: Envelope) -> str:
    by = " and ".join(each.keyid[:16] for each in envelope.signatures)
    return f"DSSE, signed here by key {by}"


def _text(
    facts: ModelFacts,
    format: Format,
    version: str,
    output: Path,
    size: int,
    envelope: Envelope | None,
) -> str:
    name = {Format.CYCLONEDX: "CycloneDX", Format.SPDX: "SPDX"}[format]
    lines = [
        f"{output}: {name} {version} of {facts.name}, {count_text(len(facts.files), 'file')},"
        f" {bytes_text(size)}",
        facts.verification,
        f"root digest sha256:{facts.root}"
        if facts.root
        else "no root digest: the SHA-256 of some files is not known",
    ]
    lines += [_signers(envelope)] if envelope is not None else []
    return "\n".join(lines)
