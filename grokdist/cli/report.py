"""``grokdist report``: licence, openness and provenance of a model as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import completion, options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.policy.report import Report


def report(
    model: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.model_names,
            help="Name of a model, or the directory of a fetched one.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page to this file.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the files that are here again first.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Files hashed at once.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Go by this manifest file; its signer is you.")
    ] = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Report a model's licence, openness, evidence and files as one page to read and print."""
    from grokdist.cli.report_facts import gather
    from grokdist.policy.bom.moment import moment
    from grokdist.policy.report import make_report, report_document

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if model is None and manifest is None:
        raise UsageError(
            "report needs a model; expected its name or directory, or --manifest FILE",
            hint="grokdist report grok-1 --html report.html",
        )
    if jobs is not None and not verify:
        raise UsageError("--jobs is about hashing; expected --verify beside it")
    made = moment()
    found = gather(
        model, manifest, out, verify=verify, jobs=jobs, strict_freshness=strict_freshness
    )
    made_of = make_report(found.trusted, found.held, target=found.target, made=made)
    if html is not None:
        from grokdist.policy.report_html import report_page
        from grokdist.whole_file import write_whole

        write_whole(html, report_page(made_of).encode("utf-8"))
        out.note(f"wrote {html}")
    out.result(
        {**report_document(made_of), "html": None if html is None else str(html)}, text(made_of)
    )
    if found.faulty:
        raise typer.Exit(ExitCode.DIGEST)


def text(report: Report) -> str:
    """What a person reads: the notice first, then what was checked, then what was not."""
    manifest, chain = report.manifest, report.chain
    lines = [
        manifest.summary,
        "",
        f"{manifest.title} by {manifest.publisher}: {manifest.license.name}",
        f"evidence: {chain.checked} of {len(chain.links)} links checked",
    ]
    lines += [
        f"  {chain.stations[at].name} -> {chain.stations[at + 1].name}: {link.check}"
        for at, link in enumerate(chain.links)
    ]
    if report.held.files:
        states = ", ".join(f"{n:,} {state}" for state, n in report.held.counts.items() if n)
        lines.append(f"files: {states}")
    lines += ["", "not checked:"]
    lines += [f"  {each.says}" for each in report.unchecked]
    return "\n".join(lines)
