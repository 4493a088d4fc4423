"""Trains grok-mini on the prepared corpus, on a CPU, and can stop and go on at any step.

Every random choice is drawn from the seed and the step number: a run that was interrupted and
resumed sees the same batches and the same dropout as one that was not.

    python -m tools.grok_mini.train --tokenizer FILE --run-dir DIR [--steps N]

The run folder then holds ``state.npz`` (parameters and optimiser, replaced as the run goes on),
``log.jsonl``, and a ``params-NNNNN.npz`` for each step in ``--keep``, for the last, and, as
``params-best.npz``, for the step with the lowest validation loss.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from grokdist_runtime.config import ModelConfig
from tools.grok_mini.model import (
    EXACT,
    GROK_MINI,
    Params,
    Regularisation,
    init_params,
    logits_and_balance,
    token_losses,
)
from tools.grok_mini.optimiser import AdamW, OptimiserState, apply_update
from tools.grok_mini.prepare import read_split
from tools.grok_mini.tokenizer import encode_plays, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the outcome beside the corpus and the tokenizer."""

    model: ModelConfig = GROK_MINI
    adam: AdamW = field(default_factory=AdamW)
    steps: int = 2400
    batch: int = 16
    dropout: float = 0.1
    capacity_factor: float = 1.25
    balance_weight: float = 0.01
    seed: int = 2024

    @property
    def capacity(self) -> int:
        """Rows an expert takes of one batch."""
        tokens = self.batch * self.model.sequence_len
        even = tokens * self.model.num_selected_experts / self.model.num_experts
        return int(even * self.capacity_factor)


@dataclass(kw_only=True)
class TrainingState:
    """What a resumed run needs."""

    step: int
    params: Params
    optimiser: OptimiserState


def batch_at(tokens: np.ndarray, recipe: Recipe, step: int) -> np.ndarray:
    """The windows of a step, ``[batch, sequence + 1]``.

    An epoch cuts the corpus into windows from a random start and goes through them in a random
    order, each once.
    """
    length = recipe.model.sequence_len
    per_epoch = (len(tokens) - length - 1) // length // recipe.batch
    epoch, index = divmod(step, per_epoch)
    rng = np.random.default_rng([recipe.seed, epoch])
    start = int(rng.integers(length))
    order = rng.permutation(per_epoch * recipe.batch)
    chosen = order[index * recipe.batch : (index + 1) * recipe.batch]
    return np.stack([tokens[start + i * length : start + (i + 1) * length + 1] for i in chosen])


def training_loss(
    params: Params, windows: Array, key: Array, recipe: Recipe
) -> tuple[Array, tuple[Array, Array]]:
    """Mean loss with its auxiliary term; the parts without and of it beside."""
    how = Regularisation(capacity=recipe.capacity, dropout=recipe.dropout)
    logits, balance = logits_and_balance(params, windows[:, :-1], recipe.model, how, key)
    loss = jnp.mean(token_losses(logits, windows[:, 1:]))
    return loss + recipe.balance_weight * balance, (loss, balance)


# The update is compiled apart from this: in one program XLA's CPU compiler fuses the two so that
# the whole takes more than twice as long.
@partial(jax.jit, static_argnums=(3,))
def _gradient(
    params: Params, windows: Array, key: Array, recipe: Recipe
) -> tuple[tuple[Array, Array], Params]:
    (_, parts), grads = jax.value_and_grad(training_loss, has_aux=True)(
        params, windows, key, recipe
    )
    return parts, grads


@partial(jax.jit, static_argnums=(2,))
def _exact_loss(params: Params, windows: Array, config: ModelConfig) -> Array:
    logits, _ = logits_and_balance(params, windows[:, :-1], config, EXACT)
    return jnp.mean(token_losses(logits, windows[:, 1:]))


def validation_loss(
    params: Params, tokens: np.ndarray, config: ModelConfig, *, batch: int = 8, every: int = 5
) -> float:
    """Exact loss on every fifth window of the validation split: enough to follow the training."""
    length = config.sequence_len
    starts = np.arange(0, len(tokens) - length - 1, length * every)
    starts = starts[: max(1, len(starts) // batch) * batch]
    losses = []
    for at in range(0, len(starts), batch):
        windows = np.stack([tokens[s : s + length + 1] for s in starts[at : at + batch]])
        losses.append(float(_exact_loss(params, jnp.asarray(windows), config)))
    return float(np.mean(losses))


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an ``.npz`` so that an interruption leaves the old file or the new one."""
    scratch = path.with_suffix(".partial")
    with scratch.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    scratch.replace(path)


def save_params(path: Path, params: Params) -> None:
    """Writes float32 parameters under their tensor names."""
    save_arrays(path, {name: np.asarray(value) for name, value in params.items()})


def load_params(path: Path) -> Params:
    """Reads what :func:`save_params` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {name: jnp.asarray(file[name]) for name in file.files}


def save_state(path: Path, state: TrainingState) -> None:
    """Writes the whole training state."""
    arrays = {"step": np.asarray(state.step)}
    groups = {
        "params": state.params,
        "first": state.optimiser.first,
        "second": state.optimiser.second,
    }
    for group, values in groups.items():
        arrays |= {f"{group}:{name}": np.asarray(value) for name, value in values.items()}
    save_arrays(path, arrays)


def load_state(path: Path) -> TrainingState:
    """Reads what :func:`save_state` wrote."""
    groups: dict[str, Params] = {"params": {}, "first": {}, "second": {}}
    with np.load(path, allow_pickle=False) as file:
        for entry in file.files:
            group, _, name = entry.partition(":")
            if name:
                groups[group][name] = jnp.asarray(file[entry])
        step = int(file["step"])
    optimiser = OptimiserState(first=groups["first"], second=groups["second"])
    return TrainingState(step=step, params=groups["params"], optimiser=optimiser)


def fresh_state(recipe: Recipe) -> TrainingState:
    """The state before the first step."""
    params = init_params(recipe.model, recipe.seed)
    return TrainingState(step=0, params=params, optimiser=OptimiserState.zeros(params))


def train_steps(
    state: TrainingState, tokens: np.ndarray, recipe: Recipe
) -> Iterator[dict[str, float]]:
    """Runs to the recipe's end, one step at a time, changing ``state`` in place.

    Yields:
        What happened in the step: ``step`` (steps done), ``loss``, ``balance``, ``norm``.
    """
    base = jax.random.key(recipe.seed, impl="unsafe_rbg")
    while state.step < recipe.steps:
        windows = jnp.asarray(batch_at(tokens, recipe, state.step))
        (loss, balance), grads = _gradient(
            state.params, windows, jax.random.fold_in(base, state.step), recipe
        )
        state.params, state.optimiser, norm = apply_update(
            recipe.adam, state.params, state.optimiser, grads, state.step, recipe.steps
        )
        state.step += 1
        yield {"step": state.step, "loss": float(loss), "balance": float(balance), "norm": norm}


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--keep", type=int, nargs="*", default=[1000])
    parser.add_argument("--every", type=int, default=100, help="steps between validations")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps)
    folder: Path = options.run_dir
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(options.tokenizer)
    tokens = encode_plays(read_split("train"), tokenizer)
    held_out = encode_plays(read_split("validation"), tokenizer)
    resumed = (folder / "state.npz").exists()
    state = load_state(folder / "state.npz") if resumed else fresh_state(recipe)
    best_path = folder / "best.json"
    best = json.loads(best_path.read_text())["loss"] if best_path.exists() else float("inf")

    def log(entry: dict[str, object]) -> None:
        line = json.dumps(entry)
        with (folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    count = sum(value.size for value in state.params.values())
    log({"recipe": asdict(recipe), "parameters": count, "tokens": len(tokens), "at": state.step})
    recent: list[float] = []
    began, cpu_began = time.monotonic(), sum(os.times()[:2])
    for result in train_steps(state, tokens, recipe):
        recent.append(result["loss"])
        if state.step in options.keep or state.step == recipe.steps:
            save_params(folder / f"params-{state.step:05d}.npz", state.params)
        if state.step % options.every == 0 or state.step == recipe.steps:
            held_out_loss = validation_loss(state.params, held_out, recipe.model)
            entry: dict[str, object] = {
                **result,
                "mean_loss": round(float(np.mean(recent)), 4),
                "validation_loss": round(held_out_loss, 4),
                "rate": recipe.adam.rate(state.step - 1, recipe.steps),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(sum(os.times()[:2]) - cpu_began, 1),
            }
            log(entry)
            recent = []
            if held_out_loss < best:
                best = held_out_loss
                save_params(folder / "params-best.npz", state.params)
                best_path.write_text(json.dumps({"step": state.step, "loss": best}) + "\n")
            save_state(folder / "state.npz", state)


if __name__ == "__main__":
    main()
