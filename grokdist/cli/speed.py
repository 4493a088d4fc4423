"""How fast a completion was, in one line: what ``--stats`` says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokdist_runtime.engine import Engine
    from grokdist_runtime.events import Completion


def stats_line(engine: Engine, completion: Completion) -> str:
    """Where the time went, which kernels ran, and how much of the memory's bandwidth was used."""
    t = completion.timings
    decode = f"{t.decode_tokens_per_s:.1f}" if t.decode_tokens_per_s else "-"
    return (
        f"load {t.load_s:.2f} s, compile {t.compile_s:.2f} s, first token {t.first_token_s:.3f} s,"
        f" prefill {t.prefill_tokens_per_s:.1f} tokens/s, decode {decode} tokens/s"
        f"{_share(engine, t.decode_tokens_per_s)},"
        f" {len(completion.token_ids)} tokens ({completion.stop_reason}),{_reused(completion)}"
        f" {_kernels(engine)}"
    )


def _reused(completion: Completion) -> str:
    """What of the prompt was known from an earlier one; empty where nothing was."""
    if not completion.reused_tokens:
        return ""
    return f" {completion.reused_tokens} of {completion.prompt_tokens} prompt tokens known,"


def _kernels(engine: Engine) -> str:
    name = f"{engine.runner.spec.kernels} kernels"
    return f"{name}, since {engine.plain_because}" if engine.plain_because else name


def _share(engine: Engine, tokens_per_s: float | None) -> str:
    """What decoding read of the main memory a second; empty for a model that caches may hold."""
    import jax
    import numpy as np

    from grokdist_runtime.bandwidth import MIN_BYTES, read_rates
    from grokdist_runtime.params import bytes_per_token

    spec = engine.runner.spec
    if tokens_per_s is None or not spec.on_cpu:
        return ""
    largest = max(jax.tree.leaves(engine.runner.weights), key=lambda array: int(array.nbytes))
    data = np.asarray(largest.addressable_shards[0].data).reshape(-1).view(np.int8)  # no copy
    if data.nbytes < MIN_BYTES:
        return ""
    read = bytes_per_token(spec) * tokens_per_s
    most = max(read_rates(data, os.cpu_count() or 1))
    return f" ({read / 1e9:.1f} GB/s, {read / most:.0%} of what memory gives)"
