"""``grokdist plan``: what a model needs on which devices, and how fast it could be at most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, options
from grokdist.cli.format import plain_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.device_table import Devices
    from grokdist_runtime.plan import Plan

_CONFIG_FILE = "config.json"
_LOSSY = ("int8", "int4")
_MORE = 8
"""The batch that shows what a batch gives, where none was asked for."""


def plan(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.model_names, help="Name, or a directory with a config.json."
        ),
    ] = "grok-1",
    devices: Annotated[
        str | None,
        typer.Option(
            help="8xH100, 4xH200, v5e-16, cpu:512GB, cpu:512GB@400GB/s; default: this machine."
        ),
    ] = None,
    mesh: options.Mesh = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of each sequence; default: the model's longest.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    dtype: options.Dtype = None,
    kv_cache: options.KvCache = None,
    requantise: options.Requantise = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Plan a model on given devices: memory, whether it fits, and the most tokens a second."""
    from grokdist_runtime.checkpoint.expert_int4 import DEFAULT_GROUP
    from grokdist_runtime.device_table import parse_devices
    from grokdist_runtime.errors import DeviceError
    from grokdist_runtime.plan import make_plan, would_fit

    out = Output(json=json, quiet=quiet, verbose=verbose)
    name, config = _model(model, out)
    if requantise is not None:
        config = config.requantised(DEFAULT_GROUP)
    try:
        found = _this_machine() if devices is None else parse_devices(devices)
        made = make_plan(
            config,
            found,
            mesh=mesh,
            context=context,
            batch=batch,
            dtype=dtype,
            kv_cache=kv_cache,
        )
    except DeviceError as error:
        raise UsageError(str(error), hint=error.hint) from error
    changes = would_fit(made)
    out.result(_document(name, made, changes), _text(name, made, changes))


def _model(target: str, out: Output) -> tuple[str, ModelConfig]:
    """What to call a model, and its architecture.

    Raises:
        UnknownModelError: there is no such model.
        NoWeightsError: none of its weights were released.
        UsageError: it is not of the architecture that the runtime runs.
    """
    from grokdist.api.lookup import require_weights, trusted_manifest
    from grokdist_runtime.config import ModelConfig

    path = Path(target)
    if path.is_dir() and (path / _CONFIG_FILE).exists():
        return plain_text(path.name or target), ModelConfig.from_json(path / _CONFIG_FILE)
    manifest = trusted_manifest(target, None, out).manifest
    require_weights(manifest)
    if manifest.config is None:
        raise UsageError(
            f"{manifest.name} is no model of Grok-1's architecture (its format is"
            f" {manifest.format}); expected one that the runtime can run",
            hint="grokdist plan grok-1",
        )
    return target, ModelConfig.from_mapping(manifest.config)


def _this_machine() -> Devices:
    from grokdist.api.memory import host_memory
    from grokdist_runtime.device_table import USABLE, host

    usable = host_memory()
    return host(
        "this machine",
        memory_bytes=round(usable / USABLE),
        usable_bytes=usable,
        evidence="main memory that is free now, as the kernel says",
    )


def _document(name: str, plan: Plan, changes: tuple[str, ...]) -> dict[str, Any]:
    devices, held = plan.devices, plan.per_device
    return {
        "model": name,
        "devices": {
            "name": devices.name,
            "count": devices.count,
            "memory_bytes": devices.memory_bytes,
            "usable_bytes": devices.usable_bytes,
            "bandwidth_bytes_per_s": devices.bytes_per_s,
            "evidence": devices.evidence,
        },
        "mesh": str(plan.mesh),
        "dtype": plan.dtype,
        "cache_dtype": plan.cache_dtype,
        "altered": plan.config.altered,
        "context": plan.context,
        "cache_tokens": plan.cache_tokens,
        "batch": plan.batch,
        "weights_bytes": plan.copy_bytes,
        "bytes_per_device": {
            "weights": held.weights,
            "kv_cache": held.kv_cache,
            "activations_estimate": held.activations,
            "total": held.total,
        },
        "needed_bytes": plan.needed,
        "fits": plan.fits,
        "spare_bytes": plan.spare,
        "would_fit": list(changes),
        "roofline": [_roofline(plan, batch) for batch in _batches(plan)],
        "notes": list(plan.notes),
    }


def _roofline(plan: Plan, batch: int) -> dict[str, Any]:
    data = plan.mesh.data
    own = batch // data if batch % data == 0 else batch
    return {
        "batch": batch,
        "bytes_read_per_step": plan.bytes_read(batch=own, tokens=0),
        "tokens_per_s": plan.tokens_per_s(batch=batch),
        "bytes_read_per_step_full": plan.bytes_read(batch=own, tokens=plan.context),
        "tokens_per_s_full": plan.tokens_per_s(batch=batch, tokens=plan.context),
    }


def _batches(plan: Plan) -> list[int]:
    """Which to say a speed for: one, and the one asked for or one that shows what more gives."""
    return [1, _MORE if plan.batch == 1 else plan.batch]


def _text(name: str, plan: Plan, changes: tuple[str, ...]) -> str:
    held, devices = plan.per_device, plan.devices
    sequences = "1 sequence" if plan.batch == 1 else f"{plan.batch:,} sequences"
    lines = [
        f"{name} on {devices.name}, mesh {plan.mesh}, {plan.dtype},"
        f" {sequences} of {plan.context:,} tokens",
        *([f"altered: {plan.config.altered}"] if plan.config.altered else []),
        "",
        _row("weights", held.weights, _copy(plan)),
        _row("kv cache", held.kv_cache, _room(plan)),
        _row("activations", held.activations, "estimate"),
        _row("in all", held.total, "on each device" if devices.count > 1 else ""),
    ]
    if plan.needed != held.total:
        lines.append(_row("together", plan.needed, "devices that share one memory"))
    lines += [
        _row("there is", devices.usable_bytes, f"90 % of {_gb(devices.memory_bytes)}"),
        "",
        _verdict(plan),
    ]
    if not plan.fits:
        nothing = "no one change: try fewer sequences or tokens on more or larger devices"
        shown = [f"{each} (lossy)" if each.endswith(_LOSSY) else each for each in changes]
        lines.append(f"{'would fit':<12} {', '.join(shown) or nothing}")
    lines += [_speed(plan, batch) for batch in _batches(plan) if devices.bytes_per_s is not None]
    lines += [f"{'note':<12} {note}" for note in plan.notes]
    if devices.evidence:
        lines.append(f"{'figures':<12} {devices.evidence}")
    return "\n".join(lines)


def _copy(plan: Plan) -> str:
    sharers = plan.mesh.sharers
    return f"of {_gb(plan.copy_bytes)} over {sharers} devices" if sharers > 1 else ""


def _room(plan: Plan) -> str:
    rounded = ", rounded to int8" if plan.cache_dtype == "int8" else ""
    return f"room for {plan.cache_tokens:,} tokens a sequence{rounded}"


def _verdict(plan: Plan) -> str:
    where = " a device" if plan.devices.count > 1 else ""
    if plan.fits:
        return f"{'fits':<12} yes, {_both(plan.spare)}{where} to spare"
    return f"{'fits':<12} NO, {_both(-plan.spare)}{where} too much"


def _speed(plan: Plan, batch: int) -> str:
    facts = _roofline(plan, batch)
    label = "at most" if batch == 1 else ""
    return (
        f"{label:<12} {_rate(facts['tokens_per_s'])} tokens/s at batch {batch:,}"
        f" ({_rate(facts['tokens_per_s_full'])} once the context is full);"
        f" a step reads {_gb(facts['bytes_read_per_step'])}"
    )


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def _row(label: str, count: int, remark: str = "") -> str:
    line = f"{label:<12} {_gb(count):>10}  {_gib(count):>10}"
    return f"{line}  {remark}" if remark else line


def _both(count: int) -> str:
    return f"{_gb(count)} ({_gib(count)})"


def _gb(count: int) -> str:
    """Decimal: GB, or MB where that says more."""
    return f"{count / 1e9:,.1f} GB" if count >= 10**8 else f"{count / 1e6:,.1f} MB"


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 10**8 else f"{count / 2**20:,.1f} MiB"
