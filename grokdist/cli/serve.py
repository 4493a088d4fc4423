"""``grokdist serve``: one verified model for OpenAI's clients, and a page to try it on."""

from __future__ import annotations

import ipaddress
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import completion, options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.output import Output
from grokdist.errors import GrokdistError, UsageError

if TYPE_CHECKING:
    import socket

    from grokdist.api.verified import VerifiedModel
    from grokdist_runtime.engine import Engine
    from grokdist_runtime.server.guard import ApiKeys
    from grokdist_runtime.server.limits import Limits
    from grokdist_runtime.server.service import Served

_WHOLE_CONTEXT = 1 << 31


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.fetched_names,
            help="Name or directory; default: the largest verified model that fits.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address; by default this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="Clients must know a line of this file; or set GROKDIST_API_KEY."),
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Texts generated together.", min=1, max=256)] = 8,
    max_waiting: Annotated[
        int, typer.Option(help="Texts that may wait; more are answered with 429.", min=1)
    ] = 64,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="A request may ask for so many; default: the context.", min=1),
    ] = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longest prompt; default: the context.", min=1)
    ] = None,
    max_choices: Annotated[int, typer.Option(help="Prompts times n of one request.", min=1)] = 16,
    max_body: Annotated[int, typer.Option(help="Bytes of a request's body.", min=1024)] = 4 << 20,
    timeout: Annotated[
        float, typer.Option(help="Seconds until an answer must have ended.", min=0.1)
    ] = 600.0,
    grace: Annotated[
        float, typer.Option(help="Seconds for answers under way once a signal came.", min=0)
    ] = 10.0,
    prefix_cache: Annotated[
        int, typer.Option(help="Bytes for beginnings of texts, on each device.", min=0)
    ] = 1 << 29,
    mesh: options.Mesh = None,
    dtype: options.Dtype = None,
    kv_cache: options.KvCache = None,
    kernels: options.Kernels = None,
    requantise: options.Requantise = None,
    unsafe_unverified: Annotated[
        bool,
        typer.Option("--unsafe-unverified", help="Serve a directory that nothing vouches for."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve a verified model to OpenAI's clients, and a page to try it on."""
    out = Output(json=json, quiet=quiet, verbose=verbose)
    _require_packages()

    from grokdist.api.memory import host_memory
    from grokdist.api.verified import Rounding
    from grokdist.cli.api_keys import read_keys
    from grokdist.cli.run import load_engine
    from grokdist.cli.verified import open_verified
    from grokdist.policy.notice import notice
    from grokdist_runtime.server.guard import ApiKeys
    from grokdist_runtime.server.http_server import bind
    from grokdist_runtime.server.limits import Limits

    limits = Limits(
        max_body_bytes=max_body,
        max_prompt_tokens=max_prompt_tokens,
        max_tokens=max_tokens,
        max_choices=max_choices,
        timeout_s=timeout,
        grace_s=grace,
    )
    keys = ApiKeys(read_keys(api_key_file, out))
    # Before the model is loaded: whoever mistyped a port should not wait for it.
    with bind(host, port) as bound:
        _require_key_beyond_loopback(bound, keys, out)
        rounding = Rounding(kv_cache=kv_cache, requantise=requantise)
        opened = open_verified(
            model,
            memory=host_memory(),
            unsafe_unverified=unsafe_unverified,
            out=out,
            act="serve",
            tokens=_WHOLE_CONTEXT,
            rows=max_rows,
            rounding=rounding,
        )
        checked = datetime.now(UTC)
        if opened.manifest is not None:
            out.note(f"{opened.name}: {notice(opened.manifest)}")
        engine = load_engine(
            opened, mesh=mesh, dtype=dtype, rounding=rounding, kernels=kernels, out=out
        )
        by = _serve(
            opened,
            engine,
            bound,
            served=_served(opened, checked),
            limits=limits,
            keys=keys,
            rows=(max_rows, max_waiting, prefix_cache),
            out=out,
        )
    out.note("stopped")
    if by == signal.SIGINT:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _serve(
    opened: VerifiedModel,
    engine: Engine,
    bound: socket.socket,
    *,
    served: Served,
    limits: Limits,
    keys: ApiKeys,
    rows: tuple[int, int, int],
    out: Output,
) -> int | None:
    """Answer until a signal ends it; returns which."""
    import asyncio

    from grokdist_runtime.server.app import make_app
    from grokdist_runtime.server.chat_template import ChatTemplate
    from grokdist_runtime.server.guard import names_at
    from grokdist_runtime.server.http_server import HttpServer
    from grokdist_runtime.server.service import Service, running_scheduler

    if engine.tokenizer is None:
        raise UsageError(
            f"{opened.directory} has no tokenizer; expected one, since clients send texts",
            hint=f"grokdist run --model {opened.directory} --tokens FILE.npy takes token ids",
        )
    _log(out)
    address, port = bound.getsockname()[:2]
    chat = ChatTemplate.of(opened.directory)
    max_rows, max_waiting, prefix_bytes = rows
    with running_scheduler(
        engine, max_rows=max_rows, max_waiting=max_waiting, prefix_bytes=prefix_bytes
    ) as scheduler:
        service = Service(engine, engine.tokenizer, scheduler, served, limits, chat)
        # With a key it does not matter by which name the server is called.
        app = make_app(service, keys=keys, names=() if keys else names_at(address))

        def ready() -> None:
            shown = f"[{address}]" if ":" in address else address
            url = f"http://{shown}:{port}"
            document = {"url": url, "model": served.name, "host": address, "port": port}
            out.result(document, f"{served.name} answers at {url} (API: {url}/v1)")

        server = HttpServer(app, service, on_ready=ready)
        asyncio.run(server.serve(sockets=[bound]))
        return server.signal


def _served(opened: VerifiedModel, checked: datetime) -> Served:
    from grokdist.cli.provenance import provenance
    from grokdist_runtime.server.service import Served

    manifest = opened.manifest
    created = checked
    if manifest is not None and manifest.released is not None:
        created = datetime.fromisoformat(manifest.released).replace(tzinfo=UTC)
    return Served(
        name=opened.name,
        created=int(created.timestamp()),
        owner=manifest.publisher if manifest is not None else "unknown",
        fingerprint="unverified" if opened.trusted is None else f"fp_{opened.trusted.sha256[:16]}",
        provenance=provenance(opened, at=checked),
    )


def _require_packages() -> None:
    try:
        import jinja2  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise GrokdistError(
            f"the server needs the package {error.name}, which is not installed",
            hint="pip install 'grokdist[serve]'",
        ) from error


def _require_key_beyond_loopback(bound: socket.socket, keys: ApiKeys, out: Output) -> None:
    address = bound.getsockname()[0]
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    if not keys:
        raise UsageError(
            f"others reach {address} and there is no API key; expected one beyond loopback",
            hint="export GROKDIST_API_KEY=$(openssl rand -hex 24), or --api-key-file FILE",
        )
    out.warning(
        f"what goes to and from {address} is not encrypted, the API key included;"
        " put a proxy with TLS before it"
    )


def _log(out: Output) -> None:
    """Faults go to stderr always, requests when asked for; never a header, so never a key."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("uvicorn", "grokdist_runtime.server"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if out.verbose and not out.quiet else logging.WARNING)
