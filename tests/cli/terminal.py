"""A program on a real pseudo-terminal: what is typed, and what it shows."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 120.0
"""Long, since machines are busy; nothing waits for it unless it fails."""

_AGAIN_S = 3.0


class Terminal:
    """One program, its three streams on a terminal; ended with the ``with``."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        self.shown = ""
        self._seen = 0
        self.child = subprocess.Popen(
            # The terminal must be the session's own, or it sends no signal for Ctrl-C.
            ["setsid", "--ctty", *argv],
            cwd=cwd,
            env=dict(env),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self._fd)

    def local_modes(self) -> int:
        """The terminal's ``c_lflag`` (termios(3)), as the program has set it."""
        return int(termios.tcgetattr(self._fd)[3])

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def type_until(self, keys: str, pattern: str) -> re.Match[str]:
        """Press keys, and again every few seconds, until the program shows something."""
        for _ in range(int(PATIENCE_S / _AGAIN_S)):
            self.type(keys)
            if (match := self._look(pattern, _AGAIN_S)) is not None:
                return match
        raise AssertionError(f"no {pattern!r} in {self.shown[self._seen :]!r}")

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the program shows something, after what was expected before."""
        match = self._look(pattern, PATIENCE_S)
        assert match is not None, f"no {pattern!r} in {self.shown[self._seen :]!r}"
        return match

    def _look(self, pattern: str, seconds: float) -> re.Match[str] | None:
        until = time.monotonic() + seconds
        while (match := re.compile(pattern).search(self.shown, self._seen)) is None:
            left = until - time.monotonic()
            if left <= 0:
                return None
            if select.select([self._fd], [], [], min(left, 1.0))[0]:
                try:
                    data = os.read(self._fd, 65_536)
                except OSError:  # the other end was closed
                    data = b""
                assert data, f"ended without {pattern!r}: {self.shown[self._seen :]!r}"
                self.shown += data.decode("utf-8", "replace")
        self._seen = match.end()
        return match

    def end(self) -> int:
        """Wait for the program to end by itself; its exit code."""
        until = time.monotonic() + PATIENCE_S
        over = False
        while not over:
            over = self.child.poll() is not None or time.monotonic() > until
            # Read on: a program whose terminal is full waits. What it said last is read as well.
            while select.select([self._fd], [], [], 0 if over else 0.1)[0]:
                try:
                    data = os.read(self._fd, 65_536)
                except OSError:  # the other end was closed
                    break
                self.shown += data.decode("utf-8", "replace")
        return self.child.wait(timeout=1)
