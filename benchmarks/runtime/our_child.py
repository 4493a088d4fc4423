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
from grokdist_runtime.params import bytes_per_token
from grokdist_runtime.sampling import SamplingParams


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answers one request; only loads where it has no prompts."""
    jax.devices()  # the start of JAX is no part of loading a model
    start = time.perf_counter()
    engine = Engine.load(Path(request["model"]), mesh="1x1")
    answer: dict[str, Any] = {"load_s": time.perf_counter() - start}
    answer |= _weights(engine)
    if not request["prompts"]:
        return answer | {"memory": dataclasses.asdict(memory())}
    if request["score"]:
        np.save(request["logits"], engine.score(request["score"]))
    start = time.perf_counter()
    generate(engine, request["long_prompts"][0], 1)
    generate(engine, request["prompts"][0], request["decode"])
    answer["warm_s"] = time.perf_counter() - start
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
        "how": f"jax {jax.__version__}, {engine.runner.spec.kernels} kernels",
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


def _weights(engine: Engine) -> dict[str, Any]:
    """Bytes of weights as they are kept, and those that one decoded token reads."""
    kept = sum(array.nbytes for array in jax.tree.leaves(engine.runner.weights))
    return {"weights": int(kept), "active": bytes_per_token(engine.runner.spec)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    use_compilation_cache(Path(asked["compile_cache"]))
    json.dump(measure(asked), sys.stdout)
