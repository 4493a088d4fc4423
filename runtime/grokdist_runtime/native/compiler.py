"""Compile C++ with the machine's own compiler, once, into a private directory. Imports no JAX."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grokdist_runtime.private_directory import private_directory

_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-exceptions", "-fno-rtti")
_TIMEOUT_S = 120.0
_MAX_REASON = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library:
    """The outcome of a build.

    Attributes:
        path: The shared library, or ``None`` where there is none.
        reason: Why there is none; empty where there is one.
    """

    path: Path | None
    reason: str = ""


def command(flags: Sequence[str] = ()) -> list[str] | None:
    """The compiler with its flags, to be followed by sources; None where there is none."""
    named = os.environ.get("CXX", "").split()
    for name in [named[0]] if named else ["c++", "g++", "clang++"]:
        if (found := shutil.which(name)) is not None:
            # What the user adds to $CXX stands last, so that it wins.
            return [found, *_FLAGS, *flags, *named[1:]]
    return None


NO_COMPILER = "there is no C++ compiler (c++, g++, clang++ or $CXX)"
"""Why there is no library where ``command`` gave None."""


def compile_library(command: Sequence[str], sources: Sequence[Path], path: Path) -> Library:
    """Compile sources into a shared library, unless it is there already.

    Args:
        command: The compiler with its flags.
        sources: What is compiled.
        path: The library, whose name says all that it depends on; its directory is made with mode
            0700. Another process may make the same one at the same time.

    Raises:
        DeviceError: The directory is not private to this user: what is found there is run.
    """
    private_directory(path.parent)
    if path.exists():
        return Library(path=path)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as work:
        built = Path(work) / path.name
        try:
            done = subprocess.run(  # noqa: S603  # a compiler, with arguments of our own
                [*command, *map(str, sources), "-o", str(built)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except OSError as error:
            return Library(path=None, reason=f"{command[0]} cannot be run: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Library(path=None, reason=f"{command[0]} took longer than {_TIMEOUT_S:.0f} s")
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), "")
            said = first[:_MAX_REASON] or f"exit status {done.returncode}"
            return Library(path=None, reason=f"{command[0]} failed: {said}")
        built.replace(path)
    return Library(path=path)
