"""Run the command line as a person does, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command in this process."""
    from grokdist.cli.main import main

    def run(*argv: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["grokdist", *map(str, argv)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


def spawn(
    *argv: str | Path, cwd: Path, elsewhere: Path | None = None, **env: str
) -> subprocess.Popen[str]:
    """Start one command in a process of its own, of the checkout at ``cwd``.

    Its working directory is ``elsewhere`` if that is given; nothing is imported from there.
    """
    python = [sys.executable] if elsewhere is None else [sys.executable, "-P"]
    return subprocess.Popen(
        [*python, "-m", "grokdist", *map(str, argv)],
        cwd=elsewhere or cwd,
        env={**os.environ, "PYTHONPATH": f"{cwd}{os.pathsep}{cwd / 'runtime'}", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: subprocess.Popen[str], timeout: float = 120) -> Ended:
    """Wait for a command to end."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    return Ended(child.returncode, out, err)
