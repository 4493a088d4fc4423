"""Commands of grokdist as processes of their own, and what they must say when they fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0
"""Nothing here takes so long, even on a busy machine: it hangs."""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it said.

    Attributes:
        code: its exit code; negative for a signal.
        out: what it printed.
        err: what it said on stderr.
        left: processes of its session that were still there some seconds later.
        steps: steps it took on the disk, where they were counted.
    """

    code: int
    out: str
    err: str
    left: int = 0
    steps: int = 0


class Process:
    """One running command."""

    def __init__(
        self, argv: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start ``python -m grokdist`` in ``folder``, which is also where its state goes."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "grokdist", *argv],
            cwd=folder,
            env={
                **kept,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "GROKDIST_HOME": str(folder / "home"),
                "GROKDIST_CONFIG": str(folder / "none.toml"),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self._process.send_signal(number)

    def wait(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait for its end, and for that of whatever it started.

        Raises:
            TimeoutError: it did not end; it was killed.
        """
        try:
            out, err = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            out, err = self._process.communicate()
            raise TimeoutError(
                f"no end after {limit_s:.0f} s; it had said {err[-300:]!r}"
            ) from None
        deadline = time.monotonic() + 5.0
        while (left := _session(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for each in left:
            os.kill(each, signal.SIGKILL)
        code = self._process.returncode
        if code == -signal.SIGINT and "error: interrupted\n" in err:
            # Python ends by the signal, in spite of its handling, where it came into an exec().
            code = 130
        return Ended(code=code, out=out, err=err, left=len(left))


def run(argv: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run one command to its end."""
    return Process(argv, folder, environment).wait()


def _session(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (each / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found.append(int(each.name))
    return found


def unbegun(ended: Ended) -> bool:
    """True where a command was interrupted while Python was starting, before a function of ours.

    Python then says where it was, if it can, and ends by the signal or with exit code 1.
    """
    if ended.code not in (-signal.SIGINT, -signal.SIGTERM, 1) or "error: " in ended.err:
        return False
    ours = re.findall(rf'"{re.escape(str(ROOT))}/grokdist/(.+)", line \d+, in (.+)', ended.err)
    first = {("__init__.py", "<module>"), ("__main__.py", "<module>")}
    return set(ours) <= first and ended.left == 0


def misspoken(ended: Ended, expected: Mapping[int, str]) -> list[str]:
    """What is wrong with the way a command ended.

    Args:
        ended: how it did.
        expected: the exit codes that are designed for what it met, and what the sentence must
            match; for 0 the sentence is what it printed.
    """
    wrong = []
    tail = ended.err.strip()[-2000:]
    if ended.left:
        wrong.append(f"{ended.left} processes were left behind")
    if ended.code not in expected:
        return [*wrong, f"exit code {ended.code}, expected {sorted(expected)}: {tail!r}"]
    if ended.code < 0:
        return wrong
    if "Traceback" in ended.err:
        wrong.append(f"a traceback: {tail!r}")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    if ended.code == 0:
        if errors:
            wrong.append(f"exit code 0 with {errors}")
        if not re.search(expected[0], ended.out, re.DOTALL):
            wrong.append(f"it printed {ended.out[-300:]!r}, expected {expected[0]!r}")
    elif ended.code == 130 and re.search(r"^interrupted ", ended.err, re.MULTILINE):
        pass  # all files were there already, and only the hash trees were not
    elif len(errors) != 1:
        wrong.append(f"{len(errors)} sentences of error, expected 1: {tail!r}")
    elif not re.search(expected[ended.code], errors[0]):
        wrong.append(f"it said {errors[0]!r}, expected {expected[ended.code]!r}")
    elif "[Errno" in errors[0]:
        wrong.append(f"an error of the system as it came: {errors[0]!r}")
    elif ended.out:
        document = json.loads(ended.out)
        # An interrupt may come when the result has been printed.
        told = document.get("error", {"exit_code": 130})["exit_code"]
        if told != ended.code:
            wrong.append(f"another exit code on stdout: {ended.out!r}")
    return wrong
