"""``grokdist policy check | show``: what the policies that bind here make of a model."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.policy.decision import Decision, Finding
    from grokdist.policy.policy_file import Policy

Files = Annotated[
    list[Path] | None,
    typer.Option("--policy", help="This policy file instead of those that bind here."),
]


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="See which policies bind here, and what they make of a model.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("check")(reported(check))
    group.command("show")(reported(show))
    return group


def check(
    model: Annotated[
        list[str],
        typer.Argument(
            autocompletion=completion.model_names,
            help="Names of models in the catalog, or their directories.",
        ),
    ],
    policy: Files = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Decide on this manifest file instead of the catalog's.")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="Write the findings as SARIF 2.1.0; - for stdout.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what the policies that bind here make of models; exit 12 where one refuses."""
    from grokdist.api.obey import binding_policies, decisions_on
    from grokdist.policy.decision import Outcome
    from grokdist.policy.sarif import sarif_log
    from grokdist.whole_file import write_whole

    if manifest is not None and len(model) > 1:
        raise UsageError(f"--manifest is of one model; got {len(model)} names")
    to_stdout = sarif is not None and str(sarif) == "-"
    if json and to_stdout:
        raise UsageError("--json and --sarif - both want stdout; expected one of them")
    out = Output(json=json, quiet=quiet, verbose=verbose)
    policies = binding_policies(policy or ())
    if not policies:
        raise UsageError(
            "no policy binds here; expected a policy file to check against",
            hint="grokdist policy show says where policies are looked for",
        )
    decided: list[tuple[TrustedManifest, tuple[Decision, ...]]] = []
    for name in model:
        trusted, sources, directory = _case(name, manifest, out)
        decisions = decisions_on(policies, trusted, sources=sources, directory=directory)
        decided.append((trusted, decisions))
    log = sarif_log(((trusted.manifest, found) for trusted, found in decided), base=Path.cwd())
    text = "\n\n".join(_text(trusted, found) for trusted, found in decided)
    sarif_text = json_module.dumps(log, indent=2)
    if to_stdout:
        out.result({}, sarif_text)
    else:
        if sarif is not None:
            write_whole(sarif, f"{sarif_text}\n".encode())
        out.result({"models": [_document(trusted, found) for trusted, found in decided]}, text)
    if any(d.outcome is Outcome.REFUSED for _, decisions in decided for d in decisions):
        raise typer.Exit(ExitCode.POLICY)


def show(
    policy: Files = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the policies that bind here, and where others would be found."""
    from grokdist.api.obey import binding_policies
    from grokdist.settings import PROJECT_POLICY, policy_paths

    out = Output(json=json, quiet=quiet, verbose=verbose)
    policies = binding_policies(policy or ())
    looked = [str(path) for path in policy_paths()]
    lines = [_policy_text(each) for each in policies] or ["no policy binds here"]
    lines.append(f"looked for: {', '.join(looked)}, and {PROJECT_POLICY} here or above")
    out.result(
        {
            "policies": [
                {
                    "path": str(each.path),
                    "sha256": each.sha256,
                    "mode": str(each.mode),
                    "exceptions": [
                        {
                            "model": exemption.model,
                            "rules": sorted(exemption.rules),
                            "reason": exemption.reason,
                            "expires": exemption.expires.isoformat(),
                        }
                        for exemption in each.exemptions
                    ],
                }
                for each in policies
            ],
            "looked_for": looked,
        },
        "\n".join(lines),
    )


def _case(
    name: str, manifest: Path | None, out: Output
) -> tuple[TrustedManifest, tuple[str, ...], Path | None]:
    """The manifest of a name or directory; where its files are, and where they came from."""
    from grokdist.api.lookup import manifest_of, stored_model, trusted_manifest
    from grokdist.errors import NotFetchedError

    try:
        stored = stored_model(name)
    except NotFetchedError:
        return trusted_manifest(name, manifest, out), (), None
    sources = tuple(stored.receipt.source_bytes) if stored.receipt is not None else ()
    return manifest_of(stored, manifest, out), sources, stored.directory


def _document(trusted: TrustedManifest, decisions: tuple[Decision, ...]) -> dict[str, Any]:
    return {
        "model": trusted.manifest.name,
        "revision": trusted.manifest.revision,
        "allowed": all(str(each.outcome) != "refused" for each in decisions),
        "decisions": [
            {
                "policy": str(each.policy.path),
                "sha256": each.policy.sha256,
                "mode": str(each.policy.mode),
                "outcome": str(each.outcome),
                "findings": [
                    {
                        "rule": str(finding.rule),
                        "message": finding.message,
                        "exception": finding.exemption.reason if finding.exemption else None,
                        "expires": finding.exemption.expires.isoformat()
                        if finding.exemption
                        else None,
                    }
                    for finding in each.findings
                ],
            }
            for each in decisions
        ],
    }


def _text(trusted: TrustedManifest, decisions: tuple[Decision, ...]) -> str:
    lines = []
    for each in decisions:
        lines.append(f"{trusted.manifest.name}: {each.outcome} by {each.policy.path}")
        lines += [f"  {finding.rule:<20} {_finding_text(finding)}" for finding in each.findings]
    return "\n".join(lines)


def _finding_text(finding: Finding) -> str:
    if finding.exemption is not None:
        until = finding.exemption.expires
        return f"{finding.message} (excepted until {until}: {finding.exemption.reason})"
    if finding.lapsed is not None:
        return f"{finding.message} (its exception expired on {finding.lapsed.expires})"
    return finding.message


def _policy_text(policy: Policy) -> str:
    count = len(policy.exemptions)
    exceptions = f", {count} exception{'s' * (count != 1)}" if count else ""
    return f"{policy.path}: {policy.mode}{exceptions}; sha256 {policy.sha256}"
