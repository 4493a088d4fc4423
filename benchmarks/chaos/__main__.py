"""Run fetches under random faults, and end commands at every step; write the table.

    PYTHONPATH=.:runtime python -m benchmarks.chaos                  # all, about an hour
    PYTHONPATH=.:runtime python -m benchmarks.chaos --runs 300 --seed 1 --no-steps
    PYTHONPATH=.:runtime python -m benchmarks.chaos --seeds 17 --output -    # one run once more
    PYTHONPATH=.:runtime python -m benchmarks.chaos --runs 0 --only sign --output -

Needs Linux and a C compiler; small, read-only and slow disks need root, and are left out and
counted without.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.chaos import disks, shim
from benchmarks.chaos.arena import Arena
from benchmarks.chaos.commands import commands
from benchmarks.chaos.fetch_run import Outcome, fetch_run
from benchmarks.chaos.mix import draw
from benchmarks.chaos.page import page
from benchmarks.chaos.steps import FAILING, FULL, KILLED, WAYS, Stage, Tally, at_steps, stage

_RESULT = Path(__file__).parents[1] / "results/chaos.md"
_EVERY = {KILLED: 1, FULL: 2, FAILING: 4}
"""A disk that is full stays so from a step on, and one that fails differs in words alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and write the table; returns 1 where something was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--runs", type=int, default=300, help="fetches under random faults")
    parser.add_argument("--seed", type=int, default=1, help="the first one's; then one by one")
    parser.add_argument("--seeds", type=int, nargs="+", help="exactly these fetches, no steps")
    parser.add_argument("--no-steps", action="store_true", help="no commands at every step")
    parser.add_argument("--only", default="", help="only commands whose names hold this")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th step")
    parser.add_argument("--workers", type=int, default=6, help="runs at once")
    parser.add_argument("--output", default=str(_RESULT), help="a file, or - for stdout")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    if why := shim.missing():
        parser.error(f"this machine cannot: {why}")
    seeds = options.seeds or range(options.seed, options.seed + options.runs)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grokdist-chaos-") as folder:
        home = Path(folder)
        outcomes = fetches(seeds, home, workers=options.workers) if seeds else []
        table: dict[tuple[str, str], tuple[Stage, Tally]] = {}
        if not (options.seeds or options.no_steps):
            table = steps(home, only=options.only, every=options.every, workers=options.workers)
    without = "; ".join(
        what
        for what, may in (
            ("small and read-only disks (no right to mount)", disks.may_mount()),
            ("slow disks (no right to limit a control group)", disks.may_throttle()),
        )
        if not may
    )
    command = " ".join(["python -m benchmarks.chaos", *given])
    text = page(command, outcomes, table, seconds=time.monotonic() - begun, without=without)
    if options.output == "-":
        print(text)
    else:
        Path(options.output).write_text(text)
    tallies = [tally for _, tally in table.values()]
    return 1 if any(each.losses for each in (*outcomes, *tallies)) else 0


def fetches(seeds: Sequence[int], home: Path, *, workers: int) -> list[Outcome]:
    """Fetch under what these seeds draw."""
    folder = home / "fetches"
    folder.mkdir()
    outcomes = []
    with Arena(folder) as arena, ThreadPoolExecutor(workers) as pool:
        for each in pool.map(lambda seed: fetch_run(draw(seed), arena), seeds):
            outcomes.append(each)
            print(f"{each.how} in {each.seconds:.1f} s: {each.mix}", *each.losses,
                  sep="\n  LOST: ", file=sys.stderr)  # fmt: skip
    return outcomes


def steps(
    home: Path, *, only: str, every: int, workers: int
) -> dict[tuple[str, str], tuple[Stage, Tally]]:
    """End commands at their steps."""
    folder = home / "steps"
    folder.mkdir()
    library = shim.build(folder)
    table = {}
    for place, command in enumerate(commands()):
        if only not in command.name:
            continue
        made = stage(command, folder / str(place), library)
        ends = [
            (way, step) for way in WAYS for step in range(1, made.steps + 1, every * _EVERY[way])
        ]
        for way, tally in at_steps(made, ends, folder / str(place), library, workers=workers):
            table[command.name, way] = made, tally
            print(f"{command.name}, {way}: {tally.runs} of {made.steps} steps, {dict(tally.ends)}",
                  *tally.losses, sep="\n  LOST: ", file=sys.stderr)  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
