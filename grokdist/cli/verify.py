"""``grokdist verify``: prove again, offline, that a model is what its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import attesting, completion, options, verify_signature
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, duration_text, plain_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokdist.catalog.manifest import Manifest, TrustedManifest
    from grokdist.transfer.findings import CheckedRange, Mismatch, Sampled, VerifyReport

_SHOWN = 20
_RANGES_SHOWN = 3


def verify(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.fetched_names,
            help="Name of a fetched model, or its directory.",
        ),
    ],
    manifest: Annotated[
        Path | None, typer.Option(help="Verify against this manifest file; its signer is you.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only the files whose path matches this pattern.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Trust files unchanged (size, times, inode) since hashed."),
    ] = False,
    range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="[PATH:]START-[END]",
            help="Only these bytes of one file, END not among them, by its tree.",
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="N|P%", help="Only so many 16 KiB blocks, drawn at random, by the trees."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draw the sample of this number again.")
    ] = None,
    trees: Annotated[
        bool, typer.Option("--trees", help="Build the trees that are absent while hashing.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Files hashed at once.")] = None,
    attest: attesting.Attest = True,
    attest_key: attesting.AttestKey = None,
    attestation: Annotated[
        Path | None, typer.Option(help="Write the attestation to this file too.")
    ] = None,
    signature: verify_signature.SignatureFile = None,
    key: verify_signature.Keys = None,
    threshold: verify_signature.Threshold = None,
    certificate_root: verify_signature.CertificateRoot = None,
    trusted_root: verify_signature.TrustedRoot = None,
    identity: verify_signature.Identity = None,
    identity_provider: verify_signature.IdentityProvider = None,
    ignore_missing: verify_signature.IgnoreMissing = False,
    ignore_unsigned_files: verify_signature.IgnoreUnsigned = False,
    ignore: verify_signature.Ignore = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Hash a model again and compare it with its signed manifest or a signature, offline."""
    from grokdist.api.lookup import fetching, manifest_of, stored_model
    from grokdist.cli.progress import showing

    _refuse_together(quick=quick, range=range, sample=sample, trees=trees)
    if seed is not None and sample is None:
        raise UsageError("--seed draws a sample again; expected --sample beside it")
    out = Output(json=json, quiet=quiet, verbose=verbose)
    whose = verify_signature.SignatureFlags(
        keys=key or (),
        threshold=threshold,
        certificate_roots=certificate_root or (),
        trusted_root=trusted_root,
        identity=identity,
        identity_provider=identity_provider,
        ignore_missing=ignore_missing,
        ignore_unsigned=ignore_unsigned_files,
        ignore=ignore or (),
    )
    keys = attesting.signing_keys(attest_key) if attest or attestation else ()
    if signature is not None:
        _refuse_together(
            signature=signature,
            manifest=manifest,
            quick=quick,
            sample=sample,
            trees=trees,
        )
        verify_signature.verify_signature(
            model,
            signature,
            whose,
            out,
            include=include or (),
            range=range,
            jobs=jobs,
            attest=attestation,
            attest_keys=keys,
        )
        return
    whose.refuse_without_signature()
    stored = stored_model(model)
    trusted = manifest_of(stored, manifest, out, strict_freshness=strict_freshness)
    files = trusted.manifest
    # With a manifest of the user's own, a receipt does not say what may be absent.
    receipt = None if manifest is not None else stored.receipt
    where = None if range is None else _range(range, files, include or ())
    with showing(out) as progress:
        if where is not None:
            from grokdist.transfer.spot_check import verify_range

            report = verify_range(
                stored.directory, files, *where, receipt=receipt, progress=progress
            )
        elif sample is not None:
            from grokdist.transfer.sampling import SampleSize
            from grokdist.transfer.spot_check import verify_sample

            report = verify_sample(
                stored.directory,
                files,
                SampleSize.parse(sample),
                seed=seed,
                receipt=receipt,
                include=include or (),
                jobs=jobs,
                progress=progress,
            )
        else:
            from grokdist.transfer.verify import verify as verify_all

            report = verify_all(
                stored.directory,
                files,
                receipt=receipt,
                include=include or (),
                quick=quick,
                trees=trees,
                jobs=jobs,
                progress=progress,
            )
    if not report.ok and (holder := fetching(stored.directory)) is not None:
        out.warning(
            f"{holder} is fetching into {stored.directory}: what is missing may be on its way"
        )
    attested, listed = attesting.after_verify(
        stored,
        trusted,
        report,
        quick=quick,
        include=include or (),
        attest=attest,
        keys=keys,
        file=attestation,
        out=out,
    )
    out.result(
        {
            **document(report),
            "attestation": None if attested is None else attested.document(),
            "attestations": [attesting.link_document(link) for link in listed],
        },
        text(report, trusted, stored.directory)
        + ("" if attested is None else f"\n{attested.text()}"),
    )
    if not report.ok:
        raise typer.Exit(ExitCode.DIGEST)


def _refuse_together(**flags: object) -> None:
    """At most one of the ways to verify."""
    given = [f"--{name}" for name, value in flags.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} do not go together; expected one of them")


def _range(text: str, manifest: Manifest, include: Sequence[str]) -> tuple[str, int, int | None]:
    """Path, first byte, and the byte after the last or None, of ``--range``."""
    from grokdist.cli.byte_range import parse_range
    from grokdist.transfer.plan import select

    path, start, end = parse_range(text)
    if path is None:
        chosen = select(manifest.files, include)
        if len(chosen) != 1:
            raise UsageError(
                f"--range {text} would be of {count_text(len(chosen), 'file')}; expected one",
                hint=f"--range PATH:{text}, or one file by --include",
            )
        path = chosen[0].path
    elif include:
        raise UsageError(f"--range {text!r} names its file; expected no --include beside it")
    return path, start, end


def document(report: VerifyReport) -> dict[str, Any]:
    """What ``--json`` prints."""
    result: dict[str, Any] = {
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "missing": list(report.missing),
        "mismatched": [mismatch_document(each) for each in report.mismatched],
        "extra": list(report.extra),
        "trees": report.trees,
    }
    if (sampled := report.sampled) is not None:
        result["sampled"] = {
            "seed": sampled.seed,
            "blocks": sampled.blocks,
            "of_blocks": sampled.of_blocks,
            "ranges": sampled.ranges,
            "files": sampled.files,
            "unsigned": sampled.unsigned,
            "without_tree": list(sampled.without_tree),
        }
        result["confidence"] = {
            "bad": 0.01,
            "missed": sampled.missed_at_1_percent,
            "statement": confidence(sampled),
        }
    if (checked := report.range) is not None:
        result["range"] = {
            "path": checked.path,
            "start": checked.start,
            "end": checked.end,
            "root": checked.root,
            "signed": checked.signed,
        }
    return result


def faults(report: VerifyReport) -> list[str]:
    """One line for each file that is missing, not right or not listed."""
    lines = [f"missing: {path}" for path in report.missing]
    lines += [_mismatch(each) for each in report.mismatched]
    # Extra names come from the folder, not from a manifest whose paths were checked.
    lines += [f"extra: {plain_text(path)}" for path in report.extra]
    return lines


def mismatch_document(each: Mismatch) -> dict[str, Any]:
    """A file that is not right, as ``--json`` prints it."""
    return {
        "path": each.path,
        "expected": each.expected,
        "got": each.got,
        "ranges": [list(bounds) for bounds in each.ranges],
    }


def _mismatch(each: Mismatch) -> str:
    line = f"mismatched: {each.path}: expected {each.expected}, got {each.got}"
    if not each.ranges:
        return line
    shown = ", ".join(f"{start}-{end}" for start, end in each.ranges[:_RANGES_SHOWN])
    more = len(each.ranges) - _RANGES_SHOWN
    damaged = bytes_text(sum(end - start for start, end in each.ranges))
    return f"{line}; damaged: bytes {shown}{f' and {more} more' if more > 0 else ''} ({damaged})"


def confidence(sampled: Sampled) -> str:
    """What a sample without damage says, in a sentence."""
    if sampled.blocks == sampled.of_blocks:
        return "every block of the files that have a tree was read"
    missed = sampled.missed_at_1_percent
    return (
        f"if 1 % of the blocks were bad, this sample would miss them with probability {missed:.2g}"
    )


def text(report: VerifyReport, trusted: TrustedManifest, directory: Path) -> str:
    """What a person reads."""
    name = trusted.manifest.name
    checked = f"{count_text(report.files, 'file')}, {bytes_text(report.bytes)}"
    if report.ok:
        return "\n".join(_right(report, trusted, checked, directory))
    found = faults(report)
    more = [f"... and {len(found) - _SHOWN} more (--json lists all)"] if len(found) > _SHOWN else []
    faulty = count_text(len(found), "fault")
    if report.sampled is None and report.range is None:
        rest = f"{checked} right"
    else:
        rest = f"in {bytes_text(report.bytes)} that were read"
    summary = f"{name} is NOT what its manifest says: {faulty}, {rest}"
    remedy = []
    if report.missing or report.mismatched:
        remedy.append(f"repair: grokdist fetch {name} --repair --dir {directory}")
    if report.extra:
        remedy.append("the manifest does not list what is extra: take it out of the directory")
    return "\n".join([summary, *found[:_SHOWN], *more, *remedy])


def _right(
    report: VerifyReport, trusted: TrustedManifest, checked: str, directory: Path
) -> list[str]:
    from grokdist.api.lookup import signature_text
    from grokdist.policy.notice import notice

    name = trusted.manifest.name
    took = duration_text(report.seconds)
    vouched = f"vouched for by {signature_text(trusted)}"
    if report.range is not None:
        return _range_right(report.range, name, took, vouched)
    if report.sampled is not None:
        return _sample_right(report.sampled, name, checked, took, vouched)
    lines = [f"{name} verified: {checked} in {took}, {directory}", vouched]
    if report.trees:
        lines.append(f"built {count_text(report.trees, 'tree')}; the receipt notes their roots")
    if report.treeless:
        lines.append(f"{count_text(len(report.treeless), 'tree')} could not be kept")
    return [*lines, notice(trusted.manifest)]


def _range_right(checked: CheckedRange, name: str, took: str, vouched: str) -> list[str]:
    return [
        f"{name}: bytes {checked.start} to {checked.end} of {checked.path} are right"
        f" ({took}); nothing else was read",
        f"tree root {checked.root[:16]}: "
        + (vouched if checked.signed else "noted in the receipt, which nobody signed"),
    ]


def _sample_right(sampled: Sampled, name: str, checked: str, took: str, vouched: str) -> list[str]:
    lines = [
        f"{name} sampled, not verified: {sampled.blocks:,} of {sampled.of_blocks:,} blocks are"
        f" right ({checked} in {took}; --seed {sampled.seed} draws them again)",
        confidence(sampled),
    ]
    if sampled.unsigned < sampled.files:
        lines.append(f"{count_text(sampled.files - sampled.unsigned, 'file')} {vouched}")
    if sampled.unsigned:
        lines.append(
            f"{count_text(sampled.unsigned, 'file')} held against roots in the receipt, which"
            " nobody signed: that finds accidents, not adversaries"
        )
    if sampled.without_tree:
        lines.append(
            f"{count_text(len(sampled.without_tree), 'file')} without a tree: only size was checked"
            f" (grokdist verify {name} --trees builds them)"
        )
    return lines
