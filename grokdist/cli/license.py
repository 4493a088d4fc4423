"""``grokdist license``: what a licence says, and the record of those that were accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import completion, license_identify, options
from grokdist.cli.output import Output
from grokdist.errors import StoreError
from grokdist.settings import home

if TYPE_CHECKING:
    from grokdist.api.acceptances import Recorded
    from grokdist.catalog.manifest import Manifest
    from grokdist.policy.acceptance import Acceptance

Model = Annotated[
    str,
    typer.Argument(autocompletion=completion.model_names, help="Name of a model in the catalog."),
]


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Read the licence of a model, accept it, and tell which licence a text is.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("show")(reported(show))
    group.command("accept")(reported(accept))
    group.command("list")(reported(list_accepted))
    group.command("withdraw")(reported(withdraw))
    group.command("identify")(reported(license_identify.identify))
    return group


def show(
    model: Model,
    text: Annotated[bool, typer.Option("--text", help="The licence text too, if it is here.")] = (
        False
    ),
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a model's licence: what it covers, what you may, must and must not do."""
    from grokdist.api.acceptances import accepted
    from grokdist.api.lookup import trusted_manifest
    from grokdist.cli.obligations_text import obligations_document, obligations_text
    from grokdist.policy.acceptance import describe, named_text, required_acceptance
    from grokdist.policy.obligations import ADVICE, obligations_of, statement_of

    out = Output(json=json, quiet=quiet, verbose=verbose)
    manifest = trusted_manifest(model, None, out).manifest
    licence = manifest.license
    required = required_acceptance(manifest)
    given = accepted(manifest)
    summaries = obligations_of(licence.expression)
    named = named_text(manifest)
    body = _text(manifest)
    lines = [f"{licence.expression}: {describe(licence)}", statement_of(licence)]
    if licence.scope:
        lines.append(f"In the publisher's words: “{licence.scope}”")
    if licence.evidence:
        lines.append(f"Seen at: {licence.evidence}")
    if required is not None:
        lines.append(f"Asks for your acceptance: {given or f'not given ({required})'}")
    lines += obligations_text(summaries, named.sha256, named.git_blob)
    lines += ["", ADVICE]
    if text:
        lines += ["", body if body is not None else "(the text is not on this machine)"]
    out.result(
        {
            "model": manifest.name,
            "expression": licence.expression,
            "name": licence.name,
            "scope": licence.scope,
            "covers": list(licence.covers),
            "excludes": list(licence.excludes),
            "statement": statement_of(licence),
            "text_sha256": licence.text_sha256,
            "evidence": licence.evidence,
            "acceptance_required": str(required) if required else None,
            "accepted": given,
            "obligations": obligations_document(summaries, named.sha256, named.git_blob),
            "advice": ADVICE,
            "text": body,
        },
        "\n".join(lines),
    )


def accept(
    model: Model,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Accept a model's licence, by the digest of its text; recorded for later fetches."""
    from grokdist.api.acceptances import RECORD, remember
    from grokdist.api.lookup import trusted_manifest
    from grokdist.policy.acceptance import check_acceptance

    out = Output(json=json, quiet=quiet, verbose=verbose)
    manifest = trusted_manifest(model, None, out).manifest
    record = check_acceptance(manifest, manifest.license.expression)
    if record is None:
        raise StoreError(f"{manifest.name} has no licence to accept")
    remember(record, model=manifest.name, how="grokdist license accept")
    out.result(
        {"model": manifest.name, "accepted": record},
        f"accepted {record} for {manifest.title}; recorded in {home() / RECORD}",
    )


def list_accepted(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the licences accepted on this machine: which text, when, by whom, how."""
    from grokdist.api.acceptances import recorded

    out = Output(json=json, quiet=quiet, verbose=verbose)
    found = recorded()
    out.result(
        {"acceptances": [asdict(each) for each in found]},
        "\n".join(_line(each) for each in found) or "no licence was accepted here",
    )


def withdraw(
    what: Annotated[str, typer.Argument(help="A model, a licence ID, or ID@sha256:HEX.")],
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Withdraw an acceptance: the next fetch asks again. Files and receipts stay."""
    from grokdist.api import acceptances

    out = Output(json=json, quiet=quiet, verbose=verbose)
    named = _named(what)
    taken = acceptances.withdraw(named)
    if not taken:
        raise StoreError(
            f"no acceptance of {named} is recorded, or it is withdrawn already",
            hint="grokdist license list",
        )
    out.result(
        {"withdrawn": [asdict(each) for each in taken]},
        "\n".join(f"withdrawn: {each.acceptance}" for each in taken)
        + "\nwhat was fetched stays here; what the licence asks then, its text says",
    )


def _named(what: str) -> Acceptance:
    """The acceptance that a person means by a model's name or a licence's id."""
    from grokdist.catalog import registries
    from grokdist.errors import UnknownModelError
    from grokdist.policy.acceptance import Acceptance, parse_acceptance
    from grokdist.policy.licenses import normalise

    try:
        manifest = registries.load(what).manifest
    except UnknownModelError:
        return parse_acceptance(what)
    return Acceptance(expression=normalise(manifest.license.expression))


def _line(each: Recorded) -> str:
    parts = [f"{each.acceptance}: {each.when}"]
    if each.who is not None:
        parts.append(f"by {each.who}")
    if each.how is not None:
        parts.append(f"with {each.how}")
    if each.model is not None:
        parts.append(f"for {each.model}")
    if each.withdrawn is not None:
        parts.append(f"withdrawn {each.withdrawn}")
    return ", ".join(parts)


def _text(manifest: Manifest) -> str | None:
    """The licence's text, found by its digest: in the store, or shipped with the package."""
    from grokdist.policy.redistribution import license_text
    from grokdist.transfer.store import Store

    data = license_text(manifest, Store(home()).directory(manifest.name, manifest.revision))
    return data.decode("utf-8", "replace") if data is not None else None
