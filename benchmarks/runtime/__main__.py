"""Benchmark our runtime against llama.cpp and the original algorithm, in one run on one machine.

    PYTHONPATH=.:runtime python -m benchmarks.runtime --llama-python .venv-llama/bin/python

llama.cpp comes from ``pip install llama-cpp-python gguf``, into this interpreter or, to keep it
apart, into another named by ``--llama-python``. Three sizes and three rounds take about ten
minutes on two cores, 13 GB of disk and as much memory. Writes ``runtime.json`` and
``runtime.md`` into ``--output``, plots into ``--pictures`` and the main table into ``--page``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtime import report
from benchmarks.runtime.contest import BenchmarkError, Contest
from benchmarks.runtime.machine import describe, has_llama
from benchmarks.runtime.models import SIZES
from benchmarks.runtime.probe import use_threads
from grokdist_runtime.bandwidth import read_rates
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.kernels import KERNELS

_ROOT = Path(__file__).parents[2]
_READ_BYTES = 2_000_000_000  # no cache holds as much
_COPIES = 3.3  # shards, safetensors, GGUF, and room for what is compiled


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; 0 if every size has been measured."""
    options = _parse(arguments)
    use_threads(options.threads)
    llama_python = options.llama_python if has_llama(options.llama_python) else None
    if llama_python is None:
        _say(f"llama.cpp left out: {options.llama_python} has no llama_cpp and gguf")
    results: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.runtime", *_shown(options)]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(llama_python),
        "threads": options.threads,
        "rounds": options.rounds,
        "remark": options.remark,
        "read_bytes": _READ_BYTES,
        "read_rates": [],
        "sizes": [],
    }
    contest = Contest(
        rounds=options.rounds,
        threads=options.threads,
        llama_python=llama_python,
        kernels=options.kernels,
        budget_s=options.budget,
        say=_say,
    )
    work = options.work or Path(tempfile.mkdtemp(prefix="grokdist-runtime-"))
    try:
        for label in options.size:
            _require_room(work, label)
            data = np.ones(_READ_BYTES, np.int8)
            results["read_rates"] += read_rates(data, options.threads)
            del data
            results["sizes"].append(contest.run(SIZES[label], work / f"{label}GB"))
            if not options.keep:
                shutil.rmtree(work / f"{label}GB")
            _write(results, options)
    except BenchmarkError as error:
        _say(f"error: {error}")
        return 1
    finally:
        if not options.keep and options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print((options.output / "runtime.md").read_text("utf-8"))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime")
    add = parser.add_argument
    add("--size", type=_sizes, default=list(SIZES), help=f"of {','.join(SIZES)} (GB), all")
    add("--rounds", type=_count, default=3, help="starts of each contestant")
    add("--threads", type=_count, default=_cores(), help="of each contestant; all cores")
    add("--llama-python", type=Path, default=Path(sys.executable), help="has llama_cpp, gguf")
    add("--kernels", choices=KERNELS, help="of ours; the fastest that works here")
    add("--budget", type=float, default=5.0, help="seconds a round for the original's steps")
    add("--remark", default="", help="what a reader must know of this run")
    add("--work", type=Path, help="where the models go; a temporary folder")
    add("--keep", action="store_true", help="leave the models there")
    add("--output", type=Path, default=_ROOT / "benchmarks" / "results")
    add("--pictures", type=Path, default=_ROOT / "docs" / "pictures")
    add("--page", type=Path, default=_ROOT / "docs" / "runtime.md")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[str]:
    labels = text.split(",")
    if unknown := [label for label in labels if label not in SIZES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; expected of {', '.join(SIZES)}")
    return labels


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number above 0")
    return int(text)


def _cores() -> int:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _shown(options: argparse.Namespace) -> list[str]:
    """The options that matter to the figures."""
    return [
        *("--size", ",".join(options.size)),
        *("--rounds", str(options.rounds)),
        *("--threads", str(options.threads)),
        *(("--kernels", options.kernels) if options.kernels else ()),
    ]


def _require_room(work: Path, label: str) -> None:
    """Refuses before anything is written.

    Raises:
        BenchmarkError: The disk has too little room.
    """
    needed = int(_COPIES * sum(spec.nbytes for spec in tensor_table(SIZES[label].config)))
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if free < needed and not (work / f"{label}GB").exists():
        raise BenchmarkError(
            f"{work} has {free / 1e9:.1f} GB free; expected {needed / 1e9:.1f} GB for {label} GB"
        )


def _write(results: dict[str, Any], options: argparse.Namespace) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "runtime.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    (options.output / "runtime.md").write_text(report.render(results), "utf-8")
    report.write_plots(results, options.pictures)
    if options.page.exists():
        page = options.page.read_text("utf-8")
        options.page.write_text(report.with_figures(page, results), "utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
