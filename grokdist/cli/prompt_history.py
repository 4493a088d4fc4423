"""What was typed at the prompt, kept from one session to the next in a file of the user alone.

Each line is appended as it is typed, so that sessions side by side lose nothing of each other and
a killed one loses nothing; the file is cut to its last lines when a session begins.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.errors import StoreError

KEPT = 1000
"""Lines that a session begins with, at most."""
_MAX_LINE = 10_000
_MAX_BYTES = 32 << 20


class PromptHistory:
    """The file, and the line editor's memory of it.

    Attributes:
        lines: what was typed before, the oldest first.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file; none is an empty one.

        Raises:
            StoreError: it cannot be used, or others can read it.
        """
        self._path = path
        self.lines: list[str] = []
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
                    raise StoreError(
                        f"the history {path} is no file of yours; expected a regular one",
                        hint="--no-history goes without it",
                    )
                if status.st_mode & 0o077:
                    path.chmod(0o600)
                text = read_bounded(path, _MAX_BYTES).decode("utf-8", "replace")
                every = [line for line in text.split("\n") if line]
                self.lines = every[-KEPT:]
                if len(every) > KEPT:
                    self._cut()
        except TooLargeError as error:
            raise StoreError(
                f"the history {path} has more than {_MAX_BYTES} bytes", hint=f"rm {path}"
            ) from error
        except OSError as error:
            raise StoreError(
                f"the history {path} cannot be used: {error.strerror}",
                hint="--no-history goes without it",
            ) from error

    def add(self, line: str) -> None:
        """Keep one line; a disk that refuses it is not worth ending a session for."""
        data = line.replace("\n", " ").encode("utf-8", "replace")[:_MAX_LINE] + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)

    def _cut(self) -> None:
        partial = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.new")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write("".join(f"{line}\n" for line in self.lines).encode())
        partial.replace(self._path)
