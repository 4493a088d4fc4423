"""One command ended at every step that it takes on the disk: killed, out of room, or failing.

A step is a call that changes the disk (``shim.c``); a command that is killed in a write has
written half of it. After each end the old state or the new one is there, and the same command run
once more completes and leaves nothing behind.
"""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.names import names, strays
from benchmarks.chaos.product import misspoken, run
from benchmarks.chaos.shim import Shim
from benchmarks.chaos.truth import Between

OLD, NEW = "old", "new"
KILLED, FULL, FAILING = "SIGKILL", "disk full", "disk failing"
WAYS = (KILLED, FULL, FAILING)
_SAYS = {FULL: {15: r"[Nn]o space left|not enough"}, FAILING: {1: "Input/output error"}}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, and how to tell its states.

    Attributes:
        name: as the table says it.
        prepare: makes the state before it in an empty folder.
        argv: its arguments; paths are relative to that folder.
        state: ``OLD`` or ``NEW``, or raises ``Between``; is given the folder, one as it was
            before, and one as an undisturbed run leaves it.
        prints: what the command prints when it completes.
        refuses: with which words it refuses, by exit code 2, to do once more what was done.
    """

    name: str
    prepare: Callable[[Path], None]
    argv: tuple[str, ...]
    state: Callable[[Path, Path, Path], str]
    prints: str
    refuses: str = ""


@dataclass
class Tally:
    """What became of one command, ended in one way at every step."""

    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A command with the states before and after it, made once.

    Attributes:
        command: the command.
        before, after: folders.
        expected: names that a completed command leaves.
        steps: how many it takes.
    """

    command: Command
    before: Path
    after: Path
    expected: frozenset[str]
    steps: int


def stage(command: Command, home: Path, library: Path) -> Stage:
    """Prepare a command and run it once undisturbed."""
    before, after = home / "before", home / "after"
    before.mkdir(parents=True)
    command.prepare(before)
    _copy(before, after)
    count = home / "count"
    ended = run(command.argv, after, Shim().environment(library, count))
    if wrong := misspoken(ended, {0: command.prints}):
        raise RuntimeError(f"{command.name} does not run undisturbed: {wrong}")
    # The command itself ends last; what it started has ended before, and counts for itself.
    steps = int(count.read_text().split()[-1])
    return Stage(command=command, before=before, after=after, expected=names(after), steps=steps)


def _copy(before: Path, folder: Path) -> None:
    """Copy a state; the store's notes of models elsewhere then lead to the copies."""
    shutil.copytree(before, folder, symlinks=True)
    for note in folder.glob("home/models/*/*.elsewhere"):
        note.write_text(note.read_text().replace(str(before), str(folder)))


def end_at(stage: Stage, way: str, step: int, folder: Path, library: Path) -> tuple[str, list[str]]:
    """End the command at one step, and run it once more.

    Returns:
        how it ended and which state was there, and what was lost.
    """
    command = stage.command
    _copy(stage.before, folder)
    shim = {
        KILLED: Shim(kill_at=step, torn=True),
        FULL: Shim(fail_at=step),
        FAILING: Shim(fail_at=step, fail_with=errno.EIO),
    }[way]
    losses: list[str] = []
    ended = run(command.argv, folder, shim.environment(library))
    if way in _SAYS:
        # At the last steps nothing is written any more.
        losses += misspoken(ended, _SAYS[way] | {0: command.prints})
    else:
        # Threads may take fewer steps than those of the undisturbed run.
        losses += misspoken(ended, {-9: "", 0: command.prints})
    try:
        state = command.state(folder, stage.before, stage.after)
    except Between as found:
        state = "between"
        losses.append(f"between old and new: {found}")
    if ended.code == 0 and state != NEW:
        losses.append(f"it says that it is done, and the state is {state}")
    again = run(command.argv, folder)
    right = {0: command.prints}
    if state == NEW and command.refuses:
        right = {2: command.refuses}
    losses += [f"once more: {each}" for each in misspoken(again, right)]
    try:
        if (last := command.state(folder, stage.before, stage.after)) != NEW:
            losses.append(f"once more: the state is {last}")
    except Between as found:
        losses.append(f"once more: between old and new: {found}")
    losses += [f"once more: {each}" for each in strays(folder, stage.expected)]
    shutil.rmtree(folder)
    how = "killed" if ended.code < 0 else f"exit {ended.code}"
    return f"{how}, {state}", [f"{way} at step {step} of {stage.steps}: {each}" for each in losses]


def at_steps(
    stage: Stage, ends: Sequence[tuple[str, int]], home: Path, library: Path, *, workers: int
) -> Iterator[tuple[str, Tally]]:
    """End a command in these ways at these steps; yields each way and its tally."""
    tallies: dict[str, Tally] = {way: Tally() for way, _ in ends}

    def go(end: tuple[str, int]) -> tuple[str, str, list[str]]:
        way, step = end
        folder = home / f"{WAYS.index(way)}-{step}"
        return way, *end_at(stage, way, step, folder, library)

    with ThreadPoolExecutor(workers) as pool:
        for way, how, losses in pool.map(go, ends):
            tally = tallies[way]
            tally.runs += 1
            tally.ends[how] += 1
            tally.losses += losses
    yield from tallies.items()
