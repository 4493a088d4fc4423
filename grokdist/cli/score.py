"""``grokdist score``: how likely a model finds a text, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokdist.cli import options
from grokdist.cli.output import Output
from grokdist.errors import StoreError, UsageError


def score(
    text: Annotated[str | None, typer.Argument(help="Text to score.")] = None,
    model: Annotated[str, typer.Option(help="Name or directory of the model.")] = "grok-mini",
    tokens: Annotated[
        Path | None, typer.Option(help="Token ids to score, a NumPy file, instead of a text.")
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="Write logits [tokens, vocab] float32 to this .npy file.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; default: the model's own.")
    ] = None,
    mesh: Annotated[
        str | None,
        typer.Option(help="Devices as DxM or DxMxE: data, model, expert; default: auto."),
    ] = None,
    kv_cache: options.KvCache = None,
    kernels: options.Kernels = None,
    requantise: options.Requantise = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the log-probability of every token of a text.

    Reads any directory, verified or not: the first token has no log-probability, since nothing
    stands before it.
    """
    import math

    import numpy as np

    from grokdist.cli.memory import host_memory
    from grokdist.cli.run import load_engine, read_tokens
    from grokdist.cli.verified import Rounding, VerifiedModel, open_verified

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if (text is None) == (tokens is None):
        raise UsageError("expected a text or --tokens FILE.npy, one of them")
    rounding = Rounding(kv_cache=kv_cache, requantise=requantise)
    if Path(model).is_dir():
        opened = VerifiedModel(directory=Path(model), name=Path(model).name, trusted=None)
    else:
        opened = open_verified(
            model, memory=host_memory(), unsafe_unverified=False, out=out, rounding=rounding
        )
    engine = load_engine(
        opened, mesh=mesh, dtype=dtype, rounding=rounding, kernels=kernels, out=out
    )

    from grokdist_runtime.engine import log_probabilities

    ids = read_tokens(tokens) if tokens is not None else engine.encode(text or "")
    rows = engine.score(ids)
    following = [float(value) for value in log_probabilities(rows, ids)]
    perplexity = math.exp(-sum(following) / len(following)) if following else None
    if logits is not None:
        try:
            with logits.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
        except OSError as error:
            raise StoreError(f"{logits} cannot be written: {error.strerror}") from error
    numbers = [int(token) for token in ids]
    logprobs = [None, *following]
    pieces = engine.tokenizer.decode if engine.tokenizer is not None else None
    lines = [
        f"{number:>8}  {'-' if value is None else format(value, '9.4f'):>9}"
        + (f"  {pieces([number])!r}" if pieces is not None else "")
        for number, value in zip(numbers, logprobs, strict=True)
    ]
    if perplexity is not None:
        lines.append(f"perplexity {perplexity:.4f}")
    out.result(
        {
            "tokens": numbers,
            "logprobs": logprobs,
            "perplexity": perplexity,
            "altered": engine.config.altered,
            "kv_cache": engine.runner.spec.kv_cache,
        },
        "\n".join(lines),
    )
