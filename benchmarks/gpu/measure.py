"""All measurements on one device, in order, as plain results."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

import jax

from benchmarks.gpu import grok, timing
from benchmarks.gpu.hlo import weight_writes
from benchmarks.gpu.page import Results
from benchmarks.gpu.profile import profile
from benchmarks.gpu.programs import compile_step, filled_cache
from benchmarks.gpu.roofline import (
    GPT_FAST,
    Communication,
    peak_tokens_per_s,
    step_bytes,
)
from benchmarks.gpu.tuning import tune
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.device_table import DeviceKind
from grokdist_runtime.kv_cache import bucket_size
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    Attributes:
        config: The whole model.
        layers: Layers of true size; None for as many as fit.
        batches: Sequences to decode at once.
        chunks: Tokens to take in at once.
        kernels: Of ``ModelSpec.kernels``.
        room: Bytes for weights.
        devices: How many share the whole model, in the extrapolation.
        kind: The device's entry in the table; of another's bandwidth for a trial.
        cache: Tokens that each sequence's cache has room for; half of it is filled.
        steps: Of decoding in a run.
        runs: Of each measurement.
        copy_bytes: How much to copy for the bandwidth.
        communication: Between devices.
        tuned: Whether to try the kernel's tiles.
        trace: Where to write a profile; None for none.
    """

    config: ModelConfig
    layers: int | None
    batches: tuple[int, ...]
    chunks: tuple[int, ...]
    kernels: tuple[str, ...]
    room: int
    devices: int
    kind: DeviceKind
    cache: int
    steps: int
    runs: int
    copy_bytes: int
    communication: Communication
    tuned: bool
    trace: Path | None


def measure(request: Request) -> Results:
    """Measures everything."""
    whole, devices = request.config, request.devices
    bandwidth = {
        "copy": timing.copy_bytes_per_s(request.copy_bytes, request.runs),
        "read": timing.read_bytes_per_s(request.copy_bytes, request.runs),
    }
    fit = grok.layers_that_fit(whole, request.room) if request.layers is None else request.layers
    layers = grok.with_layers(whole, fit)
    models, tiles, traced = [], [], []
    models.append(_model(request, layers, f"{fit} whole layers", bandwidth["copy"]))
    part = grok.share(whole, devices)
    held = grok.with_layers(part, grok.layers_that_fit(part, request.room))
    title = f"One device's share of {devices}: {held.num_layers} layers"
    models.append(_model(request, held, title, bandwidth["copy"]))
    if request.tuned or request.trace is not None:
        spec = _spec(held, request.kernels[-1])
        weights = grok.random_weights(spec)
        if request.tuned:
            for blocks, rows in ((2, 1), (8, 16)):
                tiles += tune(weights.layers, blocks=blocks, rows=rows, interpret=spec.on_cpu)
        if request.trace is not None:
            traced = _profile(request, spec, weights, request.trace)
    return {
        "bandwidth": bandwidth,
        "models": models,
        "eight": _extrapolated(request, models[1]["rows"], held.num_layers),
        "tiles": tiles,
        "profile": traced,
    }


def _model(request: Request, config: ModelConfig, title: str, copy: float) -> dict[str, Any]:
    """Decode and prefill of one model. A layer's time is what twice the depth adds.

    So the embedding, the head and the start of a step, which a deep model pays once, do not count.
    """
    weights = grok.random_weights(_spec(config, "plain"))
    half = grok.with_layers(config, max(1, config.num_layers // 2))
    more = config.num_layers - half.num_layers
    least = grok.smallest_matrix(config)
    rows = []
    for kernels in request.kernels:
        deep, shallow = _spec(config, kernels), _spec(half, kernels)
        sizes = [(batch, 1) for batch in request.batches] + [(1, new) for new in request.chunks]
        for batch, new in sizes:
            found = []
            for spec in (deep, shallow) if more else (deep,):
                if new == 1:
                    runs, text = timing.decode(
                        spec,
                        weights,
                        batch=batch,
                        cache=request.cache,
                        steps=request.steps,
                        runs=request.runs,
                    )
                else:
                    runs, text = timing.prefill(
                        spec, weights, chunk=new, cache=bucket_size(new), runs=request.runs
                    )
                found.append((runs, text))
            seconds = [timing.median(runs) for runs, _ in found]
            layer = (seconds[0] - seconds[1]) / more if more else seconds[0]
            read = None
            if new == 1:
                reads = [
                    step_bytes(each, request.kind, batch=batch, tokens=request.cache)
                    for each in (config, half)
                ]
                read = (reads[0] - reads[1]) / more if more else reads[0]
            runs, text = found[0]
            rows.append(
                {
                    "kernels": kernels,
                    "batch": batch,
                    "new": new,
                    "step_s": seconds[0],
                    "least_s": min(runs),
                    "most_s": max(runs),
                    "layer_s": layer,
                    "layer_bytes": read,
                    "share": None if read is None else read / layer / copy,
                    "written": sum(each.nbytes for each in weight_writes(text, least)),
                }
            )
    del weights
    gc.collect()
    return {"title": title, "layers": config.num_layers, "rows": rows}


def _extrapolated(request: Request, rows: list[dict[str, Any]], held: int) -> dict[str, Any]:
    whole, communication = request.config, request.communication
    found = []
    for row in rows:
        if row["new"] > 1:
            continue
        work = row["step_s"] + row["layer_s"] * (whole.num_layers - held)
        sums = communication.step_s(whole, row["batch"])
        found.append(
            {
                "kernels": row["kernels"],
                "batch": row["batch"],
                "work_s": work,
                "sums_s": sums,
                "tokens_per_s": row["batch"] / (work + sums),
            }
        )
    return {
        "devices": request.devices,
        "peak": peak_tokens_per_s(whole, request.kind, request.devices),
        "gpt_fast": GPT_FAST,
        "model": {
            "sums": 2 * whole.num_layers + 1,
            "latency_s": communication.latency_s,
            "bytes_per_s": communication.bytes_per_s,
        },
        "rows": found,
    }


def _profile(request: Request, spec: ModelSpec, weights: Any, trace: Path) -> list[dict[str, Any]]:
    batch = request.batches[0]
    compiled = compile_step(spec, weights, batch=batch, new=1, cache=request.cache)
    state = [filled_cache(spec, batch=batch, cache=request.cache, tokens=request.cache // 2)]
    tokens = timing.some_tokens(spec, (batch,))

    def step() -> jax.Array:
        logits, state[0] = compiled(weights, state[0], tokens)
        found: jax.Array = logits
        return found

    return profile(step, trace)


def _spec(config: ModelConfig, kernels: str) -> ModelSpec:
    return ModelSpec.create(config, make_mesh("1x1"), kernels=kernels)
