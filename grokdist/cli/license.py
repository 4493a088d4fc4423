"""``grokdist license show | accept``: read a licence, and accept it once for all fetches."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import options
from grokdist.cli.output import Output
from grokdist.errors import StoreError
from grokdist.settings import home

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest

_RECORD = "acceptances.json"
_MAX_BYTES = 1 << 20

Model = Annotated[str, typer.Argument(help="Name of a model in the catalog.")]


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Read the licence of a model, and accept it.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("show")(reported(show))
    group.command("accept")(reported(accept))
    return group


def show(
    model: Model,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a model's licence: what it covers, what it does not, and its text where it is here."""
    from grokdist.cli.lookup import trusted_manifest
    from grokdist.policy.acceptance import describe, required_acceptance

    out = Output(json=json, quiet=quiet, verbose=verbose)
    manifest = trusted_manifest(model, None, out).manifest
    licence = manifest.license
    required = required_acceptance(manifest)
    body = _text(manifest)
    lines = [
        f"{licence.expression}: {describe(licence)}",
        f"covers: {', '.join(licence.covers) or 'not said'}",
        f"does not cover: {', '.join(licence.excludes) or 'nothing is named'}",
    ]
    if licence.scope:
        lines.append(f"in the publisher's words: “{licence.scope}”")
    if licence.evidence:
        lines.append(f"seen at: {licence.evidence}")
    if required is not None:
        lines.append(f"asks for your acceptance: {accepted(manifest) or f'not given ({required})'}")
    lines += ["", body if body is not None else "(the text is not on this machine)"]
    out.result(
        {
            "model": manifest.name,
            "expression": licence.expression,
            "name": licence.name,
            "scope": licence.scope,
            "covers": list(licence.covers),
            "excludes": list(licence.excludes),
            "text_sha256": licence.text_sha256,
            "evidence": licence.evidence,
            "acceptance_required": str(required) if required else None,
            "accepted": accepted(manifest),
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
    from grokdist.cli.lookup import trusted_manifest
    from grokdist.policy.acceptance import check_acceptance

    out = Output(json=json, quiet=quiet, verbose=verbose)
    manifest = trusted_manifest(model, None, out).manifest
    record = check_acceptance(manifest, manifest.license.expression)
    if record is None:
        raise StoreError(f"{manifest.name} has no licence to accept")
    remember(record)
    out.result(
        {"model": manifest.name, "accepted": record},
        f"accepted {record} for {manifest.title}; recorded in {home() / _RECORD}",
    )


def accepted(manifest: Manifest) -> str | None:
    """The recorded acceptance of exactly this licence text, if there is one."""
    from grokdist.policy.acceptance import check_acceptance

    record = check_acceptance(manifest, manifest.license.expression)
    return record if record in _load() else None


def remember(record: str) -> None:
    """Add an acceptance to the record, with the time.

    Raises:
        StoreError: the record cannot be written.
    """
    from grokdist.transfer.store import Store
    from grokdist.transfer.tree import ModelTree

    records = _load()
    records.setdefault(record, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    Store().prepare()
    try:
        with ModelTree(home()) as tree:
            tree.write_small(_RECORD, json_module.dumps(records, indent=2).encode())
    except OSError as error:
        raise StoreError(f"cannot record the acceptance in {home()}: {error.strerror}") from error


def _load() -> dict[str, str]:
    """Acceptances by text and the time each was given."""
    from grokdist.transfer.tree import ModelTree

    path = home() / _RECORD
    if not home().is_dir():
        return {}
    with ModelTree(home()) as tree:
        data = tree.read_small(_RECORD, _MAX_BYTES)
    try:
        records: Any = json_module.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint=f"rm {path}") from error
    if not isinstance(records, dict):
        raise StoreError(f"{path} is not a record of acceptances", hint=f"rm {path}")
    return {str(key): str(value) for key, value in records.items()}


def _text(manifest: Manifest) -> str | None:
    """The licence's text, found by its digest: bundled with the package, or fetched."""
    import hashlib

    import grokdist
    from grokdist.transfer.store import Store

    candidates = list((Path(grokdist.__file__).parent / "bundled").glob("*/LICENSE"))
    if manifest.license.text_path is not None:
        directory = Store(home()).directory(manifest.name, manifest.revision)
        candidates.append(directory / manifest.license.text_path)
    for path in candidates:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            continue
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == manifest.license.text_sha256:
            return data.decode("utf-8", "replace")
    return None
