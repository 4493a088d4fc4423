"""``grokdist openness``: the Model Openness Framework's verdict, component by component."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import options
from grokdist.cli.output import Output

if TYPE_CHECKING:
    from grokdist.policy.mof import ComponentVerdict

_ROMAN = {1: "I", 2: "II", 3: "III"}


def openness(
    model: Annotated[str, typer.Argument(help="Name of a model in the catalog.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Read this manifest file instead of the catalog.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Rate a model by the Model Openness Framework, with reasons."""
    from grokdist.cli.lookup import trusted_manifest
    from grokdist.cli.show import openness_line
    from grokdist.policy.mof import evaluate
    from grokdist.policy.notice import notice

    out = Output(json=json, quiet=quiet, verbose=verbose)
    trusted = trusted_manifest(model, manifest, out)
    result = evaluate(trusted.manifest)
    lines = [notice(trusted.manifest), openness_line(result), ""]
    lines += [_line(verdict) for verdict in result.components]
    if result.warnings:
        lines += ["", *(f"note: {warning}" for warning in result.warnings)]
    out.result(
        {
            "model": trusted.manifest.name,
            "class": result.class_number,
            "class_label": result.class_label,
            "percentages": {str(number): value for number, value in result.percentages.items()},
            "included": {str(number): value for number, value in result.included.items()},
            "required": {str(number): value for number, value in result.required.items()},
            "components": [
                {
                    "name": verdict.component.name,
                    "class": verdict.component.mof_class,
                    "required": verdict.component.required,
                    "verdict": str(verdict.verdict),
                    "license": verdict.license,
                    "availability": str(verdict.availability) if verdict.availability else None,
                    "note": verdict.note,
                }
                for verdict in result.components
            ],
            "warnings": list(result.warnings),
        },
        "\n".join(lines),
    )


def _line(verdict: ComponentVerdict) -> str:
    component = verdict.component
    kind = f"{_ROMAN[component.mof_class]}{'' if component.required else ' (optional)'}"
    licence = f", {verdict.license}" if verdict.license else ""
    note = f": {verdict.note}" if verdict.note else ""
    return f"{component.name:<31} {kind:<15} {verdict.verdict}{licence}{note}"
