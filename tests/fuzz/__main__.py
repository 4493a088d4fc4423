"""Fuzz all targets, or those that are named, and say what was tried: ``python -m tests.fuzz``.

Each target runs in a process of its own, one after the other, so that its time and memory are its
own. Ends with 1 where there was a find, whose input is kept for a look. With ``--results FILE`` it
adds to what earlier runs tried, from other seeds, until each target has had its ``--inputs``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.fuzz.session import has_atheris
from tests.fuzz.target import REPOSITORY
from tests.fuzz.targets import FINDS, TARGETS
from tests.fuzz.watch import GROWN, LARGE, SLOW_S

_START_S = 300
"""Seconds that a process gets beyond its time, to start and to end."""


def run(
    name: str, engine: str, options: Sequence[str], seconds: float, keep: Path
) -> dict[str, Any]:
    """Fuzz one target in a process of its own; a process that died is a find."""
    argv = [sys.executable, "-m", "tests.fuzz.session", name, "--engine", engine]
    argv += ["--seconds", str(seconds), "--keep", str(keep / name), *options]
    path = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'runtime'}"
    if more := os.environ.get("PYTHONPATH"):
        path += os.pathsep + more
    ended = None
    try:
        ended = subprocess.run(
            argv,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=seconds + _START_S,
        )
        result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
        return result
    except subprocess.TimeoutExpired:
        what = "it did not end in its time"
    except (ValueError, IndexError):
        said = "" if ended is None else ended.stderr[-2000:]
        what = f"the process ended with {ended and ended.returncode}: {said}"
    nothing = dict.fromkeys(
        ("inputs", "accepted", "refused", "seconds", "slowest_ms", "peak_mib", "grown_mib"), 0
    )
    return {"target": name, "engine": engine, **nothing, "finds": [what]}


def gather(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a target by an engine as one: counts and times added, the worst of the rest."""
    whole: dict[tuple[str, str], dict[str, Any]] = {}
    for each in runs:
        known = whole.get((each["target"], each["engine"]))
        if known is None:
            whole[each["target"], each["engine"]] = {**each, "runs": 1}
            continue
        for name in ("inputs", "accepted", "refused", "seconds"):
            known[name] = round(known[name] + each[name], 1)
        for name in ("slowest_ms", "peak_mib", "grown_mib"):
            known[name] = max(known[name], each[name])
        known["finds"] = sorted({*known["finds"], *each["finds"]})
        known["runs"] += 1
    order = list(TARGETS)
    return sorted(whole.values(), key=lambda each: (each["engine"], order.index(each["target"])))


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    head = (
        "| target | engine | runs | inputs | accepted | refused | time, s | slowest, ms | peak, MiB"
        " | grown, MiB | finds |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    rows = "".join(
        f"| {each['target']} | {each['engine']} | {each['runs']} | {each['inputs']:,}"
        f" | {each['accepted']:,} | {each['refused']:,} | {each['seconds']:,.0f}"
        f" | {each['slowest_ms']} | {each['peak_mib']} | {each['grown_mib']}"
        f" | {len(each['finds'])} |\n"
        for each in results
    )
    return head + rows


def report(shown: str, argv: Sequence[str]) -> str:
    """The table with what is needed to make it again."""
    now = datetime.now(UTC)
    return (
        "# Fuzzing\n\n"
        f"`python -m tests.fuzz {' '.join(argv)}`\n\n"
        f"{now:%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}. An input is accepted, or refused by one of our own errors;"
        f" all else is a find: another exception, over {SLOW_S:g} s of processor time, more than"
        f" {LARGE >> 20} MiB more memory by one input, or {GROWN >> 20} MiB more at the end than"
        " after the first tenth of a run. Time is by the wall; the machine did other work too.\n\n"
        f"{shown}\n"
        "The aim is a million inputs a target by the plain engine; a target with fewer has not had"
        " them yet, and the same command with the same `--results` goes on with those.\n\n"
        f"{len(list(FINDS.glob('*/*')))} inputs that were finds of earlier runs are in"
        " `tests/fuzz/corpus`, with what they found.\n"
    )


def main() -> None:
    """Fuzz, print the table, and tell of finds."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=5.0, help="a target, at most")
    parser.add_argument("--inputs", type=int, default=0, help="a target, in all; 0: no bound")
    parser.add_argument("--seed", type=int, default=0, help="of the plain engine")
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument("--keep", type=Path, default=REPOSITORY / "build/fuzz-finds")
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    parser.add_argument("--results", type=Path, help="add the results to this file, one a line")
    parser.add_argument("--report", type=Path, help="write the table to this Markdown file")
    wanted = parser.parse_args()
    if unknown := sorted(set(wanted.targets) - TARGETS.keys()):
        parser.error(f"no target {unknown[0]}; expected some of {', '.join(TARGETS)}")
    engine = wanted.engine
    if engine == "auto":
        engine = "atheris" if has_atheris() else "plain"
    earlier: list[dict[str, Any]] = []
    if wanted.results is not None and wanted.results.exists():
        earlier = [json.loads(line) for line in wanted.results.read_text("utf-8").splitlines()]
    names = wanted.targets or list(TARGETS)
    print(f"fuzzing {', '.join(names)} with {engine}", file=sys.stderr, flush=True)

    def go_on(name: str) -> dict[str, Any] | None:
        before = [each for each in earlier if (each["target"], each["engine"]) == (name, engine)]
        left = wanted.inputs - sum(each["inputs"] for each in before)
        if wanted.inputs and left <= 0:
            return None
        # Another seed than before: the same would try the same inputs again.
        options = ["--inputs", str(max(left, 0)), "--seed", str(wanted.seed + len(before))]
        result = run(name, engine, options, wanted.seconds, wanted.keep)
        if wanted.results is not None:
            with wanted.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        return result

    with ThreadPoolExecutor(wanted.jobs) as pool:
        results = [each for each in pool.map(go_on, names) if each is not None]
    shown = table(gather([*earlier, *results]))
    print(shown)
    if wanted.report is not None:
        wanted.report.write_text(report(shown, sys.argv[1:]), "utf-8")
    finds = [f"{each['target']}: {find}" for each in results for find in each["finds"]]
    for find in finds:
        print(find, file=sys.stderr)
    if finds:
        sys.exit(f"{len(finds)} finds; their inputs are in {wanted.keep}")


if __name__ == "__main__":
    main()
