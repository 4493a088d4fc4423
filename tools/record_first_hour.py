"""Records a first hour with grokdist: a shell on a terminal, in a home where nothing is.

Plays ``tools/first_hour_steps.py`` from the committed state of this checkout and writes
``docs/first-hour.md``. What is installed comes by pip; nothing else leaves this machine.

    python -m tools.record_first_hour

A line that ends with another exit code than it must ends the recording, and nothing is written.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.first_hour_steps import PARTS, Line, Part

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "first-hour.md"
_COLUMNS = 96
_PATIENCE_S = 900.0
_PROMPT = r"\x1e(\d+)\x1e\$ "
"""What the shell shows when it waits: the last exit code, between separators, then the prompt."""
_KEPT = ("PATH", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "SSL_CERT_FILE")
_PIP = Path.home() / ".config" / "pip" / "pip.conf"


class RecordingError(Exception):
    """The hour did not go as it must."""


class Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self, home: Path) -> None:
        self._fd, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, _COLUMNS))
        self._held = ""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        if _PIP.exists():
            environment.setdefault("PIP_CONFIG_FILE", str(_PIP))
        environment |= {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",  # with --quiet: nothing about the settings of this machine's pip
            "PIP_ROOT_USER_ACTION": "ignore",
            "PROMPT_COMMAND": r"printf '\036%s\036' $?",
            "PS1": "$ ",
            "PS2": "",
            "TERM": "dumb",  # so that what is read back is text and no display
            "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        }
        self._child = subprocess.Popen(
            # The terminal must be the session's own, or Ctrl-C sends no signal.
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=home,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.until(_PROMPT)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def until(self, pattern: str) -> tuple[str, re.Match[str]]:
        """What is shown until something is, and that."""
        end = time.monotonic() + _PATIENCE_S
        while (found := re.search(pattern, self._held)) is None:
            if time.monotonic() > end:
                raise RecordingError(f"no {pattern!r} in {self._held[-2000:]!r}")
            if select.select([self._fd], [], [], 1.0)[0]:
                self._held += os.read(self._fd, 1 << 16).decode("utf-8", "replace")
        shown, self._held = self._held[: found.end()], self._held[found.end() :]
        return shown, found

    def close(self) -> None:
        """End the shell and what it started."""
        os.killpg(self._child.pid, signal.SIGHUP)
        os.close(self._fd)
        self._child.wait(timeout=30)


@contextmanager
def new_home() -> Iterator[Path]:
    """A home with nothing in it but the committed state of this checkout."""
    with tempfile.TemporaryDirectory(prefix="first-hour-") as folder:
        home = Path(folder)
        (home / "grokdist").mkdir()
        archive = subprocess.run(
            ["git", "archive", "HEAD"], cwd=REPOSITORY, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", home / "grokdist"], input=archive.stdout, check=True)
        yield home


def play(shell: Shell, line: Line) -> str:
    """Type a line and wait for its end; returns what stood on the terminal, without the prompt.

    Raises:
        RecordingError: it ended with another exit code than it must.
    """
    shell.type(f"{line.text}\n")
    shown = ""
    for awaited, keys in line.then:
        shown += shell.until(awaited)[0]
        shell.type(keys)
    last, prompt = shell.until(_PROMPT)
    shown += last.removesuffix(prompt[0])
    if line.code not in (-1, int(prompt[1])):
        raise RecordingError(f"{line.text!r} ended with {prompt[1]}: {shown}")
    return f"{shown.rstrip()}\n[{prompt[1]}]" if prompt[1] != "0" else shown


def as_text(shown: str, home: Path) -> str:
    """What was shown as lines of text, the home's path as ``~``."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace(str(home), "~")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n")


def page(played: list[tuple[Part, str, float]]) -> str:
    """The page, from each part with what was shown and the seconds it took."""
    total = sum(seconds for _, _, seconds in played)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    out = [
        "# A first hour\n",
        "What a new user types, and what it says: recorded on a terminal by"
        " `python -m tools.record_first_hour`, in a home where nothing was. It is shown as it was"
        " but for the path of that home, here `~`. The terminal of the recording shows no"
        " progress bars; [the recording of a fetch](recordings/fetch.cast) has them. A number in"
        " brackets is the exit code of a command that refused.\n",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores,"
        f" {memory:.0f} GiB, no GPU, Python {platform.python_version()}. The computer worked for"
        f" {total / 60:.0f} minutes of the hour; other work ran beside it.\n",
    ]
    for part, shown, seconds in played:
        out += [
            f"## {part.title}\n",
            f"{part.why} *{seconds:.0f} s.*\n",
            f"```text\n{shown}\n```\n",
        ]
    return "\n".join(out)


def main() -> None:
    """Play every part, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PAGE)
    out: Path = parser.parse_args().out
    played = []
    with new_home() as home:
        shell = Shell(home)
        try:
            for part in PARTS:
                begun = time.monotonic()
                shown = [as_text("$ " + play(shell, line), home) for line in part.lines]
                played.append((part, "\n".join(shown), time.monotonic() - begun))
        finally:
            shell.close()
    out.write_text(page(played), "utf-8")


if __name__ == "__main__":
    main()
