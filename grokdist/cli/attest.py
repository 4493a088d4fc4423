"""``grokdist attest``: state what was found of a model, signed.

``attest MODEL`` makes an attestation; judging those that are there is for ``attest_judge``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from grokdist.cli import attest_judge, completion, options
from grokdist.cli.attesting import KEY_VARIABLE, ManifestFile, target
from grokdist.cli.output import Output
from grokdist.errors import DigestMismatchError, NotFetchedError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.store import StoredModel
    from grokdist.trust.statement import Statement


class _MakeUnlessNamed(TyperGroup):
    """``attest MODEL`` means ``attest make MODEL``: what is no command's name is a model's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["make", *args]
        return super().parse_args(ctx, args)


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Make attestations about a model, and judge those of others.",
        cls=_MakeUnlessNamed,
        subcommand_metavar="MODEL | COMMAND [ARGS]...",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("make")(reported(make))
    group.command("verify")(reported(attest_judge.verify))
    group.command("list")(reported(attest_judge.list_attestations))
    return group


def make(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.model_names,
            help="Name of a model, or the directory of a fetched one.",
        ),
    ],
    type: Annotated[
        str | None,
        typer.Option(help="verification (default), openness, licence, cyclonedx or spdx."),
    ] = None,
    predicate: Annotated[
        Path | None, typer.Option(help="State what this JSON file says, as it is.")
    ] = None,
    predicate_type: Annotated[
        str | None, typer.Option(metavar="URI", help="The type of that file.")
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PEM", envvar=KEY_VARIABLE, help="Sign it with this key."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write it here rather than beside the model.")
    ] = None,
    expires: Annotated[
        int | None, typer.Option(min=1, max=36500, metavar="DAYS", help="How long it holds.")
    ] = None,
    manifest: ManifestFile = None,
    strict_freshness: options.StrictFreshness = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make an attestation about a model: of its bytes, openness, licence or materials."""
    from grokdist.cli.attesting import keep_beside, signing_keys, write
    from grokdist.trust.attestations.kinds import name_of

    out = Output(json=json, quiet=quiet, verbose=verbose)
    keys = signing_keys(key)
    wanted = _wanted(type, predicate, predicate_type)
    if expires is not None and predicate is not None:
        raise UsageError("--predicate FILE is stated as it is; expected no --expires beside it")
    trusted, stored = target(model, manifest, out, strict_freshness=strict_freshness)
    beside = None if stored is None or stored.receipt is None else stored.directory
    if output is None and beside is None:
        raise NotFetchedError(
            f"{model} has no receipt here that could list an attestation; expected a fetched model",
            hint=f"grokdist attest {model} --output FILE",
        )
    if predicate is not None:
        statement, stem = _as_it_is(wanted, predicate, trusted, stored)
    else:
        statement, stem = _statement(wanted, trusted, stored, out, days=expires)
    if output is None and beside is not None:
        made = keep_beside(beside, statement, keys, stem=stem)
    elif output is not None:
        made = write(statement, keys, output)
    (subject,) = statement.subjects
    out.result(
        made.document(),
        f"{name_of(wanted)} of {subject.name}, root {subject.sha256[:16]}...\n{made.text()}",
    )


def _wanted(type: str | None, predicate: Path | None, predicate_type: str | None) -> str:
    """The predicate type that was asked for."""
    from grokdist.trust.attestations.kinds import Kind, parse_kind, parse_predicate_type

    if predicate is None:
        if predicate_type is not None:
            raise UsageError("--predicate-type is that of a file; expected --predicate FILE too")
        return (Kind.VERIFICATION if type is None else parse_kind(type)).predicate_type
    if (type is None) == (predicate_type is None):
        raise UsageError("--predicate FILE needs one type; expected --predicate-type URI")
    return parse_predicate_type(type or predicate_type or "")


def _statement(
    predicate_type: str,
    trusted: TrustedManifest,
    stored: StoredModel | None,
    out: Output,
    *,
    days: int | None,
) -> tuple[Statement, str]:
    """A statement that is filled in here, and the first part of the name of its file."""
    from grokdist.cli.attest_predicates import bill_of_materials, licence, openness
    from grokdist.cli.attest_verification import now, until
    from grokdist.transfer.attestations import model_subject
    from grokdist.trust.attestations import kinds
    from grokdist.trust.attestations.bom import bom_statement
    from grokdist.trust.attestations.times import timestamp
    from grokdist.trust.statement import Statement

    if predicate_type == kinds.SVR:
        return _verification(trusted, stored, out, days=days)
    stem = kinds.name_of(predicate_type)
    receipt = None if stored is None else stored.receipt
    subject = model_subject(trusted.manifest, None if stored is None else stored.directory)
    moment = now()
    end = until(moment, days)
    if predicate_type in (kinds.CYCLONEDX, kinds.SPDX):
        if days is not None:
            raise UsageError("a bill of materials does not expire; expected no --expires")
        document = bill_of_materials(predicate_type, trusted, receipt, subject, timestamp(moment))
        return bom_statement(document, subject), stem
    if predicate_type == kinds.OPENNESS:
        body = openness(trusted, moment, end)
    else:
        body = licence(trusted, receipt, moment, end)
    return Statement(subjects=(subject,), predicate_type=predicate_type, predicate=body), stem


def _verification(
    trusted: TrustedManifest, stored: StoredModel | None, out: Output, *, days: int | None
) -> tuple[Statement, str]:
    """What a quick verification finds: no file is read again that did not change."""
    from grokdist.cli.attest_verification import checked_by, stem_of, verification
    from grokdist.cli.progress import showing
    from grokdist.cli.verify import faults
    from grokdist.transfer.attestations import model_subject
    from grokdist.transfer.verify import verify

    name = trusted.manifest.name
    if stored is None:
        raise NotFetchedError(
            f"{name} is not here; expected a fetched model", hint=f"grokdist fetch {name}"
        )
    with showing(out) as progress:
        report = verify(
            stored.directory,
            trusted.manifest,
            receipt=stored.receipt,
            quick=True,
            progress=progress,
        )
    if not report.ok:
        found = (*faults(report), "no file is there")[0]
        raise DigestMismatchError(
            f"{stored.directory} is not the {name} that its manifest names: {found}",
            hint=f"grokdist verify {stored.directory}",
        )
    checked = checked_by(report, trusted.manifest, quick=True, include=())
    subject = model_subject(trusted.manifest, stored.directory)
    return verification(trusted, subject, checked, days=days), stem_of(checked)


def _as_it_is(
    predicate_type: str, file: Path, trusted: TrustedManifest, stored: StoredModel | None
) -> tuple[Statement, str]:
    """A statement of somebody else's predicate; what could not be verified is not stated.

    Raises:
        TrustError: the file does not have the form of its type, where that is known.
    """
    from grokdist.cli.attest_predicates import read_predicate_file
    from grokdist.transfer.attestations import model_subject
    from grokdist.trust.attestations import kinds
    from grokdist.trust.attestations.bom import bom_predicate_type
    from grokdist.trust.attestations.judgement import read_predicate
    from grokdist.trust.statement import Statement

    body = read_predicate_file(file)
    if predicate_type in (kinds.CYCLONEDX, kinds.SPDX):
        found = bom_predicate_type(body)
        if found != predicate_type:
            raise UsageError(f"{file} is of type {found}; expected {predicate_type}")
    subject = model_subject(trusted.manifest, None if stored is None else stored.directory)
    statement = Statement(subjects=(subject,), predicate_type=predicate_type, predicate=body)
    read_predicate(statement)
    stem = kinds.name_of(predicate_type)
    if stem == "other":
        stem = f"other-{hashlib.sha256(predicate_type.encode()).hexdigest()[:12]}"
    return statement, stem
