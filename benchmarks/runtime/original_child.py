"""Measure the original algorithm in a process of its own.

Reads a JSON request from standard input and writes one JSON answer to standard output. A step
takes seconds, so it is timed layer by layer until a budget is spent; all layers are alike, so the
rest counts as the mean of those timed. How many were timed stands in the answer.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.runtime import original
from benchmarks.runtime.probe import memory
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS, FINAL_NORM
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.devices import use_compilation_cache

_STEPS = 3


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answers one request."""
    jax.devices()
    directory = Path(request["model"])
    start = time.perf_counter()
    config = ModelConfig.from_json(directory / "config.json")
    weights = original.load(open_checkpoint(directory, config))
    jax.block_until_ready(weights)
    answer: dict[str, Any] = {"load_s": time.perf_counter() - start}

    step = Step(weights, config, 1)
    one = request["prompts"][0][:1]
    step.seconds(one, 0)  # warm
    steps = [step.seconds(one, request["budget_s"])]
    while sum(seconds for seconds, _ in steps) < request["budget_s"] and len(steps) < _STEPS:
        steps.append(step.seconds(one, request["budget_s"]))
    answer |= {"decode": [1 / seconds for seconds, _ in steps], "decode_layers": steps[0][1]}
    if request["prefill"]:
        prompt = request["long_prompts"][0]
        padded = prompt + [0] * (original.PADDED - len(prompt))
        start = time.perf_counter()
        seconds, layers = Step(weights, config, len(padded)).seconds(padded, request["budget_s"])
        answer |= {"prefill": [len(prompt) / seconds], "prefill_layers": layers}
        answer["prefill_s"] = time.perf_counter() - start
    return answer | {
        "weights": sum(array.nbytes for array in jax.tree.leaves(weights)),
        "memory": dataclasses.asdict(memory()),
        "how": f"jax {jax.__version__}",
    }


class Step:
    """One pass over a number of tokens, compiled ahead so that only running is timed."""

    def __init__(self, weights: Mapping[str, Any], config: ModelConfig, count: int) -> None:
        self._weights, self._config = weights, config
        tokens = jax.ShapeDtypeStruct((count,), jnp.int32)
        h = jax.ShapeDtypeStruct((count, config.emb_size), jnp.float32)
        layer, cache = original.layer_of(weights, 0), original.empty_cache(config)
        at = jax.ShapeDtypeStruct((), jnp.int32)
        self._embed = original.embed.lower(weights[EMBEDDINGS], tokens, config).compile()
        self._layer = original.decoder_layer.lower(h, layer, cache, at, config).compile()

    def seconds(self, tokens: list[int], budget_s: float) -> tuple[float, int]:
        """Seconds for one step over all layers, and of how many layers they were measured."""
        at, config = jnp.int32(0), self._config
        embedding, norm = self._weights[EMBEDDINGS], self._weights[FINAL_NORM]
        h, first = _seconds(self._embed, embedding, jnp.array(tokens))
        spent, layers = 0.0, 0
        while layers < config.num_layers and (not layers or spent < budget_s):
            layer = original.layer_of(self._weights, layers)
            cache = jax.block_until_ready(original.empty_cache(config))
            (h, _), seconds = _seconds(self._layer, h, layer, cache, at)
            spent, layers = spent + seconds, layers + 1
        _, last = _seconds(original.unembed, embedding, norm, h[-1:], config)
        return first + last + spent / layers * config.num_layers, layers


def _seconds(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return result, time.perf_counter() - start


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    use_compilation_cache(Path(asked["compile_cache"]))
    json.dump(measure(asked), sys.stdout)
