"""``grokdist attest verify`` and ``attest list``: judge attestations, one's own and others'."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, options
from grokdist.cli.attesting import ManifestFile, target
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.output import Output
from grokdist.errors import TrustError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.attestations import Link
    from grokdist.trust.attestations.judgement import Expected, Judged
    from grokdist.trust.dsse import Envelope
    from grokdist.trust.keys import VerifyingKey
    from grokdist.trust.statement import Subject

VerifyingKeys = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="PEM", help="Public key of somebody whose word counts."),
]
Threshold = Annotated[int, typer.Option(min=1, help="How many of the keys must have signed.")]


def verify(
    file: Annotated[Path, typer.Argument(help="A DSSE envelope, or a bundle of them (.jsonl).")],
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.fetched_names,
            help="The model that it has to be about: name or directory.",
        ),
    ] = None,
    key: VerifyingKeys = None,
    threshold: Threshold = 1,
    type: Annotated[
        str | None, typer.Option(metavar="URI", help="The type it has to be of, or its name.")
    ] = None,
    max_age: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="The oldest that it may be.")
    ] = None,
    manifest: ManifestFile = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Judge an attestation: its signatures, type, subject and times."""
    from grokdist.cli.attest_verification import now
    from grokdist.transfer.attestations import model_subject
    from grokdist.trust.attestations.envelopes import read_attestations
    from grokdist.trust.attestations.judgement import Expected
    from grokdist.trust.attestations.kinds import parse_predicate_type

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if manifest is not None and model is None:
        raise UsageError("--manifest says what a model is; expected --model beside it")
    keys = _verifying_keys(key)
    expected_type = None if type is None else parse_predicate_type(type)
    envelopes = read_attestations(file)
    trusted = subject = None
    if model is not None:
        trusted, stored = target(model, manifest, out, strict_freshness=strict_freshness)
        subject = model_subject(trusted.manifest, None if stored is None else stored.directory)
    expected = Expected(
        keys=keys,
        threshold=threshold,
        subject=subject,
        predicate_type=expected_type,
        now=now(),
        max_age=None if max_age is None else timedelta(days=max_age),
    )
    held, refused = _judge_all(envelopes, expected)
    if not held:
        first = refused[0][1]
        if len(envelopes) == 1:
            raise TrustError(f"{file}: {first}", hint=first.hint)
        raise TrustError(f"{file}: none of its {len(envelopes)} attestations will do: {first}")
    out.result(
        {
            "ok": True,
            "file": str(file),
            "threshold": threshold,
            "model": None if subject is None else {"name": subject.name, "sha256": subject.sha256},
            "attestations": [_judged_document(each, trusted) for each in held],
            "refused": [{"place": place, "reason": str(error)} for place, error in refused],
        },
        "\n".join(
            [line for each in held for line in _judged_lines(each, expected, trusted)]
            + [f"not counted: attestation {place}: {error}" for place, error in refused]
        ),
    )


def list_attestations(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.fetched_names,
            help="Name of a fetched model, or its directory.",
        ),
    ],
    key: VerifyingKeys = None,
    threshold: Threshold = 1,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the attestations beside a model; one missing or changed since ends in an error."""
    from grokdist.api.lookup import manifest_of, stored_model
    from grokdist.cli.attest_verification import now
    from grokdist.cli.attesting import link_document
    from grokdist.transfer.attestations import State, chain, model_subject
    from grokdist.trust.attestations.judgement import Expected

    out = Output(json=json, quiet=quiet, verbose=verbose)
    stored = stored_model(model)
    trusted = manifest_of(stored, None, out, strict_freshness=strict_freshness)
    subject = model_subject(trusted.manifest, stored.directory)
    found = chain(stored.directory, stored.receipt, subject) if stored.receipt else ()
    expected = (
        Expected(keys=_verifying_keys(key), threshold=threshold, subject=subject, now=now())
        if key
        else None
    )
    verdicts = [_signed(link, expected) for link in found]
    changed = any(link.state in (State.MISSING, State.CHANGED) for link in found)
    refused = any(link.state is State.FOREIGN for link in found) or any(
        reason is not None for reason in verdicts
    )
    out.result(
        {
            "ok": not (changed or refused),
            "model": trusted.manifest.name,
            "dir": str(stored.directory),
            "subject": {"name": subject.name, "sha256": subject.sha256},
            "attestations": [
                {**link_document(link), "refused": reason}
                for link, reason in zip(found, verdicts, strict=True)
            ],
        },
        "\n".join(
            _link_line(link, reason, checked=expected is not None)
            for link, reason in zip(found, verdicts, strict=True)
        )
        or f"{trusted.manifest.name} has no attestation in {stored.directory}",
    )
    if changed or refused:
        raise typer.Exit(ExitCode.DIGEST if changed else ExitCode.TRUST)


def _verifying_keys(paths: list[Path] | None) -> tuple[VerifyingKey, ...]:
    from grokdist.trust.keys import load_verifying_key

    if not paths:
        raise UsageError(
            "an attestation is worth what its signer is; expected --key PEM, a public key you trust"
        )
    return tuple(load_verifying_key(path) for path in paths)


def _judge_all(
    envelopes: tuple[Envelope, ...], expected: Expected
) -> tuple[list[Judged], list[tuple[int, TrustError]]]:
    """The attestations that hold, and the others by their place, from 1, with the reason."""
    from grokdist.trust.attestations.judgement import judge

    held, refused = [], []
    for place, envelope in enumerate(envelopes, 1):
        try:
            held.append(judge(envelope, expected))
        except TrustError as error:
            refused.append((place, error))
    return held, refused


def _manifest_named(judged: Judged, trusted: TrustedManifest | None) -> bool | None:
    """Whether a verification was made under the manifest that counts here; None if not said."""
    if judged.result is None or trusted is None:
        return None
    return trusted.sha256 in judged.result.policies


def _judged_document(judged: Judged, trusted: TrustedManifest | None) -> dict[str, Any]:
    from grokdist.trust.attestations.kinds import name_of
    from grokdist.trust.attestations.times import timestamp

    statement, times, result = judged.statement, judged.times, judged.result
    return {
        "type": name_of(statement.predicate_type),
        "predicate_type": statement.predicate_type,
        "subjects": [{"name": each.name, "sha256": each.sha256} for each in statement.subjects],
        "signers": [key.keyid for key in judged.signers],
        "signatures": list(judged.signatures),
        "created": None if times.created is None else timestamp(times.created),
        "expires": None if times.expires is None else timestamp(times.expires),
        "verifier": None if result is None else result.verifier,
        "properties": [] if result is None else list(result.properties),
        "same_manifest": _manifest_named(judged, trusted),
    }


def _judged_lines(judged: Judged, expected: Expected, trusted: TrustedManifest | None) -> list[str]:
    from grokdist.trust.attestations.times import timestamp

    statement, times, result = judged.statement, judged.times, judged.result
    wanted = expected.subject
    about = wanted.name if wanted else ", ".join(_named(each) for each in statement.subjects[:3])
    more = len(statement.subjects) - 1
    by = " and ".join(f"{key.curve} {key.keyid[:16]}" for key in judged.signers)
    others = judged.signatures.count(None)
    lines = [
        f"attested of {about}{f' (and {more} more subjects)' if more > 0 and wanted else ''}:"
        f" {statement.predicate_type}",
        f"signed by {by} ({len(judged.signers)} of {expected.threshold} required)"
        + (f"; {others} more by keys that were not given" if others else ""),
    ]
    if result is not None:
        lines.append(f"{result.verifier} found: {', '.join(result.properties) or 'nothing'}")
    if _manifest_named(judged, trusted) is False:
        lines.append("made under another manifest than the one that counts here")
    made = "at a time that is not stated" if times.created is None else timestamp(times.created)
    until = "" if times.expires is None else f", holds until {timestamp(times.expires)}"
    lines.append(f"made {made}{until}")
    if wanted is None:
        lines.append("not held against any model: --model MODEL does that")
    return lines


def _named(subject: Subject) -> str:
    return f"{subject.name or 'something unnamed'} ({subject.sha256[:16]}...)"


def _signed(link: Link, expected: Expected | None) -> str | None:
    """Why an intact attestation is refused by the keys given; None where it is not."""
    from grokdist.trust.attestations.judgement import judge

    if expected is None or link.envelope is None:
        return None
    try:
        judge(link.envelope, expected)
    except TrustError as error:
        return str(error)
    return None


def _link_line(link: Link, reason: str | None, *, checked: bool) -> str:
    head = f"{link.state}: {link.listed.path}"
    if link.envelope is None:
        return f"{head}: {link.fault}"
    if reason is not None:
        return f"{head}: refused: {reason}"
    if checked:
        signed = "signed by the keys given"
    else:
        count = len(link.envelope.signatures)
        signed = f"{count} signatures, not judged without --key" if count else "UNSIGNED"
    said = f"; {', '.join(link.result.properties)}" if link.result is not None else ""
    return f"{head} ({signed}){said}"
