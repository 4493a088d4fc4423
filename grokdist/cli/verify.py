"""``grokdist verify``: prove again, offline, that a model is what its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, duration_text
from grokdist.cli.output import Output

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.verify import VerifyReport

_SHOWN = 20


def verify(
    model: Annotated[str, typer.Argument(help="Name of a fetched model, or its directory.")],
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
    jobs: Annotated[int | None, typer.Option(min=1, help="Files hashed at once.")] = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Hash a model again and compare it with its signed manifest, offline."""
    from grokdist.cli.lookup import manifest_of, stored_model
    from grokdist.cli.progress import showing
    from grokdist.transfer.verify import verify as check

    out = Output(json=json, quiet=quiet, verbose=verbose)
    stored = stored_model(model)
    trusted = manifest_of(stored, manifest, out, strict_freshness=strict_freshness)
    with showing(out) as progress:
        report = check(
            stored.directory,
            trusted.manifest,
            receipt=None if manifest is not None else stored.receipt,
            include=include or (),
            quick=quick,
            jobs=jobs,
            progress=progress,
        )
    out.result(document(report), text(report, trusted, stored.directory))
    if not report.ok:
        raise typer.Exit(ExitCode.DIGEST)


def document(report: VerifyReport) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "missing": list(report.missing),
        "mismatched": [
            {"path": each.path, "expected": each.expected, "got": each.got}
            for each in report.mismatched
        ],
        "extra": list(report.extra),
    }


def faults(report: VerifyReport) -> list[str]:
    """One line for each file that is missing, not right or not listed."""
    lines = [f"missing: {path}" for path in report.missing]
    lines += [
        f"mismatched: {m.path}: expected {m.expected}, got {m.got}" for m in report.mismatched
    ]
    lines += [f"extra: {path}" for path in report.extra]
    return lines


def text(report: VerifyReport, trusted: TrustedManifest, directory: Path) -> str:
    """What a person reads."""
    from grokdist.cli.lookup import signature_text
    from grokdist.policy.notice import notice

    name = trusted.manifest.name
    checked = f"{count_text(report.files, 'file')}, {bytes_text(report.bytes)}"
    if report.ok:
        return (
            f"{name} verified: {checked} in {duration_text(report.seconds)}, {directory}\n"
            f"vouched for by {signature_text(trusted)}\n{notice(trusted.manifest)}"
        )
    found = faults(report)
    more = [f"... and {len(found) - _SHOWN} more (--json lists all)"] if len(found) > _SHOWN else []
    faulty = count_text(len(found), "fault")
    summary = f"{name} is NOT what its manifest says: {faulty}, {checked} right"
    remedy = []
    if report.missing or report.mismatched:
        remedy.append(f"repair: grokdist fetch {name} --repair --dir {directory}")
    if report.extra:
        remedy.append("the manifest does not list what is extra: take it out of the directory")
    return "\n".join([summary, *found[:_SHOWN], *more, *remedy])
