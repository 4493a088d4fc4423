"""``grokdist score``: how likely a model finds a text, token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from grokdist.cli import cluster, completion, options
from grokdist.cli.output import Output
from grokdist.errors import StoreError, UsageError


def score(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="Text to score.")] = None,
    model: Annotated[
        str,
        typer.Option(autocompletion=completion.model_names, help="Name or directory of the model."),
    ] = "grok-mini",
    tokens: Annotated[
        Path | None, typer.Option(help="Token ids to score, a NumPy file, instead of a text.")
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="Write logits [tokens, vocab] float32 to this .npy file.")
    ] = None,
    dtype: options.Dtype = None,
    mesh: options.Mesh = None,
    kv_cache: options.KvCache = None,
    kernels: options.Kernels = None,
    requantise: options.Requantise = None,
    coordinator: cluster.Coordinator = None,
    processes: cluster.Processes = None,
    process: cluster.Process = None,
    join_timeout: cluster.JoinTimeout = cluster.JOIN_S,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the log-probability of every token of a text.

    Reads any directory, verified or not: the first token has no log-probability, since nothing
    stands before it.
    """
    from grokdist.api.memory import host_memory
    from grokdist.api.verified import Rounding, VerifiedModel, hold
    from grokdist.cli.host_part import part_in
    from grokdist.cli.run import load_engine, read_tokens
    from grokdist.cli.verified import open_verified

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if (text is None) == (tokens is None):
        raise UsageError("expected a text or --tokens FILE.npy, one of them")
    shared = cluster.find(coordinator, processes, process, model=model)

    def word() -> dict[str, Any]:
        ids = None if tokens is None else [int(token) for token in read_tokens(tokens)]
        return {"text": text, "tokens": ids}

    said, out = cluster.take_part(shared, context, word, join_timeout=join_timeout, out=out)
    rounding = Rounding(kv_cache=kv_cache, requantise=requantise)
    if Path(model).is_dir():
        folder = Path(model)
        opened = VerifiedModel(directory=folder, name=folder.name, trusted=None, use=hold(folder))
    else:
        memory = host_memory() * (shared.processes if shared is not None else 1)
        opened = open_verified(
            model,
            memory=memory,
            unsafe_unverified=False,
            out=out,
            rounding=rounding,
            part=part_in(shared, mesh),
        )
    engine = load_engine(
        opened,
        mesh=mesh,
        dtype=dtype,
        rounding=rounding,
        kernels=kernels,
        out=out,
        shared=shared,
    )

    import numpy as np

    from grokdist_runtime.engine import log_probabilities

    ids = said["tokens"] if said["tokens"] is not None else engine.encode(said["text"])
    rows = engine.score(ids)
    following = [float(value) for value in log_probabilities(rows, ids)]
    perplexity = _perplexity(following)
    if logits is not None and (shared is None or shared.first):
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


def _perplexity(logprobs: list[float]) -> float | None:
    """None without tokens to predict, and where it is too large for a number."""
    try:
        return math.exp(-sum(logprobs) / len(logprobs)) if logprobs else None
    except OverflowError:
        return None
