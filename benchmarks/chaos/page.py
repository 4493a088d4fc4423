"""The table of a run: what befell, how it ended, what was lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from benchmarks.chaos.fetch_run import Outcome
from benchmarks.chaos.steps import Stage, Tally

Table = Mapping[tuple[str, str], tuple[Stage, Tally]]

_ABOUT = """
A loss is any of these: a file that had its final name with a wrong byte in it, at whatever moment
(the names are watched from the first to the last call); a next fetch, without the faults, that did
not complete; a byte that `sha256sum` does not find right after it; a receipt or attestation that
is not true; a file left behind, or a process; an exit code or a sentence that is not the one
designed for what happened, a traceback, an error of the system as it came.
"""
_STEPS = """
The same for commands that write: each is ended at every step that it takes on the disk, counted by
a preloaded library. A step is one call that changes the disk: a write, the making of a file or
folder, a new name, a removal, a sync. *SIGKILL* ends the process before the step, and in a write
after half of it; with a *full* disk everything from that step on that needs room fails with
ENOSPC, with a *failing* one with EIO, tried at every second and every fourth step. After each end
the old state is there, or the new one, never one between; and the same command run once more
completes and leaves nothing behind.
"""


def page(
    command: str, outcomes: Sequence[Outcome], table: Table, *, seconds: float, without: str
) -> str:
    """The page as Markdown."""
    lost = sum(len(each.losses) for each in outcomes)
    lost += sum(len(tally.losses) for _, tally in table.values())
    lines = [
        "# Chaos",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, loopback,"
        f" {seconds / 60:.0f} minutes. Losses: {lost}.",
    ]
    if outcomes:
        lines += _fetches(outcomes)
    if table:
        lines += _steps(table)
    if without:
        lines += ["", f"Left out on this machine: {without}."]
    return "\n".join(lines) + "\n"


def _fetches(outcomes: Sequence[Outcome]) -> Iterator[str]:
    seeds = sorted(each.mix.seed for each in outcomes)
    several = sum(len(each.mix.faults) > 1 for each in outcomes)
    named = sum(each.named for each in outcomes)
    yield from (
        "",
        "## Fetches",
        "",
        f"{len(outcomes)} fetches, each a process of its own with the faults that its seed drew"
        f" (seeds {seeds[0]} to {seeds[-1]}; {several} met several at once), each followed by one"
        f" without them. {named} files got their names under watch, each once and right. Losses:"
        f" {sum(len(each.losses) for each in outcomes)}.",
        *_ABOUT.splitlines(),
    )
    yield from (
        "One run alone: `python -m benchmarks.chaos --seeds 17`.",
        "",
        "| fault | runs | how they ended | losses |",
        "| --- | ---: | --- | ---: |",
    )
    by_fault: dict[str, list[Outcome]] = {}
    for each in outcomes:
        for fault in each.mix.faults or ("none",):
            if each.skipped.startswith(fault):
                by_fault.setdefault(f"{fault}, left out: {each.skipped[len(fault) :].strip()}", [])
            else:
                by_fault.setdefault(fault, []).append(each)
    for fault, met in sorted(by_fault.items()):
        losses = sum(len(each.losses) for each in met)
        yield f"| {fault} | {len(met)} | {_counted(each.how for each in met)} | {losses} |"
    skipped = Counter(each.skipped for each in outcomes if each.skipped)
    for what, count in sorted(skipped.items()):
        yield from ("", f"Left out in {count} runs, which met their other faults: {what}.")
    for each in outcomes:
        if each.losses:
            yield from ("", f"Lost: {each.mix}", "", *(f"- {loss}" for loss in each.losses))


def _steps(table: Table) -> Iterator[str]:
    runs = sum(tally.runs for _, tally in table.values())
    losses = sum(len(tally.losses) for _, tally in table.values())
    yield from (
        "",
        "## Every step of a command",
        *_STEPS.splitlines(),
        "",
        f"{runs} commands ended so, each run once more after it. Losses: {losses}.",
        "",
        "| command | steps | ended by | runs | how they ended, and the state that was there"
        " | losses |",
        "| --- | ---: | --- | ---: | --- | ---: |",
    )
    for (name, way), (stage, tally) in table.items():
        ends = ", ".join(f"{how}: {count}" for how, count in sorted(tally.ends.items()))
        yield f"| {name} | {stage.steps} | {way} | {tally.runs} | {ends} | {len(tally.losses)} |"
    for (name, _), (_, tally) in table.items():
        if tally.losses:
            yield from ("", f"Lost: {name}", "", *(f"- {loss}" for loss in tally.losses))


def _counted(ends: Iterable[str]) -> str:
    return ", ".join(f"{how} {count}" for how, count in sorted(Counter(ends).items()))
