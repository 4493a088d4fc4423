"""Measure how throughput grows with the number of texts decoded together.

    PYTHONPATH=.:runtime python -m benchmarks.batch

Decodes 1, 2, 4, 8 and 16 texts at once with grok-mini and with synthetic models of Grok-1's
proportions: every row in use, greedy, at its steady pace; and once more from the requests to the
last token, through the queue and with their prompts. Each batch size is run once to compile and
then counted. About five minutes on two cores. Writes ``batch.md`` and ``batch.json`` into
``--output`` and ``batch.svg`` into ``--pictures``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.runtime.machine import describe
from benchmarks.runtime.models import SIZES, write_model
from benchmarks.svg_plot import Axis, Series, line_plot, write_plot
from grokdist_runtime.batch import Batch
from grokdist_runtime.engine import Engine
from grokdist_runtime.events import Event, TokenEvent
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.scheduler import Scheduler

_ROOT = Path(__file__).parents[1]
_MINI = "grok-mini"
_PROMPT = 32
_GREEDY = SamplingParams.greedy()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs it."""
    options = _parse(arguments)
    results: dict[str, Any] = {
        "command": f"python -m benchmarks.batch --size {','.join(options.size)}"
        f" --rounds {options.rounds} --tokens {options.tokens}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(None),
        "rounds": options.rounds,
        "tokens": options.tokens,
        "prompt": _PROMPT,
        "models": [],
    }
    with tempfile.TemporaryDirectory(prefix="grokdist-batch-", dir=options.work) as work:
        for label in options.size:
            results["models"].append(_measure_model(label, Path(work), options))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "batch.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (options.output / "batch.md").write_text(render(results), "utf-8")
    write_plot(options.pictures / "batch.svg", plot(results))
    print(render(results))


def decode_rate(engine: Engine, rows: int, tokens: int) -> float:
    """Tokens a second of all rows together, once every row decodes."""
    batch = Batch(engine.runner, max_rows=rows, prefix_bytes=0)
    counts = [0] * rows
    for row, prompt in enumerate(_prompts(engine, rows)):

        def count(event: Event | Exception, row: int = row) -> None:
            if isinstance(event, Exception):
                raise event
            counts[row] += isinstance(event, TokenEvent)

        # The first goes on while the others join.
        generation = engine.begin(prompt, _GREEDY, max_tokens=rows + tokens + 8, ignore_eos=True)
        batch.add(generation, count)
    while min(counts) < 2:
        batch.turn()
    before, start = sum(counts), time.perf_counter()
    for _ in range(tokens):
        batch.turn()
    rate = (sum(counts) - before) / (time.perf_counter() - start)
    batch.close()
    return rate


def request_rate(engine: Engine, rows: int, tokens: int) -> float:
    """Tokens a second of as many requests, from the first request to the last token."""
    with Scheduler(engine, max_rows=rows, prefix_bytes=0) as scheduler:
        start = time.perf_counter()
        answers = [
            scheduler.submit(prompt, _GREEDY, max_tokens=tokens, ignore_eos=True)
            for prompt in _prompts(engine, rows)
        ]
        made = sum(isinstance(event, TokenEvent) for answer in answers for event in answer)
        return made / (time.perf_counter() - start)


def render(results: Mapping[str, Any]) -> str:
    """The page of results."""
    machine = results["machine"]
    lines = [
        "# Throughput against batch size",
        "",
        f"`{results['command']}`, {results['date']}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB; load"
        f" average before {machine['load_before']}. Python {machine['python']}, jax"
        f" {machine['jax']}. Medians of {results['rounds']} rounds (least to most).",
    ]
    if machine["load_before"] > machine["cores"] / 2:
        lines += ["", "**Provisional: the machine was busy with other work.**"]
    for model in results["models"]:
        alone = statistics.median(model["batches"][0]["decode"])
        lines += [
            "",
            f"## {model['name']}",
            "",
            f"{model['weights'] / 1e6:.0f} MB of weights, {model['kernels']} kernels.",
            "",
            "| texts at once | tokens/s in all | of one text | to one alone | with prompts |",
            "| ---: | ---: | ---: | ---: | ---: |",
        ]
        for batch in model["batches"]:
            rate = statistics.median(batch["decode"])
            lines.append(
                f"| {batch['rows']} | {_spread(batch['decode'])} | {rate / batch['rows']:.1f} |"
                f" {rate / alone:.2f} | {_spread(batch['requests'])} |"
            )
    lines += [
        "",
        f"*Tokens/s in all*: every row decoding, over {results['tokens']} steps. *With prompts*: as"
        f" many requests of {results['prompt']} tokens, {results['tokens']} tokens each, at once;"
        " from the first request to the last token, so with taking in the prompts one after the"
        " other and with rows that end before others.",
        "",
        "More texts share what each of them reads: attention, embedding, and the experts that they"
        " have in common. With eight experts of which two are used, texts that choose evenly need"
        " 2.0, 3.5, 5.5, 7.2 and 7.9 of the eight at 1, 2, 4, 8 and 16.",
    ]
    return "\n".join(lines) + "\n"


def plot(results: Mapping[str, Any]) -> str:
    """Tokens a second in all against texts at once, as SVG."""
    series = [
        Series(
            label=model["name"],
            xs=[batch["rows"] for batch in model["batches"]],
            ys=[statistics.median(batch["decode"]) for batch in model["batches"]],
            spread=[(min(batch["decode"]), max(batch["decode"])) for batch in model["batches"]],
        )
        for model in results["models"]
    ]
    ticks = sorted({x for one in series for x in one.xs})
    return line_plot(
        "Decoding several texts at once",
        series,
        x=Axis(label="texts at once", log=True, ticks=ticks),
        y=Axis(label="tokens a second in all", log=True),
    )


def _measure_model(label: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    if label == _MINI:
        directory, name = _ROOT / "grokdist" / "bundled" / _MINI, _MINI
    else:
        directory, name = work / label, f"synthetic, {label} GB"
        write_model(directory, SIZES[label].config)
    engine = Engine.load(directory, mesh="1x1")
    weights = sum(array.nbytes for array in jax.tree.leaves(engine.runner.weights))
    batches: list[dict[str, Any]] = []
    for rows in options.rows:
        decode_rate(engine, rows, 4)
        request_rate(engine, rows, options.tokens)
        rounds = range(options.rounds)
        batches.append(
            {
                "rows": rows,
                "decode": [decode_rate(engine, rows, options.tokens) for _ in rounds],
                "requests": [request_rate(engine, rows, options.tokens) for _ in rounds],
            }
        )
        rate = statistics.median(batches[-1]["decode"])
        print(f"{name}: {rows} at once, {rate:.1f} tokens/s", file=sys.stderr, flush=True)
    kernels = engine.runner.spec.kernels
    return {"name": name, "weights": int(weights), "kernels": kernels, "batches": batches}


def _prompts(engine: Engine, count: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return list(rng.integers(3, engine.config.vocab_size, (count, _PROMPT)))


def _spread(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch")
    add = parser.add_argument
    known = [_MINI, *SIZES]
    add("--size", type=_listed, default=[_MINI, "0.2", "1"], help=f"of {','.join(known)} (GB)")
    add("--rows", type=_listed, default=["1", "2", "4", "8", "16"], help="texts at once")
    add("--rounds", type=int, default=3)
    add("--tokens", type=int, default=32, help="steps in one measurement")
    add("--work", type=Path, help="where the models go for a while; a temporary folder")
    add("--output", type=Path, default=_ROOT / "benchmarks" / "results")
    add("--pictures", type=Path, default=_ROOT / "docs" / "pictures")
    options = parser.parse_args(arguments)
    if unknown := [label for label in options.size if label not in known]:
        parser.error(f"--size {unknown[0]}; expected of {', '.join(known)}")
    options.rows = [int(rows) for rows in options.rows]
    return options


def _listed(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
