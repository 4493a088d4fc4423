"""Writes sample completions of a checkpoint, with fixed prompts and seeds, as one Markdown page.

The prompts, seeds and settings were written down before the training had ended, and every
completion is shown as it came: none was drawn twice to pick the better one.

    python -m tools.grok_mini.sample --out docs/grok-mini/samples.md
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece
from jax import Array

from grokdist_runtime.config import ModelConfig
from tools.grok_mini.evaluate import SHIPPED, weights_digest
from tools.grok_mini.export import read_checkpoint
from tools.grok_mini.model import logits_and_balance
from tools.grok_mini.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion to draw; temperature 0 takes the likeliest token each time."""

    prompt: str
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0


SAMPLES = (
    Sample(prompt="To be, or not to be", temperature=0.0),
    Sample(prompt="To be, or not to be"),
    Sample(prompt="To be, or not to be", seed=1),
    Sample(prompt="Shall I compare thee to a summer's day?\n"),
    Sample(prompt="ROMEO\nWhat light is this that"),
    Sample(prompt="ACT II\n\nSCENE I. A street in Venice.\n\n[Enter two Gentlemen]\n\n"),
    Sample(prompt="KING JOHN\nNow, cousin, tell me"),
    Sample(prompt="The computer is a machine that"),
)


@partial(jax.jit, static_argnums=(2,))
def _logits(params: Mapping[str, Array], window: Array, config: ModelConfig) -> Array:
    return logits_and_balance(params, window, config)[0]


def draw(
    params: Mapping[str, Array],
    config: ModelConfig,
    tokenizer: sentencepiece.SentencePieceProcessor,
    sample: Sample,
    max_tokens: int,
) -> str:
    """The completion of one prompt, without the prompt; stops at the end of a play."""
    rng = np.random.default_rng(sample.seed)
    prompt: list[int] = tokenizer.encode(sample.prompt)
    made: list[int] = []
    while len(made) < max_tokens:
        recent = [*prompt, *made][-config.sequence_len :]
        window = np.full((1, config.sequence_len), config.pad_token, np.int32)
        window[0, : len(recent)] = recent
        logits = np.asarray(_logits(params, jnp.asarray(window), config)[0, len(recent) - 1])
        token = _choose(logits.astype(np.float64), sample, rng)
        if token == config.eos_token:
            break
        made.append(token)
    whole: str = tokenizer.decode([*prompt, *made])
    return whole.removeprefix(sample.prompt)


def _choose(logits: np.ndarray, sample: Sample, rng: np.random.Generator) -> int:
    if sample.temperature == 0.0:
        return int(np.argmax(logits))
    probability = np.exp((logits - logits.max()) / sample.temperature)
    probability /= probability.sum()
    order = np.argsort(-probability)
    before = np.cumsum(probability[order]) - probability[order]
    kept = order[before < sample.top_p]
    return int(rng.choice(kept, p=probability[kept] / probability[kept].sum()))


def page(directory: Path, max_tokens: int) -> str:
    """The page of samples."""
    config, arrays = read_checkpoint(directory)
    params = {name: jnp.asarray(value) for name, value in arrays.items()}
    tokenizer = load_tokenizer(directory / "tokenizer.model")
    parts = [
        "# Sample outputs of grok-mini",
        "Drawn by `tools/grok_mini/sample.py` from the shipped weights "
        f"(digest `{weights_digest(directory)[:16]}`), {max_tokens} tokens each, prompts and seeds "
        "fixed beforehand, none drawn twice. *King John* is one of the two "
        "plays the model never saw; the last prompt is far from anything it was trained on.",
    ]
    for sample in SAMPLES:
        how = "greedy"
        if sample.temperature:
            how = f"temperature {sample.temperature}, top-p {sample.top_p}, seed {sample.seed}"
        made = draw(params, config, tokenizer, sample, max_tokens)
        parts += [f"## {how}", "Prompt:", fenced(sample.prompt), "Completed:"]
        parts.append(fenced(sample.prompt + made))
    return "\n\n".join(parts) + "\n"


def fenced(text: str) -> str:
    """``text`` as a Markdown code block."""
    return "```text\n" + text.rstrip("\n") + "\n```"


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(options.model, options.max_tokens))


if __name__ == "__main__":
    main()
