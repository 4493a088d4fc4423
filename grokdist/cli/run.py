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
from grokdist.settings import compile_cache

if TYPE_CHECKING:
    from grokdist.cli.verified import Rounding, VerifiedModel
    from grokdist_runtime.cluster import Cluster
    from grokdist_runtime.engine import Engine
    from grokdist_runtime.events import Completion
    from grokdist_runtime.sampling import SamplingParams

_MAX_PROMPT_BYTES = 16 << 20
_SEEDS = 1 << 32


def run(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(help="Text to continue; none: read stdin, or ask on a terminal."),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Token ids to continue, a NumPy file, instead of a text.")
    ] = None,
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
    mesh: Annotated[
        str | None,
        typer.Option(help="Devices as DxM or DxMxE: data, model, expert; default: auto."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; default: the model's own.")
    ] = None,
    kv_cache: options.KvCache = None,
    kernels: options.Kernels = None,
    requantise: options.Requantise = None,
    stats: Annotated[bool, typer.Option("--stats", help="Say how fast it was, on stderr.")] = False,
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
    from grokdist.cli.host_part import part_in
    from grokdist.cli.memory import host_memory
    from grokdist.cli.verified import Rounding, open_verified
    from grokdist.policy.notice import notice

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if prompt is not None and tokens is not None:
        raise UsageError("a prompt and --tokens were given; expected one of them")
    shared = cluster.find(coordinator, processes, process, model=model)

    def word() -> dict[str, Any]:
        asked = _asked(prompt, tokens, json=json, alone=shared is None)
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
    engine = load_engine(
        opened,
        mesh=mesh,
        dtype=dtype,
        rounding=rounding,
        kernels=kernels,
        out=out,
        shared=shared,
    )

    from grokdist_runtime.sampling import SamplingParams

    sampling = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=said["seed"],
    )
    writer = _Writer(engine, sampling, max_tokens, tuple(stop or ()), ignore_eos, out)
    if said["tokens"] is None and said["prompt"] is None:
        _ask(writer, stats, out)
        return
    ids = engine.encode(said["prompt"]) if said["tokens"] is None else said["tokens"]
    completion = writer.write(ids)
    out.result(_document(opened, completion, sampling, engine), "")
    if stats:
        out.asked(stats_line(engine, completion))


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
    """Load a model on the devices at hand; the CPU plays as many as ``mesh`` asks for.

    Where the run is ``shared`` the devices are those of all its processes.
    """
    from grokdist.cli.progress import showing_load
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.devices import simulate_for_mesh

    simulate_for_mesh(mesh, 1 if shared is None else shared.processes)
    if shared is not None:
        from grokdist_runtime.distributed import require_same, start

        start(shared)
        require_same("model", opened.identity)

    from grokdist_runtime.engine import CONFIG_FILE, Engine

    config = None
    if opened.config is not None and not (opened.directory / CONFIG_FILE).exists():
        config = ModelConfig.from_mapping(opened.config)
    with showing_load(out) as on_bytes:
        engine = Engine.load(
            opened.directory,
            config=config,
            mesh=mesh,
            dtype=dtype,
            kv_cache=rounding.kv_cache,
            requantise=rounding.group,
            kernels=kernels,
            compile_cache=compile_cache(),
            on_bytes=on_bytes,
        )
    if engine.config.altered is not None:
        out.warning(f"altered: {engine.config.altered}")
    if dtype is not None and engine.runner.spec.dtype != dtype:
        out.note(f"the CPU computes in {engine.runner.spec.dtype}, which is finer than {dtype}")
    return engine


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


class _Writer:
    """Generates one completion after another and streams their text."""

    def __init__(
        self,
        engine: Engine,
        sampling: SamplingParams,
        max_tokens: int,
        stop: tuple[str, ...],
        ignore_eos: bool,
        out: Output,
    ) -> None:
        self.engine = engine
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._stop = stop
        self._ignore_eos = ignore_eos
        self._out = out

    def write(self, ids: Any) -> Completion:
        """Continue a prompt; returns once the text has ended."""
        from grokdist_runtime.events import EndEvent

        events = self.engine.generate(
            ids,
            self._sampling,
            max_tokens=self._max_tokens,
            stop=self._stop,
            ignore_eos=self._ignore_eos,
        )
        spoken = self.engine.tokenizer is not None
        for event in events:
            if isinstance(event, EndEvent):
                self._out.stream((event.text if spoken else "") + "\n")
                return event.completion
            self._out.stream(event.text if spoken else f"{event.token_id} ")
        raise AssertionError  # generate always ends with an EndEvent


def _ask(writer: _Writer, stats: bool, out: Output) -> None:
    """A prompt loop: each line is continued; an interrupt ends the answer, not the session."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() history and editing

    out.note("Type the start of a text; an empty line or Ctrl-D ends.")
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line:
            return
        try:
            completion = writer.write(writer.engine.encode(line))
        except KeyboardInterrupt:
            out.stream("\n")
            continue
        if stats:
            out.asked(stats_line(writer.engine, completion))


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
    completion: Completion,
    sampling: SamplingParams,
    engine: Engine,
) -> dict[str, Any]:
    import dataclasses

    spec = engine.runner.spec

    return {
        "model": opened.name,
        "prompt_tokens": completion.prompt_tokens,
        "tokens": len(completion.token_ids),
        "token_ids": list(completion.token_ids),
        "text": completion.text,
        "stop_reason": completion.stop_reason,
        "seed": sampling.seed,
        "kv_cache": spec.kv_cache,
        "kernels": spec.kernels,
        "altered": spec.config.altered,
        "verified": opened.manifest is not None,
        "license": opened.manifest.license.expression if opened.manifest else None,
        "timings": dataclasses.asdict(completion.timings),
    }
