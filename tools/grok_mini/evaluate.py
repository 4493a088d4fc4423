"""Measures the shipped, quantised grok-mini on the validation plays, beside count-based models.

Every validation token but the first is predicted once, by every model, and the losses are averaged
over the same tokens. grok-mini reads windows of its context length that overlap by half, and a
token is counted in the window in which it stands in the second half. The experts are computed
exactly, with nothing dropped.

    python -m tools.grok_mini.evaluate                      # prints a table, writes JSON
    python -m tools.grok_mini.evaluate --float-params FILE  # adds the weights before quantisation
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from grokdist_runtime.config import ModelConfig
from tools.grok_mini.baseline import KneserNey
from tools.grok_mini.export import read_checkpoint
from tools.grok_mini.model import logits_and_balance, token_losses
from tools.grok_mini.prepare import read_split
from tools.grok_mini.tokenizer import encode_plays, load_tokenizer
from tools.grok_mini.train import load_params

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "grokdist/bundled/grok-mini"
INTERMEDIATE = ROOT / "tools/grok_mini/intermediate"
RESULTS = ROOT / "docs/grok-mini/evaluation.json"
NGRAM_ORDERS = (1, 2, 3, 4, 5, 6)
TRAINING_SAMPLE = 40_000
BATCH = 8

Losses = NDArray[np.float64]


@partial(jax.jit, static_argnums=(2,))
def _window_losses(params: Mapping[str, Array], windows: Array, config: ModelConfig) -> Array:
    logits, _ = logits_and_balance(params, windows[:, :-1], config)
    return token_losses(logits, windows[:, 1:])


def model_losses(
    params: Mapping[str, Array], tokens: NDArray[np.int32], config: ModelConfig
) -> Losses:
    """Loss in nats of each of ``tokens[1:]``."""

    def losses(windows: NDArray[np.int32]) -> Losses:
        return np.asarray(_window_losses(params, jnp.asarray(windows), config), np.float64)

    return windowed_losses(losses, tokens, config.sequence_len)


def windowed_losses(
    window_losses: Callable[[NDArray[np.int32]], Losses], tokens: NDArray[np.int32], length: int
) -> Losses:
    """Loss in nats of each of ``tokens[1:]``, each counted once, by any model.

    Args:
        window_losses: From windows ``[BATCH, length + 1]`` to the losses of all tokens of each
            but the first.
        tokens: The text.
        length: The model's context.
    """
    half = length // 2
    losses = np.full(len(tokens) - 1, np.nan)
    last = max(0, len(tokens) - 1 - length)
    starts = [*range(0, last, half), last]
    for at in range(0, len(starts), BATCH):
        chosen = starts[at : at + BATCH]
        # Short batches and texts are filled up, so that one compiled program serves all.
        windows = np.zeros((BATCH, length + 1), np.int32)
        for row, start in enumerate(chosen):
            piece = tokens[start : start + length + 1]
            windows[row, : len(piece)] = piece
        found = window_losses(windows)
        for row, start in enumerate(chosen):
            stop = min(start + length, len(losses))
            place = slice(start if start == 0 else start + half, stop)
            fresh = found[row, place.start - start : stop - start]
            losses[place] = np.where(np.isnan(losses[place]), fresh, losses[place])
    return losses


def figures(losses: Losses, text_bytes: int) -> dict[str, float]:
    """Mean loss and what follows from it; ``text_bytes`` is the length of the text predicted."""
    mean = float(np.mean(losses))
    return {
        "nats_per_token": round(mean, 4),
        "perplexity": round(math.exp(mean), 2),
        "bits_per_byte": round(float(np.sum(losses)) / math.log(2) / text_bytes, 4),
    }


def weights_digest(directory: Path) -> str:
    """SHA-256 over the lines ``<sha256>  <name>`` of a checkpoint's shards, in name order."""
    whole = hashlib.sha256()
    for path in sorted((directory / "ckpt-0").iterdir()):
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode())
    return whole.hexdigest()


def evaluate(shipped: Path, intermediate: Path, float_params: Path | None) -> dict[str, object]:
    """All figures, as they are written to ``evaluation.json``."""
    tokenizer = load_tokenizer(shipped / "tokenizer.model")
    text = read_split("validation")
    train = encode_plays(read_split("train"), tokenizer)
    held_out = encode_plays(text, tokenizer)
    config, params = read_checkpoint(shipped)
    models: dict[str, dict[str, float]] = {}

    def measure(name: str, losses: Losses) -> None:
        models[name] = figures(losses, len(text))

    device = {name: jnp.asarray(value) for name, value in params.items()}
    measure("grok-mini (shipped, int8)", model_losses(device, held_out, config))
    sample = train[:TRAINING_SAMPLE]
    on_training = float(np.mean(model_losses(device, sample, config)))
    if float_params is not None:
        measure("grok-mini (float32)", model_losses(load_params(float_params), held_out, config))
    if (intermediate / "ckpt-0").is_dir():
        _, early = read_checkpoint(intermediate)
        device = {name: jnp.asarray(value) for name, value in early.items()}
        measure("grok-mini (intermediate, int8)", model_losses(device, held_out, config))
    for order in NGRAM_ORDERS:
        name = "unigram" if order == 1 else f"Kneser-Ney {order}-gram"
        counted = KneserNey(train, order, config.vocab_size)
        measure(name, counted.losses(held_out)[1:])
    measure("uniform", np.full(len(held_out) - 1, math.log(config.vocab_size)))
    return {
        "split": "validation: Much Ado About Nothing, King John",
        "tokens": len(held_out) - 1,
        "bytes": len(text),
        "context": config.sequence_len,
        "parameters": int(sum(value.size for value in params.values())),
        "weights_sha256": weights_digest(shipped),
        "tokenizer_sha256": hashlib.sha256((shipped / "tokenizer.model").read_bytes()).hexdigest(),
        "training_text_nats_per_token": round(on_training, 4),
        "models": models,
    }


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| model | nats a token | perplexity | bits a byte |", "|---|---|---|---|"]
    for name, row in results.items():
        lines.append(
            f"| {name} | {row['nats_per_token']:.3f} | {row['perplexity']:.1f} "
            f"| {row['bits_per_byte']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--intermediate", type=Path, default=INTERMEDIATE)
    parser.add_argument("--float-params", type=Path, help="params-NNNNN.npz the model came from")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = evaluate(options.model, options.intermediate, options.float_params)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    sys.stdout.write(table(results["models"]) + "\n")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
