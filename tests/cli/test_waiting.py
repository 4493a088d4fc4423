"""The sign that something takes long: on a terminal after a second, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cli.terminal import Terminal

CHILD = """
import sys, time
from grokdist.cli import waiting
from grokdist.cli.output import Output
waiting.SOON_OVER_S = float(sys.argv[1])
with waiting.waiting(Output(), "asking [nobody]") as begun:
    if sys.argv[2] == "a line":
        sys.stdin.readline()
    else:
        time.sleep(float(sys.argv[2]))
    begun()
    print("first", flush=True)
    time.sleep(0.3)
try:
    with waiting.waiting(Output(), "failing"):
        raise ValueError
except ValueError:
    print("over", flush=True)
"""


def _env(repository: Path, term: str) -> dict[str, str]:
    path = f"{repository}{os.pathsep}{repository / 'runtime'}"
    return {**os.environ, "PYTHONPATH": path, "TERM": term}


def test_it_is_shown_and_gone_before_anything_else(repository: Path) -> None:
    argv = [sys.executable, "-c", CHILD, "0.01", "a line"]
    with Terminal(argv, cwd=repository, env=_env(repository, "xterm")) as terminal:
        terminal.expect(r"asking \[nobody\]")
        terminal.type("\n")
        terminal.expect("first\r\n")
        after = len(terminal.shown)
        assert terminal.end() == 0
        assert "asking" not in terminal.shown[after:]
        assert "over" in terminal.shown


def test_what_is_soon_over_shows_nothing(repository: Path) -> None:
    argv = [sys.executable, "-c", CHILD, "60", "0"]
    with Terminal(argv, cwd=repository, env=_env(repository, "xterm")) as terminal:
        assert terminal.end() == 0
        assert "asking" not in terminal.shown
        assert "first" in terminal.shown


def test_nothing_is_shown_in_a_pipe(repository: Path) -> None:
    argv = [sys.executable, "-c", CHILD, "0", "0.3"]
    ended = subprocess.run(
        argv, cwd=repository, env=_env(repository, "xterm"), capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "first\nover\n", "")
