"""Measure llama.cpp in a process of its own, through ``llama-cpp-python``'s C interface.

Reads a JSON request from standard input and writes one JSON answer to standard output; the same
request and answer as ``our_child``. One step is ``llama_decode`` and the choice of the likeliest
token from the logits, which is fed to the next step.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as api
import numpy as np

from benchmarks.runtime.probe import memory

_BATCH = 512
_DISABLED = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED: this architecture has none in llama.cpp


class Llama:
    """One loaded model with an empty context."""

    def __init__(self, path: str, threads: int, room: int) -> None:
        self._quiet = api.llama_log_callback(_ignore)
        api.llama_log_set(self._quiet, ctypes.c_void_p(0))
        api.llama_backend_init()
        start = time.perf_counter()
        settings = api.llama_model_default_params()
        settings.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(path.encode(), settings)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        context = api.llama_context_default_params()
        context.n_ctx = -(-room // 256) * 256
        context.n_batch = context.n_ubatch = _BATCH
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn_type = _DISABLED
        context.offload_kqv = context.op_offload = False
        self._context = api.llama_init_from_model(self.model, context)
        self.load_s = time.perf_counter() - start
        self._vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self._length = 0

    @property
    def weights(self) -> int:
        """Bytes of its weights."""
        return int(api.llama_model_size(self.model))

    def clear(self) -> None:
        """Forgets all tokens."""
        api.llama_memory_clear(api.llama_get_memory(self._context), False)
        self._length = 0

    def take(self, tokens: Sequence[int], *, every: bool = False) -> Any:
        """Takes in tokens; logits ``[n, V]`` after each, or ``[1, V]`` after the last."""
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place] = token
            batch.pos[place] = self._length + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = 0
            batch.logits[place] = every or place == len(tokens) - 1
        if api.llama_decode(self._context, batch):
            raise RuntimeError(f"llama.cpp refused {len(tokens)} tokens at {self._length}")
        self._length += len(tokens)
        api.llama_batch_free(batch)
        rows = len(tokens) if every else 1
        found = api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(found, shape=(rows, self._vocab))

    def generate(self, prompt: Sequence[int], count: int) -> tuple[float, float]:
        """Seconds from the prompt to the first token, and from there to the last of ``count``."""
        self.clear()
        start = time.perf_counter()
        token = int(self.take(prompt)[0].argmax())
        first = time.perf_counter()
        for _ in range(count - 1):
            token = int(self.take([token])[0].argmax())
        return first - start, time.perf_counter() - first


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answers one request."""
    longest = max(len(request["long_prompts"][0]), len(request["prompts"][0]) + request["decode"])
    llama = Llama(request["model"], request["threads"], longest + 1)
    answer: dict[str, Any] = {"load_s": llama.load_s, "weights": llama.weights}
    if request["score"]:
        np.save(request["logits"], llama.take(request["score"], every=True))
    llama.generate(request["long_prompts"][0], 1)  # warm
    prefill = [len(prompt) / llama.generate(prompt, 1)[0] for prompt in request["long_prompts"][1:]]
    llama.generate(request["prompts"][0], request["decode"])
    decode = [
        (request["decode"] - 1) / llama.generate(prompt, request["decode"])[1]
        for prompt in request["prompts"][1:]
    ]
    return answer | {
        "prefill": prefill,
        "decode": decode,
        "memory": dataclasses.asdict(memory()),
        "how": f"llama-cpp-python {llama_cpp.__version__}",
    }


def _ignore(level: int, text: bytes, data: Any) -> None:
    """Drops what llama.cpp logs."""


if __name__ == "__main__":
    json.dump(measure(json.load(sys.stdin)), sys.stdout)
