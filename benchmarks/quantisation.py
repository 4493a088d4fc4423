"""Measure what rounding costs: keys and values to int8, experts to int4.

    PYTHONPATH=.:runtime python -m benchmarks.quantisation --reference DIR

Logits of the reference checkpoint in ``DIR`` are compared with those of the original code, and
grok-mini is measured on the validation plays that it was not trained on, every token once. Both
run through the package's own runtime. Nothing here is timed, and nothing depends on the machine
but for the last digits. Some twenty minutes on two cores. Writes ``quantisation.md`` and
``quantisation.json`` into ``--output``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.runtime.machine import describe
from grokdist_runtime.checkpoint.expert_int4 import group_rows
from grokdist_runtime.checkpoint.requantisation import requantise, unpack
from grokdist_runtime.engine import Engine
from grokdist_runtime.plan import make_plan, weight_bytes
from tools.grok_mini.evaluate import BATCH, SHIPPED, figures, windowed_losses
from tools.grok_mini.prepare import read_split
from tools.grok_mini.tokenizer import encode_plays, load_tokenizer

_ROOT = Path(__file__).parents[1]
_COMPARED = 8192  # tokens of grok-mini's text whose whole distributions are compared

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to round; by default none."""

    name: str
    group: int | None = None
    kv_cache: str | None = None


VARIANTS = (
    Variant(name="as released"),
    Variant(name="int8 KV cache", kv_cache="int8"),
    Variant(name="int4 experts, groups of 128", group=128),
    Variant(name="int4 experts, groups of 64", group=64),
    Variant(name="int4 experts, groups of 32", group=32),
    Variant(name="int4 experts of 128, int8 KV cache", group=128, kv_cache="int8"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs it."""
    options = _parse(arguments)
    results: dict[str, Any] = {
        "command": "python -m benchmarks.quantisation --reference DIR"
        + (f" --tokens {options.tokens}" if options.tokens else ""),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(None),
        "reference": reference_rows(options.reference),
        "grok_mini": grok_mini_rows(options.tokens),
        "rounding": rounding_rows(SHIPPED),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "quantisation.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "quantisation.md").write_text(render(results), "utf-8")
    sys.stdout.write(render(results))


def divergence(logits: Array, expected: Array) -> dict[str, float]:
    """How far logits ``[T, V]`` are from others; distances in the others' standard deviations."""
    error = (logits - expected).astype(np.float64)
    deviation = float(expected.std())
    ours, theirs = log_softmax(logits), log_softmax(expected)
    kl = (np.exp(theirs) * (theirs - ours)).sum(-1)
    return {
        "rms": float(np.sqrt(np.square(error).mean())) / deviation,
        "max": float(np.abs(error).max()) / deviation,
        "kl_nats": float(kl.mean()),
        "same_top_1": float((logits.argmax(-1) == expected.argmax(-1)).mean()),
    }


def log_softmax(logits: Array) -> Array:
    """``[..., V]`` float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    result: Array = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return result


def reference_rows(directory: Path) -> list[dict[str, Any]]:
    """Each variant against the original code's float32 logits, and that code's own bfloat16."""
    with np.load(directory / "reference_float32.npz", allow_pickle=False) as stored:
        tokens, expected = stored["tokens"][0], stored["logits"][0]
    with np.load(directory / "reference_bfloat16.npz", allow_pickle=False) as stored:
        rows = [{"name": "original code in bfloat16", **divergence(stored["logits"][0], expected)}]
    for variant in VARIANTS:
        engine = _load(directory, variant)
        found = divergence(engine.score(tokens), expected)
        rows.append({"name": variant.name, **found, **_bytes(engine)})
        _say(rows[-1])
    return rows


def grok_mini_rows(limit: int | None) -> list[dict[str, Any]]:
    """Each variant on held-out text, and its distributions beside those of the model as it is."""
    text = read_split("validation")
    tokens = encode_plays(text, load_tokenizer(SHIPPED / "tokenizer.model"))[:limit]
    size = len(text) if limit is None else None
    plain: list[Array] = []
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        engine = _load(SHIPPED, variant)
        length = engine.config.sequence_len
        compared = min(len(tokens), _COMPARED) // length * length
        windows = tokens[:compared].reshape(-1, length)
        distances = []
        for place, window in enumerate(windows):
            logits = engine.score(window)
            if variant is VARIANTS[0]:
                plain.append(logits)
            distances.append(divergence(logits, plain[place]))
        row = {
            "name": variant.name,
            **held_out(engine, tokens, size),
            "compared_tokens": compared,
        }
        for key in ("rms", "kl_nats", "same_top_1"):
            row[key] = float(np.mean([each[key] for each in distances]))
        row["max"] = max(each["max"] for each in distances)
        rows.append({**row, **_bytes(engine)})
        _say(rows[-1])
    return rows


def held_out(engine: Engine, tokens: Array, text_bytes: int | None) -> dict[str, float]:
    """Perplexity on a text, as ``tools.grok_mini.evaluate`` measures it."""
    length = engine.config.sequence_len
    runner = engine.runner

    def window_losses(windows: Array) -> Array:
        logits, _ = runner.score(runner.new_cache(BATCH, length), windows[:, :-1], [length] * BATCH)
        found = np.take_along_axis(log_softmax(np.asarray(logits)), windows[:, 1:, None], -1)
        losses: Array = -found[..., 0]
        return losses

    losses = windowed_losses(window_losses, tokens, length)
    found = figures(losses, text_bytes or 1)
    return {
        "tokens": len(losses),
        "nats_per_token": float(np.mean(losses)),
        "perplexity": math.exp(float(np.mean(losses))),
        **({"bits_per_byte": found["bits_per_byte"]} if text_bytes else {}),
    }


def rounding_rows(directory: Path) -> list[dict[str, Any]]:
    """How much the choice of scales is worth: error of the weights themselves, by group.

    Root mean square of what rounding changes, over that of the weights: with the scales that are
    taken, and with those that just reach the largest value of each group.
    """
    from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
    from grokdist_runtime.config import ModelConfig

    config = ModelConfig.from_json(directory / "config.json")
    checkpoint = open_checkpoint(directory, config)
    rows = []
    for asked in (128, 64, 32):
        taken = reaching = total = 0.0
        for spec in checkpoint.specs:
            shard = checkpoint[spec.name]
            if spec.axes[0] != "experts" or shard.scales is None:
                continue
            values, scales = shard.weight.array(), shard.scales.array()
            depth = values.shape[-2]
            group = group_rows(depth, asked) or depth
            each = np.repeat(scales.astype(np.float32), depth // scales.shape[-2], -2)
            weights = values * each
            packed, found = requantise(values, scales, group)
            back = unpack(packed) * np.repeat(found.astype(np.float32), group, -2)
            grouped = weights.reshape(*weights.shape[:-2], -1, group, weights.shape[-1])
            step = np.abs(grouped).max(-2, keepdims=True) / 7
            step = np.where(step > 0, step, 1)
            taken += float(np.square(back - weights).sum())
            reaching += float(np.square(np.rint(grouped / step) * step - grouped).sum())
            total += float(np.square(weights).sum())
        rows.append(
            {
                "group": asked,
                "taken": math.sqrt(taken / total),
                "largest": math.sqrt(reaching / total),
            }
        )
    return rows


def render(results: Mapping[str, Any]) -> str:
    """The results as a page."""
    machine = results["machine"]
    mini = results["grok_mini"]
    lines = [
        "# What rounding costs",
        "",
        f"`{results['command']}`, {results['date']}.",
        "",
        f"{machine['cpu']}, Python {machine['python']}, jax {machine['jax']}; in float32. Nothing",
        "is timed here. Both ways to round are options and never the default; a model with int4",
        "experts says everywhere that it was altered.",
        "",
        "Distances are between logits, in standard deviations of those compared with; KL is of",
        "the rounded distribution from the other, in nats a token; *same first* is the share of",
        "tokens whose likeliest successor stays the same.",
        "",
        "## The reference checkpoint, against the original code in float32",
        "",
        f"{_HEAD} weights | cache |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(f"{_divergence_cells(row)} {_size_cells(row)}" for row in results["reference"]),
        "",
        "Random weights and 12 layers are the hardest case: routers are nearly tied, and each",
        "choice that flips moves a token far, which the largest distances show.",
        "",
        "## grok-mini on held-out plays, against itself as released",
        "",
        f"Perplexity over {mini[0]['tokens']:,} tokens, each predicted once; distances over",
        f"{mini[0]['compared_tokens']:,} of them, in windows of their own.",
        "",
        "| variant | perplexity | nats a token | to as released |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {row['name']} | {row['perplexity']:.2f} | {row['nats_per_token']:.4f} |"
            f" {100 * (row['perplexity'] / mini[0]['perplexity'] - 1):+.2f} % |"
            for row in mini
        ),
        "",
        f"{_HEAD} weights | cache |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(f"{_divergence_cells(row)} {_size_cells(row)}" for row in mini[1:]),
        "",
        "Groups are of at most so many rows: of 192, as grok-mini's experts have on one side, 96",
        "is the largest divisor up to 128. *Weights* are the bytes of all arrays that were loaded,",
        "*cache* those of a cache of 256 tokens.",
        "",
        "## The choice of scales",
        "",
        "Error of grok-mini's experts themselves: root mean square of what rounding changes, over",
        "that of the weights.",
        "",
        "| groups of | scales of least error | scales that reach the largest value |",
        "| ---: | ---: | ---: |",
        *(
            f"| {row['group']} | {row['taken']:.4f} | {row['largest']:.4f} |"
            for row in results["rounding"]
        ),
        "",
        "## Grok-1, by arithmetic",
        "",
        *_grok_1_lines(),
        "",
        "What rounding does to Grok-1's answers was not measured: it takes the model itself.",
    ]
    return "\n".join(lines) + "\n"


_HEAD = "| variant | RMS | largest | KL | same first |"


def _divergence_cells(row: Mapping[str, Any]) -> str:
    return (
        f"| {row['name']} | {row['rms']:.2g} | {row['max']:.2g} | {row['kl_nats']:.2g}"
        f" | {100 * row['same_top_1']:.1f} % |"
    )


def _size_cells(row: Mapping[str, Any]) -> str:
    if "weights_bytes" not in row:
        return "| |"
    return f"{row['weights_bytes']:,} | {row['cache_bytes']:,} |"


def _grok_1_lines() -> list[str]:
    """What the options save of the model that they are for, as ``grokdist plan`` has it."""
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.device_table import parse_devices

    manifest = json.loads((_ROOT / "manifests/models/grok-1.json").read_text("utf-8"))
    config = ModelConfig.from_mapping(manifest["config"])
    altered = config.requantised(128)
    devices = parse_devices("8xH100")
    plain, rounded = (make_plan(config, devices, kv_cache=kind) for kind in (None, "int8"))
    weights = [make_plan(each, devices, mesh="1x8").copy_bytes / 1e9 for each in (config, altered)]
    experts = [weight_bytes_of_experts(each) / 1e9 for each in (config, altered)]
    cache = [each.per_device.kv_cache * 8 / 1e9 for each in (plain, rounded)]
    return [
        f"Weights {weights[0]:.1f} GB as released, {weights[1]:.1f} GB with int4 experts in groups"
        f" of 128 ({experts[0]:.1f} and {experts[1]:.1f} GB of it experts). The cache of one",
        f"sequence of 8,192 tokens {cache[0]:.2f} GB in bfloat16, {cache[1]:.2f} GB in int8.",
    ]


def weight_bytes_of_experts(config: Any) -> int:
    """Bytes of all experts on the devices that hold one copy."""
    from grokdist_runtime.mesh_shape import MeshShape

    return weight_bytes(config, MeshShape(data=1, model=1, expert=1), "bfloat16").experts


def _load(directory: Path, variant: Variant) -> Engine:
    return Engine.load(
        directory,
        mesh="1x1",
        dtype="float32",
        requantise=variant.group,
        kv_cache=variant.kv_cache,
    )


def _bytes(engine: Engine) -> dict[str, int]:
    """Bytes of the arrays themselves."""
    cache = engine.runner.new_cache(1, 256)
    kept = (cache.keys, cache.values, cache.key_scales, cache.value_scales)
    return {
        "weights_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(engine.runner.weights)),
        "cache_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(kept)),
    }


def _say(row: Mapping[str, Any]) -> None:
    shown = (f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, float))
    sys.stderr.write(f"{row['name']}: {', '.join(shown)}\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--reference", type=Path, required=True, help="a checkpoint with reference_float32.npz"
    )
    parser.add_argument("--tokens", type=int, help="only so many tokens of the plays")
    parser.add_argument("--output", type=Path, default=_ROOT / "benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
