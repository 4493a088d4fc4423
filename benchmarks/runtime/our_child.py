"""Measure our runtime in a process of its own, as a user runs it: ``Engine.load`` and ``generate``.

Reads a JSON request from standard input and writes one JSON answer to standard output; the same
request and answer as ``llama_child``. One step is the compiled step, the choice of the likeliest
token with its log-probability, and that token's way to the host.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.runtime.probe import memory
from grokdist_runtime.devices import use_compilation_cache
from grokdist_runtime.engine import Engine
from grokdist_runtime.events import TokenEvent
from grokdist_runtime.kernels import choose
from grokdist_runtime.params import bytes_per_token
from grokdist_runtime.sampling import SamplingParams


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answers one request; only loads where it has no prompts."""
    # Neither the start of JAX nor the build of the kernel, once a machine, is part of loading.
    cache = Path(request["compile_cache"]) if request["compile_cache"] else None
    if cache is not None:
        use_compilation_cache(cache)
    choose(jax.devices()[0].platform, request["kernels"], cache and cache / "native")
    start = time.perf_counter()
    engine = Engine.load(
        Path(request["model"]), mesh="1x1", kernels=request["kernels"], compile_cache=cache
    )
    answer: dict[str, Any] = {"load_s": time.perf_counter() - start}
    spec, arrays = engine.runner.spec, jax.tree.leaves(engine.runner.weights)
    since = f", since {engine.plain_because}" if engine.plain_because else ""
    answer |= {
        "how": f"jax {jax.__version__}, {spec.kernels} kernels{since}",
        "weights": sum(array.nbytes for array in arrays),
        "active": bytes_per_token(spec),
    }
    if not request["prompts"]:
        return answer | {"memory": dataclasses.asdict(memory())}
    if request["score"]:
        np.save(request["logits"], engine.score(request["score"]))
    generate(engine, request["long_prompts"][0], 1)
    generate(engine, request["prompts"][0], request["decode"])
    answer["compile_s"] = engine.runner.compile_s
    prefill = [
        len(prompt) / generate(engine, prompt, 1)[0] for prompt in request["long_prompts"][1:]
    ]
    decode = [
        (request["decode"] - 1) / generate(engine, prompt, request["decode"])[1]
        for prompt in request["prompts"][1:]
    ]
    return answer | {
        "prefill": prefill,
        "decode": decode,
        "memory": dataclasses.asdict(memory()),
    }


def generate(engine: Engine, prompt: Sequence[int], count: int) -> tuple[float, float]:
    """Seconds from the prompt to the first token, and from there to the last of ``count``."""
    greedy = SamplingParams(temperature=0.0)
    start = time.perf_counter()
    times = [
        time.perf_counter()
        for event in engine.generate(prompt, greedy, max_tokens=count, ignore_eos=True)
        if isinstance(event, TokenEvent)
    ]
    return times[0] - start, times[-1] - times[0]


if __name__ == "__main__":
    json.dump(measure(json.load(sys.stdin)), sys.stdout)
