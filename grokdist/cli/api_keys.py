"""The keys that clients of a server must know: from the environment or a file, never a flag.

What stands on a command line is seen by everyone on the machine, and kept in histories.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from grokdist.cli.output import Output
from grokdist.errors import UsageError

VARIABLE = "GROKDIST_API_KEY"

_MAX_BYTES = 64 << 10


def read_keys(path: Path | None, out: Output) -> tuple[str, ...]:
    """The keys: a line each of the file, or the one of the environment; none where neither is.

    Raises:
        UsageError: the file cannot be read, or holds no key. No message shows what it holds.
    """
    if path is None:
        key = os.environ.get(VARIABLE, "").strip()
        return (key,) if key else ()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise UsageError(f"--api-key-file {path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"--api-key-file {path} is over {_MAX_BYTES} bytes")
    try:
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        raise UsageError(f"--api-key-file {path} is not ASCII; expected a key a line") from None
    keys = tuple(line for line in lines if line)
    if not keys:
        raise UsageError(f"--api-key-file {path} holds no key; expected one a line")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        out.warning(f"others on this machine can read {path}; chmod 600 {path} changes that")
    return keys
