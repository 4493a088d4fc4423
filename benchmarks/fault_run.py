"""One fault met so many times, and what was lost: the counting of ``benchmarks/faults.py``."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grokdist.errors import GrokdistError
from grokdist.transfer.engine import fetch
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.record import load_receipt
from grokdist.transfer.sources.base import Source
from grokdist.transfer.tree import ModelTree
from tests.transfer.http.test_faults import FILES, PATIENCE
from tests.transfer.models import plan_for


@dataclass
class Run:
    """What became of the runs of one row."""

    files: Mapping[str, bytes] = field(default_factory=lambda: FILES)
    ends: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def meet(self, directory: Path, *sources: Source, progress: NoProgress | None = None) -> None:
        """A fetch that meets the fault: it may complete, or end with an error of ours."""
        try:
            fetch(plan_for(self.files, directory, *sources), progress, patience=PATIENCE)
            self.ended(directory, "complete")
        except GrokdistError as error:
            self.ended(directory, type(error).__name__)
        except Exception as error:
            self.losses.append(f"crashed: {error!r}")
            self.ended(directory, "crash")

    def ended(self, directory: Path, how: str) -> None:
        """Count an end, and look at what has a name."""
        self.ends[how] += 1
        self.losses += [
            f"{path} has a wrong byte under its name"
            for path, data in self.files.items()
            if (directory / path).is_file() and (directory / path).read_bytes() != data
        ]

    def once_more(self, directory: Path, *sources: Source) -> None:
        """A fetch without the fault: every byte must be right now, and the receipt true."""
        try:
            fetch(plan_for(self.files, directory, *sources), patience=PATIENCE)
            with ModelTree(directory) as tree:
                receipt = load_receipt(tree)
        except Exception as error:
            self.losses.append(f"one more run failed: {error!r}")
            return
        if receipt is None:
            self.losses.append("there is no receipt after one more run")
            return
        told = {file.path: (file.size, file.sha256) for file in receipt.files}
        for path, data in self.files.items():
            here = (directory / path).read_bytes() if (directory / path).is_file() else None
            if here != data:
                self.losses.append(f"{path} is not right after one more run")
            if told.get(path) != (len(data), hashlib.sha256(data).hexdigest()):
                self.losses.append(f"the receipt is not true of {path}")


Scenario = Callable[[Run, Path, int], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: as the table says it.
        meet: meets it once or more.
        times: how often, for each of ``--runs``.
        alone: True where nothing else may run beside it.
        needs: what is missing for it here; empty where nothing is.
    """

    name: str
    meet: Scenario
    times: int = 1
    alone: bool = False
    needs: str = ""


def run_row(row: Row, home: Path, times: int) -> Run:
    """Meet a fault so many times."""
    total = Run()
    for number in range(times):
        folder = home / f"{row.name.replace('/', ' ')}-{number}"
        folder.mkdir()
        run = Run()
        try:
            row.meet(run, folder, number)
        except Exception as error:
            run.losses.append(f"the run itself failed: {error!r}")
        total.ends.update(run.ends)
        total.losses += [f"run {number}: {each}" for each in run.losses]
    return total
