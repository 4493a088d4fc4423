"""Writes grok-mini's machine-readable metadata from the files it describes.

python -m tools.grok_mini.metadata     # writes docs/grok-mini/metadata.json
"""

import argparse
import hashlib
import json
import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grokdist_runtime.checkpoint.tensor_table import TensorSpec, tensor_table
from grokdist_runtime.config import ModelConfig
from tools.grok_mini.evaluate import ROOT, SHIPPED, weights_digest
from tools.grok_mini.prepare import CORPUS
from tools.grok_mini.train import Recipe

TARGET = ROOT / "docs/grok-mini/metadata.json"
RUN_RECORD = ROOT / "docs/grok-mini/training-run.json"


def parameter_count(specs: tuple[TensorSpec, ...]) -> int:
    """Parameters of a model; scales are not counted."""
    return sum(math.prod(spec.shape) for spec in specs)


def active_parameter_count(config: ModelConfig) -> int:
    """Parameters that one token uses: of the experts only those selected."""
    idle = 1 - config.num_selected_experts / config.num_experts
    specs = tensor_table(config)
    expert = sum(math.prod(spec.shape) for spec in specs if "/moe/" in spec.name)
    return round(parameter_count(specs) - idle * expert)


def run_record(log: str) -> dict[str, Any]:
    """What a run's ``log.jsonl`` says, with the times of an interrupted run added up.

    A line with a recipe opens each part; the others are validations, with times since the part
    began. Steps that were done after the last saved state and then repeated count once.
    """
    rows: dict[int, dict[str, float]] = {}
    parts: list[dict[str, int]] = []
    began = {"seconds": 0.0, "cpu_seconds": 0.0}
    latest = dict(began)
    recipe: dict[str, Any] = {}
    tokens = 0
    for line in log.splitlines():
        entry = json.loads(line)
        if "recipe" in entry:
            recipe, tokens, began = entry["recipe"], entry["tokens"], dict(latest)
            parts.append({"from_step": entry["at"], "planned_steps": recipe["steps"]})
            continue
        latest = {key: round(began[key] + entry[key], 1) for key in began}
        kept = ("mean_loss", "validation_loss", "balance", "rate")
        rows[entry["step"]] = {key: round(entry[key], 6) for key in kept} | latest
    steps = max(rows)
    seen = steps * recipe["batch"] * recipe["model"]["sequence_len"]
    return {
        "steps": steps,
        "tokens_seen": seen,
        "training_tokens": tokens,
        "epochs": round(seen / tokens, 2),
        **latest,
        "parts": parts,
        "libraries": {name: version(name) for name in ("jax", "numpy", "sentencepiece")},
        "log": [{"step": step, **row} for step, row in sorted(rows.items())],
    }


def _as_trained(sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes without the key that only a model with rounded experts has a use for."""
    return {name: value for name, value in sizes.items() if name != "expert_int4_group"}


def _recipe(recipe: Recipe) -> dict[str, Any]:
    said = asdict(recipe)
    return said | {"model": _as_trained(said["model"])}


def metadata(shipped: Path = SHIPPED) -> dict[str, object]:
    """What there is to know about the shipped model without opening it."""
    config = ModelConfig.from_json(shipped / "config.json")
    files = sorted(path for path in shipped.rglob("*") if path.is_file())
    corpus = json.loads((CORPUS / "corpus.json").read_text())
    run = json.loads(RUN_RECORD.read_text())
    splits = {
        name: {key: entry[key] for key in ("file", "bytes", "lines", "sha256")}
        for name, entry in corpus["splits"].items()
    }
    return {
        "name": "grok-mini",
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "task": "text completion (base model, not instruction-tuned)",
        "language": "en (Early Modern English drama)",
        "architecture": _as_trained(asdict(config)),
        "parameters": parameter_count(tensor_table(config)),
        "active_parameters": active_parameter_count(config),
        "format": "one protocol 4 pickle a tensor, int8 with bfloat16 scales, as Grok-1",
        "weights_sha256": weights_digest(shipped),
        "files": {
            path.relative_to(shipped).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        },
        "tokenizer": {"kind": "SentencePiece BPE with byte fallback", "pieces": config.vocab_size},
        "data": {
            "source": corpus["source"],
            "splits": splits,
            "licence": "text: public domain by age; packaging: MIT",
        },
        "training": {
            "recipe": _recipe(Recipe(steps=run["steps"])),
            "run": {key: value for key, value in run.items() if key != "log"},
        },
    }


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--run-dir", type=Path, help="run folder whose log is to be recorded")
    options = parser.parse_args()
    if options.run_dir is not None:
        record = run_record((options.run_dir / "log.jsonl").read_text())
        RUN_RECORD.write_text(json.dumps(record, indent=1) + "\n")
    options.out.write_text(json.dumps(metadata(), indent=1) + "\n")


if __name__ == "__main__":
    main()
