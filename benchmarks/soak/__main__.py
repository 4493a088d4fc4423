"""Runs ``grokdist serve`` under mixed load, and fetches that are large; writes what came of it.

    PYTHONPATH=.:runtime python -m benchmarks.soak            # ten minutes, then the fetches
    PYTHONPATH=.:runtime python -m benchmarks.soak --only serve --seconds 60

Writes ``soak.md`` and ``soak.json`` into ``--output``; with ``--only`` the other part stays in
them. Ends with 1 where anything was not as it should be: a wrong text, memory that grew, a fetch
that did not end well or held too much.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.runtime.machine import describe
from benchmarks.soak.fetching import many_files, one_file
from benchmarks.soak.page import faults, render
from benchmarks.soak.serving import Load, soak

_OUTPUT = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; returns the exit code."""
    options = _parse(arguments)
    kept = options.output / "soak.json"
    results: dict[str, Any] = {}
    if options.only and kept.exists():
        results = json.loads(kept.read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="grokdist-soak-", dir=options.work) as name:
        work = Path(name)
        if options.only != "fetch":
            load = Load(
                seconds=options.seconds,
                warm_s=options.seconds / 5,
                callers=options.callers,
                seed=options.seed,
                **options.known,
            )
            command = f"--only serve --seconds {load.seconds:g} --callers {load.callers}"
            command += f" --seed {load.seed} --kernels {options.kernels}"
            if options.known:
                command += f" --known '{json.dumps(options.known)}'"
            made = _made(command)
            results["serve"] = made | soak(load, work / "home", kernels=options.kernels)
        if options.only != "serve":
            made = _made(f"--only fetch --files {options.files} --bytes {options.bytes}")
            runs = [many_files(options.files, work), one_file(options.bytes, work)]
            results["fetch"] = made | {"runs": runs}
    options.output.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(results) + "\n", "utf-8")
    (options.output / "soak.md").write_text(render(results), "utf-8")
    print(render(results))
    return 1 if faults(results) else 0


def _made(command: str) -> dict[str, Any]:
    """How one part was made; called before it is."""
    return {
        "command": f"python -m benchmarks.soak {command}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(None),
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", choices=["serve", "fetch"])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kernels", default="native", choices=["native", "plain"])
    parser.add_argument(
        "--known",
        type=json.loads,
        default={},
        help='texts that are known, as {"prompts": 8, "seeds": 4, "tokens": 40}',
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=64 << 30)
    parser.add_argument("--work", type=Path, help="where to put what is fetched")
    parser.add_argument("--output", type=Path, default=_OUTPUT)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
