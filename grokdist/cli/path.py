"""``grokdist path``: where a fetched model is."""

from __future__ import annotations

from typing import Annotated

import typer

from grokdist.cli import completion, options
from grokdist.cli.output import Output
from grokdist.errors import NotFetchedError, UnknownModelError


def path(
    model: Annotated[
        str,
        typer.Argument(help="Name or name@revision.", autocompletion=completion.fetched_names),
    ],
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the folder of a fetched model, for scripts; nothing is verified."""
    from grokdist.api.lookup import stored_model

    out = Output(json=json, quiet=quiet, verbose=verbose)
    try:
        stored = stored_model(model)
    except NotFetchedError as error:
        raise UnknownModelError(str(error), hint=error.hint) from error
    receipt = stored.receipt
    if receipt is None:
        raise UnknownModelError(
            f"no fetch into {stored.directory} has come to its end; expected a fetched model",
            hint="grokdist list",
        )
    if not stored.complete:
        out.note(f"only a part of {receipt.model} was fetched: {', '.join(receipt.include)}")
    out.result(
        {
            "model": receipt.model,
            "revision": receipt.revision,
            "dir": str(stored.directory),
            "complete": stored.complete,
        },
        str(stored.directory),
    )
