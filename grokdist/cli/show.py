"""``grokdist show``: what a model is, who vouches for it, its licence and how open it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, options
from grokdist.cli.format import bytes_text, count_text, facts_text
from grokdist.cli.output import Output

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest, Source, TrustedManifest
    from grokdist.policy.mof import MofResult


def show(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.model_names, help="Name of a model in the catalog."
        ),
    ],
    manifest: Annotated[
        Path | None, typer.Option(help="Read this manifest file instead of the catalog.")
    ] = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what a model is, who vouches for it, its licence and how open it is."""
    from grokdist.api.lookup import trusted_manifest
    from grokdist.policy.mof import evaluate

    out = Output(json=json, quiet=quiet, verbose=verbose)
    trusted = trusted_manifest(model, manifest, out, strict_freshness=strict_freshness)
    result = evaluate(trusted.manifest)
    out.result(document(trusted, result), text(trusted, result))


def document(trusted: TrustedManifest, result: MofResult) -> dict[str, Any]:
    """What ``--json`` prints."""
    from grokdist.catalog.alteration import alteration_of

    m = trusted.manifest
    return {
        "name": m.name,
        "title": m.title,
        "publisher": m.publisher,
        "revision": m.revision,
        "released": m.released,
        "role": str(m.role),
        "statement": m.statement,
        "format": m.format,
        "altered": alteration_of(m),
        "summary": m.summary,
        "weights_released": m.has_weights,
        "files": len(m.files) if m.listed else None,
        "bytes": m.size if m.listed else None,
        "license": {
            "expression": m.license.expression,
            "name": m.license.name,
            "scope": m.license.scope,
            "covers": list(m.license.covers),
            "excludes": list(m.license.excludes),
            "text_sha256": m.license.text_sha256,
            "evidence": m.license.evidence,
        },
        "openness": {
            "class": result.class_label,
            "percentages": {str(number): value for number, value in result.percentages.items()},
        },
        "sources": [
            {
                "kind": str(s.kind),
                "location": s.location,
                "revision": s.revision,
                "gated": s.gated,
                "note": s.note,
            }
            for s in m.sources
        ],
        "anchors": [
            {"kind": str(a.kind), "value": a.value, "repository": a.repository} for a in m.anchors
        ],
        "config": dict(m.config) if m.config is not None else None,
        "manifest_sha256": trusted.sha256,
        "signed_by": {
            "registry": trusted.signed_by.registry,
            "root_sha256": trusted.signed_by.root_sha256,
            "keyids": list(trusted.signed_by.keyids),
            "threshold": trusted.signed_by.threshold,
            "expires": trusted.signed_by.expires,
            "expired": trusted.signed_by.expired,
        },
    }


def text(trusted: TrustedManifest, result: MofResult) -> str:
    """What a person reads: the one-line notice first, then the facts behind it."""
    from grokdist.api.lookup import signature_text
    from grokdist.catalog.alteration import alteration_of
    from grokdist.policy.mof import openness_line
    from grokdist.policy.notice import notice

    m = trusted.manifest
    rows = [
        ("model", f"{m.title} ({m.name}), {m.publisher}, {m.released or 'date unknown'}"),
        *([("ALTERED", altered)] if (altered := alteration_of(m)) is not None else []),
        ("revision", m.revision),
        ("size", size_text(m)),
        ("licence", f"{m.license.expression} ({m.license.name})"),
        ("", _scope(trusted)),
        ("openness", openness_line(result)),
        ("role", f"{m.role}: {m.statement}"),
        ("signed by", signature_text(trusted)),
    ]
    rows += [("anchor", f"{a.kind} {a.value}") for a in m.anchors]
    rows += [("source", _source_line(source)) for source in m.sources]
    return f"{notice(m)}\n\n{facts_text(rows)}"


def size_text(manifest: Manifest) -> str:
    """How much there is to fetch, or why the manifest does not say."""
    if not manifest.has_weights:
        return "nothing to fetch: no weights were released"
    if not manifest.listed:
        return f"not listed here: the files follow from the commit, {manifest.format}"
    count = count_text(len(manifest.files), "file")
    return f"{bytes_text(manifest.size)} in {count}, {manifest.format}"


def _scope(trusted: TrustedManifest) -> str:
    licence = trusted.manifest.license
    parts = []
    if licence.covers:
        parts.append("covers " + ", ".join(licence.covers))
    if licence.excludes:
        parts.append("not " + ", ".join(licence.excludes))
    if licence.scope:
        parts.append(f"in the publisher's words: “{licence.scope}”")
    return "; ".join(parts)


def _source_line(source: Source) -> str:
    where = source.location + (f"@{source.revision}" if source.revision else "")
    files = f" ({', '.join(source.files)})" if source.files else ""
    gate = ", gated" if source.gated else ""
    return f"{source.kind} {where}{files}{gate}" + (f": {source.note}" if source.note else "")
