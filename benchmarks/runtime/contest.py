"""One size of model: make it and its twin, then run the contestants in turn, round by round.

Each measurement is a process of its own, so that time to load and memory are its own too; no two
run at once. The order turns around from round to round.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtime.models import Size, describe_tensors, write_model
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.config import ModelConfig

Array = np.ndarray[Any, Any]

OURS, LLAMA, ORIGINAL = "grokdist", "llama.cpp", "original"
LONG_PROMPT, PROMPT, SCORED = 512, 16, 64
MOST_DIFFERENCE = 0.05
"""Root mean square difference of logits, relative to theirs, above which models are not the same.

llama.cpp rounds activations to 8 bits before each product, which makes a few thousandths.
"""

_MODULES = {OURS: "our_child", LLAMA: "llama_child", ORIGINAL: "original_child"}
_FIRST_SPECIAL = 3
_TIMEOUT_S = 900
_SLOW_S = 10
_ROOT = Path(__file__).parents[2]


class BenchmarkError(Exception):
    """A contestant failed, or computed something else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """How to run.

    Attributes:
        rounds: How often each contestant is started.
        threads: Threads of each.
        llama_python: The interpreter that has ``llama_cpp`` and ``gguf``; ``None`` leaves
            llama.cpp out.
        kernels: Ours to use; ``None`` for the fastest here.
        budget_s: Seconds for the steps of the original algorithm in one round.
        say: Takes lines of progress.
    """

    rounds: int
    threads: int
    llama_python: Path | None
    kernels: str | None
    budget_s: float
    say: Callable[[str], None]

    def run(self, size: Size, folder: Path) -> dict[str, Any]:
        """All rounds of one size, its files in ``folder``; a JSON document.

        Raises:
            BenchmarkError: A contestant failed, or the logits are not those of one model.
        """
        config = size.config
        self._prepare(config, folder)
        runs: dict[str, list[dict[str, Any]]] = {OURS: [], ORIGINAL: []}
        if self.llama_python is not None:
            runs = {OURS: [], LLAMA: [], ORIGINAL: []}
        converted = []
        for number in range(self.rounds):
            request = self._request(size, folder, number)
            for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
                slow = runs[name] and runs[name][0].get("prefill_s", 0) > _SLOW_S
                answer = self._measure(name, request | {"prefill": not slow}, folder)
                runs[name].append(answer)
                self.say(_line(size, number, name, answer))
            load_only = {**request, "model": str(folder / "converted"), "prompts": []}
            converted.append(self._measure(OURS, load_only, folder)["load_s"])
        values = active_values(config)
        result: dict[str, Any] = {
            "label": size.label,
            "config": dataclasses.asdict(config),
            "values": sum(math.prod(spec.shape) for spec in tensor_table(config)),
            "active_values": values,
            "decode_tokens": size.decode,
            "runtimes": {name: _summary(answers) for name, answers in runs.items()},
        }
        result["runtimes"][OURS]["load_converted_s"] = converted
        if self.llama_python is not None:
            # Q8_0 spends 34 bytes on 32 values.
            result["runtimes"][LLAMA]["active"] = values * 34 // 32
            ours, theirs = (np.load(_logits(folder, name)) for name in (OURS, LLAMA))
            result["difference"] = difference(ours, theirs)
        return result

    def _prepare(self, config: ModelConfig, folder: Path) -> None:
        self.say(f"writing {folder.name}: checkpoint, safetensors, GGUF")
        if not (folder / "config.json").exists():
            write_model(folder, config)
            converted = folder / "converted"
            converted.mkdir()
            Conversion(open_checkpoint(folder, config), metadata={}).write(converted)
            shutil.copy(folder / "config.json", converted)
        if self.llama_python is not None and not _gguf(folder).exists():
            request = {
                "out": str(_gguf(folder)),
                "config": dataclasses.asdict(config),
                "tensors": describe_tensors(folder, config),
            }
            self._child(self.llama_python, "gguf_file", request)

    def _request(self, size: Size, folder: Path, number: int) -> dict[str, Any]:
        """What all contestants are asked in a round; its prompts are new."""
        rng = np.random.default_rng(number)

        def prompts(count: int, length: int) -> list[list[int]]:
            drawn = rng.integers(_FIRST_SPECIAL, size.config.vocab_size, (count, length))
            return [[int(token) for token in row] for row in drawn]

        return {
            "model": str(folder),
            "threads": self.threads,
            "decode": size.decode,
            # The first of each warms up.
            "long_prompts": prompts(1 + size.repeats, LONG_PROMPT),
            "prompts": prompts(1 + size.repeats, PROMPT),
            "score": prompts(1, SCORED)[0] if number == 0 else [],
            "compile_cache": str(folder / "compiled"),
            "kernels": self.kernels,
            "budget_s": self.budget_s,
        }

    def _measure(self, name: str, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        model = str(_gguf(folder)) if name == LLAMA else request["model"]
        _warm(Path(model))
        python = self.llama_python if name == LLAMA else None
        logits = str(_logits(folder, name))
        return self._child(python, _MODULES[name], {**request, "model": model, "logits": logits})

    def _child(self, python: Path | None, module: str, request: Mapping[str, Any]) -> Any:
        command = [str(python or sys.executable), "-m", f"benchmarks.runtime.{module}"]
        paths = [str(_ROOT)] if python else [str(_ROOT), str(_ROOT / "runtime")]
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout or "null")


def active_values(config: ModelConfig) -> int:
    """Weights that one decoded token reads: of the experts those chosen, of the rest all."""
    total = 0
    for spec in tensor_table(config):
        of_experts = spec.axes[0] == "experts"
        share = config.num_selected_experts if of_experts else config.num_experts
        total += math.prod(spec.shape) * share // config.num_experts
    return total


def _summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """A list over rounds for what varies, each round by its median; the rest once."""
    first = answers[0]
    summary: dict[str, Any] = {
        "how": first["how"],
        "weights": first["weights"],
        "load_s": [answer["load_s"] for answer in answers],
        "memory": [answer["memory"] for answer in answers],
    }
    for key in ("prefill", "decode"):
        summary[key] = [statistics.median(answer[key]) for answer in answers if key in answer]
    for key in ("active", "compile_s", "prefill_layers", "decode_layers"):
        if key in first:
            summary[key] = first[key]
    return summary


def difference(ours: Array, theirs: Array) -> dict[str, float]:
    """How far their logits ``[T, V]`` are from ours, relative to ours.

    Raises:
        BenchmarkError: Too far for the same weights.
    """
    squares = np.mean((ours - theirs) ** 2, -1) / np.mean(ours**2, -1)
    found = {
        "median": float(np.sqrt(np.median(squares))),
        "most": float(np.sqrt(squares.max())),
        "same_choice": float(np.mean(ours.argmax(-1) == theirs.argmax(-1))),
    }
    if found["median"] > MOST_DIFFERENCE:
        raise BenchmarkError(
            f"logits differ by {found['median']:.3f} of their size; "
            f"expected at most {MOST_DIFFERENCE}, the same model"
        )
    return found


def _line(size: Size, number: int, name: str, answer: Mapping[str, Any]) -> str:
    figures = [
        f"{key} {statistics.median(answer[key]):.4g} tokens/s"
        for key in ("prefill", "decode")
        if key in answer
    ]
    return f"{size.label} GB, round {number + 1}, {name}: {', '.join(figures)}"


def _warm(path: Path) -> None:
    """Reads a file, or a model's files, so that the system has their pages in memory."""
    files = [path] if path.is_file() else [*path.glob("ckpt-0/*"), *path.glob("*.safetensors")]
    buffer = bytearray(1 << 22)
    for each in files:
        with each.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _gguf(folder: Path) -> Path:
    return folder / "model.gguf"


def _logits(folder: Path, name: str) -> Path:
    return folder / f"logits-{_MODULES[name]}.npy"
