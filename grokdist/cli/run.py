"""``grokdist run``: stream a completion from a verified model."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import cluster, completion, options
from grokdist.cli.output import Output
from grokdist.cli.speed import stats_line
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.api.verified import Rounding, VerifiedModel
    from grokdist.cli.answer import Answer
    from grokdist.cli.generation_settings import GenerationSettings
    from grokdist.cli.prompt_batch import Job, Outcome
    from grokdist_runtime.cluster import Cluster
    from grokdist_runtime.engine import Engine

_MAX_PROMPT_BYTES = 16 << 20
_SEEDS = 1 << 32
_ROWS = 8
"""Prompts of a file that are decoded together unless asked otherwise."""


def run(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(help="Text to continue; none: read stdin, or ask on a terminal."),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Token ids to continue, a NumPy file, instead of a text.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Answer a file of prompts, one object a line."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="With --prompts: where answers go; what is there whole is not asked again.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="With --prompts: as many at once, at most.")
    ] = _ROWS,
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.model_names,
            help="Name or directory; default: the largest verified model that fits.",
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Generate at most so many tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Keep the K most likely tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Keep tokens up to this probability.")] = 0.95,
    min_p: Annotated[
        float, typer.Option(help="Drop tokens less likely than this share of the best.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same text; default: a new one.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text.")] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Go on past the end of text.")
    ] = False,
    logprobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Show each token's log-probability and those of the N most likely."
        ),
    ] = None,
    mesh: options.Mesh = None,
    dtype: options.Dtype = None,
    kv_cache: options.KvCache = None,
    kernels: options.Kernels = None,
    requantise: options.Requantise = None,
    stats: Annotated[bool, typer.Option("--stats", help="Say how fast it was, on stderr.")] = False,
    history: Annotated[
        bool,
        typer.Option("--history/--no-history", help="Keep what is typed at the prompt."),
    ] = True,
    coordinator: cluster.Coordinator = None,
    processes: cluster.Processes = None,
    process: cluster.Process = None,
    join_timeout: cluster.JoinTimeout = cluster.JOIN_S,
    unsafe_unverified: Annotated[
        bool,
        typer.Option("--unsafe-unverified", help="Load a directory that nothing vouches for."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Stream a completion from a verified model."""
    from grokdist.api.memory import host_memory
    from grokdist.api.verified import Rounding
    from grokdist.cli.host_part import part_in
    from grokdist.cli.verified import open_verified
    from grokdist.policy.notice import notice

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if prompt is not None and tokens is not None:
        raise UsageError("a prompt and --tokens were given; expected one of them")
    files = _files(prompts, output, alone=prompt is None and tokens is None)
    shared = cluster.find(coordinator, processes, process, model=model)

    if files is not None and shared is not None:
        raise UsageError("--prompts is answered by one process; expected no others beside it")

    def word() -> dict[str, Any]:
        asked = _asked(prompt, tokens, json=json, alone=shared is None) if files is None else {}
        return asked | {"seed": secrets.randbelow(_SEEDS) if seed is None else seed}

    said, out = cluster.take_part(shared, context, word, join_timeout=join_timeout, out=out)
    rounding = Rounding(kv_cache=kv_cache, requantise=requantise)
    opened = open_verified(
        model,
        memory=host_memory() * (shared.processes if shared is not None else 1),
        unsafe_unverified=unsafe_unverified,
        out=out,
        tokens=max_tokens,
        rounding=rounding,
        part=part_in(shared, mesh),
    )
    if opened.manifest is not None:
        out.note(f"{opened.name}: {notice(opened.manifest)}")
    from grokdist.cli.generation_settings import GenerationSettings

    settings = GenerationSettings.of_flags(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=said["seed"],
        max_tokens=max_tokens,
        stop=stop,
        ignore_eos=ignore_eos,
        logprobs=logprobs,
    )
    job = None
    if files is not None:
        from grokdist.cli.prompt_batch import Job, answer_all, check

        job = Job(
            prompts=files[0],
            output=files[1],
            settings=settings,
            seeded=seed is not None,
            model=f"{opened.identity} {rounding} {dtype}",
            rows=batch,
        )
        outcome = check(job)
        if outcome.torn:
            out.note("an answer that an earlier run left torn was taken off, and is asked again")
        if outcome.skipped == outcome.prompts:
            _say(outcome, job, opened.name, 0.0, stats, out)
            return
    engine = load_engine(
        opened,
        mesh=mesh,
        dtype=dtype,
        rounding=rounding,
        kernels=kernels,
        out=out,
        shared=shared,
    )
    if job is not None:
        _say(answer_all(engine, job, out), job, opened.name, engine.load_s, stats, out)
    elif said["tokens"] is None and said["prompt"] is None:
        _converse(engine, opened, settings, stats, history, out)
    else:
        from grokdist.cli.answer import answer
        from grokdist.cli.token_table import token_lines

        ids = engine.encode(said["prompt"]) if said["tokens"] is None else said["tokens"]
        answered = answer(engine, ids, settings, out)
        out.result(_document(opened, answered, settings, engine), "")
        if answered.logprobs and not json:
            out.asked(token_lines(answered.logprobs))
        if stats:
            out.asked(stats_line(engine, answered.completion))


def load_engine(
    opened: VerifiedModel,
    *,
    mesh: str | None,
    dtype: str | None,
    rounding: Rounding,
    kernels: str | None = None,
    out: Output,
    shared: Cluster | None = None,
) -> Engine:
    """Load a model as ``api.opening`` does, and show how far it is."""
    from grokdist.api import opening
    from grokdist.cli.progress import showing_load

    with showing_load(out) as on_bytes:
        return opening.load_engine(
            opened,
            mesh=mesh,
            dtype=dtype,
            rounding=rounding,
            kernels=kernels,
            voice=out,
            on_bytes=on_bytes,
            shared=shared,
        )


def _asked(prompt: str | None, tokens: Path | None, *, json: bool, alone: bool) -> dict[str, Any]:
    """The prompt as text or as token ids; neither, if it is to be asked for on the terminal."""
    if tokens is not None:
        return {"prompt": None, "tokens": [int(token) for token in read_tokens(tokens)]}
    if prompt is None and sys.stdin.isatty():
        if json:
            raise UsageError("--json needs a prompt; expected an argument, --tokens or stdin")
        if not alone:
            raise UsageError(
                "several processes answer one prompt; expected it as an argument, by --tokens or"
                " on stdin of process 0"
            )
        return {"prompt": None, "tokens": None}
    text = _read_stdin() if prompt is None else prompt
    if not text:
        raise UsageError("the prompt is empty; expected some text")
    return {"prompt": text, "tokens": None}


def read_tokens(path: Path) -> Any:
    """Token ids ``[T]`` from a NumPy file of shape ``[T]`` or ``[1, T]``.

    Raises:
        UsageError: it is not a NumPy file of integers in one of these shapes.
    """
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--tokens {path} cannot be read as a NumPy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"--tokens {path} is an archive; expected one array (.npy)")
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(
            f"--tokens {path} has shape {array.shape} and dtype {array.dtype};"
            " expected integers of shape [T] or [1, T]"
        )
    return array


def _files(prompts: Path | None, output: Path | None, *, alone: bool) -> tuple[Path, Path] | None:
    """The file of prompts and that of answers; None where neither was given."""
    if prompts is None and output is None:
        return None
    if prompts is None or output is None:
        raise UsageError("expected --prompts FILE.jsonl and --output FILE.jsonl, both of them")
    if not alone:
        raise UsageError("a prompt and --prompts were given; expected one of them")
    return prompts, output


def _converse(
    engine: Engine,
    opened: VerifiedModel,
    settings: GenerationSettings,
    stats: bool,
    history: bool,
    out: Output,
) -> None:
    from grokdist.cli.prompt_commands import Session
    from grokdist.cli.prompt_loop import converse
    from grokdist.policy.notice import notice
    from grokdist.settings import home

    vouched = "unverified" if opened.manifest is None else notice(opened.manifest)
    session = Session(
        model=f"{opened.name}: {vouched} ({opened.directory})", settings=settings, stats=stats
    )
    converse(engine, session, home() / "prompt-history" if history else None, out)


def _say(outcome: Outcome, job: Job, name: str, load_s: float, stats: bool, out: Output) -> None:
    """Say what became of a file of prompts; ends with an error where one has no answer."""
    rate = outcome.tokens / outcome.seconds if outcome.seconds else 0.0
    out.result(
        {
            "model": name,
            "output": str(job.output),
            "prompts": outcome.prompts,
            "answered": outcome.answered,
            "skipped": outcome.skipped,
            "failed": outcome.failed,
            "prompt_tokens": outcome.prompt_tokens,
            "tokens": outcome.tokens,
            "timings": {"load_s": load_s, "answer_s": outcome.seconds, "tokens_per_s": rate},
        },
        f"{outcome.answered} of {outcome.prompts} prompts answered, {outcome.skipped} were before,"
        f" {outcome.failed} failed: {job.output}",
    )
    if stats:
        out.asked(
            f"load {load_s:.2f} s, answers {outcome.seconds:.2f} s,"
            f" {outcome.prompt_tokens} + {outcome.tokens} tokens, {rate:.1f} tokens/s together"
        )
    if outcome.failed:
        raise SystemExit(1)


def _read_stdin() -> str:
    data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise UsageError(f"stdin holds more than {_MAX_PROMPT_BYTES} bytes of prompt")
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"the prompt on stdin is not UTF-8: {error}") from error


def _document(
    opened: VerifiedModel,
    answered: Answer,
    settings: GenerationSettings,
    engine: Engine,
) -> dict[str, Any]:
    import dataclasses

    spec = engine.runner.spec
    completion = answered.completion

    return {
        "model": opened.name,
        "prompt_tokens": completion.prompt_tokens,
        "tokens": len(completion.token_ids),
        "token_ids": list(completion.token_ids),
        "text": completion.text,
        "stop_reason": completion.stop_reason,
        "logprobs": answered.logprobs,
        "seed": settings.sampling.seed,
        "kv_cache": spec.kv_cache,
        "kernels": spec.kernels,
        "altered": spec.config.altered,
        "verified": opened.manifest is not None,
        "license": opened.manifest.license.expression if opened.manifest else None,
        "timings": dataclasses.asdict(completion.timings),
    }
