"""Fetches that are killed at random moments, each a process of its own.

Starting Python takes longer than the fetch, and would be most of the moments that a random one
hits: one process imports everything and forks a fetch for each directory it is told.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from grokdist.transfer.engine import fetch
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.https import HttpsSource
from tests.transfer.models import HASTY, QUICK_HTTP, content, hub, plan_for

SIZES = {
    "ckpt-0/tensor00000_000": 5_000_011,
    "ckpt-0/tensor00001_000": 300_007,
    "ckpt-0/tensor00002_000": 700_001,
    "ckpt-0/tensor00003_000": 1_300_013,
    **{f"ckpt-0/scale{place:05}": 2_000 + place for place in range(20)},
    "tokenizer.model": 2_229,
    "empty": 0,
}
FILES = {path: content(path, size) for path, size in SIZES.items()}


class Notes(NoProgress):
    """Remembers what a person would have been told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def fetch_from(directory: Path, endpoint: str, mirror: str) -> list[str]:
    """One fetch from two servers; returns what it said."""
    sources = (hub(endpoint, slots=2), HttpsSource(mirror, slots=2, settings=QUICK_HTTP))
    notes = Notes()
    fetch(plan_for(FILES, directory, *sources), notes, patience=HASTY)
    return notes.said


class Launcher:
    """A process that forks fetches; use it in a ``with``."""

    def __init__(self, repository: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.transfer.chaos"],
            cwd=repository,
            env=os.environ | {"PYTHONPATH": f"{repository}:{repository}/runtime"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def start(self, directory: Path, endpoint: str, mirror: str) -> int:
        """Fork a fetch; returns its process id."""
        return int(self._ask(f"start\t{directory}\t{endpoint}\t{mirror}"))

    def wait(self, process: int) -> int:
        """Wait for the end of a fetch; returns its exit status, negative for a signal."""
        return int(self._ask(f"wait\t{process}"))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def _serve() -> None:
    """Do what the lines on stdin say."""
    children: set[int] = set()
    try:
        for line in sys.stdin:
            what, *rest = line.rstrip("\n").split("\t")
            if what == "wait":
                _, status = os.waitpid(int(rest[0]), 0)
                children.discard(int(rest[0]))
                print(os.waitstatus_to_exitcode(status), flush=True)
                continue
            child = os.fork()
            if child:
                children.add(child)
                print(child, flush=True)
                continue
            status = 1
            try:
                fetch_from(Path(rest[0]), rest[1], rest[2])
                status = 0
            finally:
                os._exit(status)
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)


if __name__ == "__main__":
    _serve()
