"""Contestants and rounds: everyone runs once a round, so that the machine's moods hit all alike."""

from __future__ import annotations

import os
import re
import shutil
import stat
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fetch.measure import RunError, Sample, measure
from benchmarks.fetch.payload import Payload

_OWN_CLOCK = re.compile(r'"seconds": ?([0-9.]+)')


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to do the same work.

    Attributes:
        name: its name in the table.
        checks: what it checks of the bytes.
        command: the command, made for the folder that it writes to (or reads).
        environment: variables that it needs.
        marker: name of a file in the folder that shows that it is done; None: its exit does.
        says: what it prints once its work is done, where it goes on with something else then.
        missing: why it cannot take part.
        payload_below: where its files are below the folder.
    """

    name: str
    checks: str
    command: Callable[[Path], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    marker: str | None = None
    says: str | None = None
    missing: str | None = None
    payload_below: str = "."


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the runs of one contestant came to.

    Attributes:
        name: the contestant.
        checks: what it checks.
        missing: why it has no figures.
        rates: MB/s (10^6 bytes) of each run, to its exit or to what it ``says``.
        exits: MB/s of each run to its exit, where it said earlier that it was done.
        cpu: CPU seconds a GB (10^9 bytes) of each run.
        peak: most resident MB of any run.
        first: seconds to the first file, where that was watched.
        inside: MB/s by the command's own clock, which starts after its start-up, where it says so.
    """

    name: str
    checks: str
    missing: str | None = None
    rates: tuple[float, ...] = ()
    exits: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    peak: float = 0.0
    first: tuple[float, ...] = ()
    inside: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Median MB/s."""
        return statistics.median(self.rates) if self.rates else 0.0


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What all contests share.

    Attributes:
        home: the benchmark's folder.
        repeats: rounds.
        warm: bytes of memory to touch before each run.
        say: where progress goes.
    """

    home: Path
    repeats: int
    warm: int
    say: Callable[[str], None]

    @property
    def out(self) -> Path:
        """The folder that contestants write to, emptied between runs."""
        return self.home / "out"

    @property
    def retired(self) -> Path:
        """Where emptied files are until the end; see ``retire``."""
        return self.home / "retired"

    def fresh(self) -> Path:
        """An empty folder to write to; what the run before wrote is gone."""
        self.retire()
        self.out.mkdir(parents=True)
        return self.out

    def retire(self) -> None:
        """Empty the files that were written, and put them out of the way.

        Were they removed, ext4 would step over the numbers of the thousands of files just removed
        for minutes, one by one, whenever the next run makes a file: up to a fifth of the processor
        time of one that makes 2,000.
        """
        if not self.out.exists():
            return
        for path in self.out.rglob("*"):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.truncate(path, 0)
            elif not stat.S_ISDIR(status.st_mode):
                path.unlink()
        self.retired.mkdir(exist_ok=True)
        self.out.rename(self.retired / str(time.monotonic_ns()))

    def clean(self) -> None:
        """Remove what contestants wrote."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.retired, ignore_errors=True)


def _warm_memory(count: int) -> None:
    """Touch ``count`` bytes of memory and give them back.

    A virtual machine may have to ask its host for memory that it gave back when it was free, which
    costs up to a second a GB. Whoever runs next would pay for it, and the one after not.
    """
    subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c"),
            "import mmap as m, sys; flags = m.MAP_PRIVATE | m.MAP_ANONYMOUS | m.MAP_POPULATE;"
            " m.mmap(-1, int(sys.argv[1]), flags=flags).close()",
            str(count),
        ],
        check=False,
    )


def fetch_contest(
    arena: Arena, payload: Payload, contestants: Sequence[Contestant], *, watch: bool = False
) -> list[Figures]:
    """Let everyone bring the payload into an empty folder, ``arena.repeats`` times."""

    def run(contestant: Contestant) -> Sample:
        out = arena.fresh()
        _warm_memory(arena.warm)
        below = out / contestant.payload_below
        sample = _run(arena, contestant, out, below / "ckpt-0" if watch else None)
        wrong = payload.right(below)
        if wrong is not None:
            raise RunError(f"{contestant.name} left a wrong copy: {wrong}", sample.output[-2000:])
        return sample

    try:
        return _rounds(arena, payload.size, contestants, run)
    finally:
        arena.retire()


def verify_contest(
    arena: Arena,
    payload: Payload,
    directory: Path,
    contestants: Sequence[Contestant],
    *,
    before: Callable[[], None],
) -> list[Figures]:
    """Let everyone check the copy in ``directory``; ``before`` runs before each."""

    def run(contestant: Contestant) -> Sample:
        before()
        return _run(arena, contestant, directory, None)

    return _rounds(arena, payload.size, contestants, run)


def grokdist(*arguments: str) -> list[str]:
    """The command under test, with this interpreter."""
    return [sys.executable, "-m", "grokdist", *arguments]


def own_home(out: Path) -> dict[str, str]:
    """A home of its own for grokdist, so that nothing of this user takes part."""
    return {"GROKDIST_HOME": str(out.parent / "grokdist-home")}


def document(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    """Figures as JSON."""
    return [asdict(each) for each in figures]


def _run(arena: Arena, contestant: Contestant, out: Path, files: Path | None) -> Sample:
    def arrived() -> bool:
        return files is not None and files.is_dir() and any(os.scandir(files))

    return measure(
        contestant.command(out),
        log=arena.home / "last.log",
        environment=contestant.environment,
        marker=out / contestant.marker if contestant.marker else None,
        watch=arrived if files is not None else None,
        says=contestant.says,
    )


def _rounds(
    arena: Arena,
    size: int,
    contestants: Sequence[Contestant],
    run: Callable[[Contestant], Sample],
) -> list[Figures]:
    samples: dict[str, list[Sample]] = {each.name: [] for each in contestants}
    failed = {each.name: each.missing for each in contestants}
    for number in range(arena.repeats):
        for contestant in contestants:
            if failed[contestant.name] is not None:
                continue
            try:
                sample = run(contestant)
            except RunError as error:
                failed[contestant.name] = str(error)
                arena.say(f"{contestant.name}: {error}\n{error.output}")
                continue
            samples[contestant.name].append(sample)
            arena.say(
                f"round {number + 1}: {contestant.name}: {size / sample.seconds / 1e6:.0f} MB/s,"
                f" user {sample.user:.2f} system {sample.system:.2f}"
            )
    return [_figures(each, size, samples[each.name], failed[each.name]) for each in contestants]


def _figures(
    contestant: Contestant, size: int, samples: Sequence[Sample], missing: str | None
) -> Figures:
    return Figures(
        name=contestant.name,
        checks=contestant.checks,
        missing=missing,
        rates=tuple(round(size / (each.said or each.seconds) / 1e6, 1) for each in samples),
        exits=tuple(round(size / each.seconds / 1e6, 1) for each in samples if each.said),
        cpu=tuple(round((each.user + each.system) / size * 1e9, 3) for each in samples),
        peak=round(max((each.peak for each in samples), default=0) / 1e6, 1),
        first=tuple(round(each.first, 3) for each in samples if each.first is not None),
        inside=tuple(
            round(size / float(match[1]) / 1e6, 1)
            for each in samples
            if (match := _OWN_CLOCK.search(each.output)) is not None and float(match[1])
        ),
    )
