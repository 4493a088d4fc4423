"""``grokdist openness``: how open a model is, by three frameworks, alone or beside others."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import completion, options
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.policy.openness import Openness


def openness(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=completion.model_names, metavar="MODEL...", help="Names of models."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put the models side by side.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the comparison as a web page.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the comparison as a picture.")
    ] = None,
    mof_yaml: Annotated[
        Path | None,
        typer.Option(
            "--mof-yaml", metavar="FILE", help="Write the Model Openness Tool's YAML of a model."
        ),
    ] = None,
    from_mof: Annotated[
        Path | None,
        typer.Option(
            "--from-mof", metavar="FILE", help="Rate a YAML file of the Model Openness Tool."
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Read this manifest file instead of the catalog.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how open a model is, by three frameworks, with reasons; compare several."""
    out = Output(json=json, quiet=quiet, verbose=verbose)
    names = models or []
    if from_mof is not None:
        if names or compare or html or png or mof_yaml or manifest:
            raise UsageError("--from-mof rates one file and takes no model and no other output")
        _rate_file(from_mof, out)
        return
    if not names:
        raise UsageError("no model was named", hint="grokdist openness grok-1")
    if manifest is not None and len(names) > 1:
        raise UsageError(f"--manifest is of one model; got {len(names)} names")
    rated = [_rate(name, manifest, out) for name in names]
    if mof_yaml is not None:
        if len(rated) > 1:
            raise UsageError(f"--mof-yaml writes one model; got {len(rated)}")
        from grokdist.policy.mof_yaml import write_mof_yaml

        _write(mof_yaml, write_mof_yaml(rated[0].manifest), out)
    if compare or html is not None or png is not None:
        _compare(rated, html, png, out)
        return
    from grokdist.cli.openness_text import openness_text
    from grokdist.policy.openness import openness_document

    documents = [openness_document(each) for each in rated]
    out.result(
        documents[0] if len(documents) == 1 else {"models": documents},
        "\n\n\n".join(openness_text(each) for each in rated),
    )


def _rate(name: str, manifest: Path | None, out: Output) -> Openness:
    from grokdist.api.lookup import trusted_manifest
    from grokdist.policy.openness import rate

    return rate(trusted_manifest(name, manifest, out).manifest)


def _compare(rated: list[Openness], html: Path | None, png: Path | None, out: Output) -> None:
    from grokdist.cli.matrix_text import matrix_text
    from grokdist.policy.matrix import compare, matrix_document

    matrix = compare(rated, date=today())
    if html is not None:
        from grokdist.policy.matrix_html import matrix_page

        _write(html, matrix_page(matrix).encode(), out)
    if png is not None:
        from grokdist.policy.matrix_png import matrix_picture

        _write(png, matrix_picture(matrix), out)
    out.result(matrix_document(matrix), matrix_text(matrix))


def today() -> str:
    """The date to print on a page: today's, or that of ``SOURCE_DATE_EPOCH`` where it is set.

    Raises:
        UsageError: the variable holds no time.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch[:40]!r}; expected seconds since 1970"
        ) from None


def _rate_file(path: Path, out: Output) -> None:
    from grokdist.cli.openness_text import mof_lines, symbols, terminal_width
    from grokdist.policy.mof_yaml import (
        evaluate_release,
        parse_mof_yaml,
        read_mof_yaml,
        release_document,
    )

    release = parse_mof_yaml(read_mof_yaml(path))
    result = evaluate_release(release)
    producer = f" by {release.producer}" if release.producer else ""
    lines = mof_lines(result, terminal_width(), symbols())
    out.result(
        release_document(release, result), "\n".join([f"{release.name}{producer}", "", *lines])
    )


def _write(path: Path, content: bytes, out: Output) -> None:
    from grokdist.whole_file import write_whole

    write_whole(path, content)
    out.note(f"wrote {path}")
