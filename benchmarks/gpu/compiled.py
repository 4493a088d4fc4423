"""The programs of Grok-1 compiled for described devices, and what they write to memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.gpu import grok
from benchmarks.gpu.hlo import collectives, weight_writes
from benchmarks.gpu.programs import compile_step
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.kv_cache import bucket_size
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec


def compiled_rows(
    config: ModelConfig,
    devices: Sequence[Any],
    *,
    batches: Sequence[int],
    chunks: Sequence[int],
    kernels: Sequence[str],
    cache: int,
    layers: int,
) -> list[dict[str, Any]]:
    """Layers of true size on one device, and the whole model over all of them."""
    count = len(devices)
    models = (
        (f"{layers} layers on one", grok.with_layers(config, layers), 1),
        (f"all {config.num_layers} over {count}", config, count),
    )
    rows = []
    for title, each, shards in models:
        for name in kernels:
            mesh = make_mesh(f"1x{shards}", devices)
            spec = ModelSpec.create(each, mesh, kernels=name)
            weights = grok.abstract(spec)
            least = grok.smallest_matrix(each) // shards
            sizes = [(batch, 1, cache) for batch in batches]
            sizes += [(1, chunk, bucket_size(chunk)) for chunk in chunks]
            for batch, new, room in sizes:
                print(f"{title}, {name}, {batch} x {new}", file=sys.stderr, flush=True)
                program = compile_step(spec, weights, batch=batch, new=new, cache=room)
                writes = weight_writes(program.as_text(), least)
                rows.append(
                    {
                        "model": title,
                        "kernels": name,
                        "batch": batch,
                        "new": new,
                        "widened": sum(one.nbytes for one in writes if one.widened),
                        "copied": sum(one.nbytes for one in writes if not one.widened),
                        "temporary": program.memory_analysis().temp_size_in_bytes,
                        "collectives": collectives(program.as_text()),
                    }
                )
    return rows
