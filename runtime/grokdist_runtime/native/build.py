"""Compile the kernels with the machine's own C++ compiler, once, into a private directory.

Built where it runs rather than when the package is installed: so it fits this processor and the
headers of the very jaxlib that will call it, the wheel holds no binary, and a checkout needs no
step of its own. Without a compiler nothing is lost but speed. Imports no JAX.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from grokdist_runtime.private_directory import private_directory

_FOLDER = Path(__file__).parent
_SOURCES = tuple(_FOLDER / name for name in ("grouped_matmul.cc", "row_products.cc"))
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


def build(directory: Path | None) -> Library:
    """The kernel for this machine, compiled unless an earlier call did so.

    Args:
        directory: Where to keep it; made with mode 0700. ``None``: a directory of this process,
            removed at its end.

    Raises:
        DeviceError: The directory is not private to this user: what is found there is run.
    """
    compiler = _compiler()
    if compiler is None:
        return Library(path=None, reason="there is no C++ compiler (c++, g++, clang++ or $CXX)")
    headers = _headers()
    if headers is None:
        return Library(path=None, reason="jaxlib came without its headers")
    if directory is None:
        directory = _own_directory()
    private_directory(directory)
    # What the user adds to $CXX stands last, so that it wins.
    command = [compiler[0], *_FLAGS, *_tuning(), f"-I{headers}", *compiler[1:]]
    path = directory / f"kernels-{_key(command)}.so"
    if path.exists():
        return Library(path=path)
    return _compile(command, path)


def _compile(command: list[str], path: Path) -> Library:
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as work:
        built = Path(work) / path.name
        try:
            done = subprocess.run(  # noqa: S603  # a compiler, with arguments of our own
                [*command, *map(str, _SOURCES), "-o", str(built)],
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


def _compiler() -> list[str] | None:
    named = os.environ.get("CXX", "").split()
    for name in [named[0]] if named else ["c++", "g++", "clang++"]:
        if (found := shutil.which(name)) is not None:
            return [found, *named[1:]]
    return None


def _headers() -> Path | None:
    """The folder of XLA's headers in the jaxlib that is installed."""
    spec = importlib.util.find_spec("jaxlib")
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        include = Path(folder) / "include"
        if (include / "xla" / "ffi" / "api" / "c_api.h").is_file():
            return include
    return None


def _tuning() -> tuple[str, ...]:
    if platform.machine() in ("x86_64", "AMD64"):
        return ("-march=native",)
    return ("-mcpu=native",) if platform.machine() in ("aarch64", "arm64") else ()


def _key(command: list[str]) -> str:
    """Of all that the result depends on; a home directory may be shared by several machines."""
    parts = [
        *(path.read_bytes() for path in (*sorted(_FOLDER.glob("*.h")), *_SOURCES)),
        "\0".join(command).encode(),
        Path(command[0]).resolve().as_posix().encode(),
        importlib.metadata.version("jaxlib").encode(),
        platform.platform().encode(),
        _processor(),
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _processor() -> bytes:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_bytes().splitlines():
                if line.startswith((b"flags", b"Features")):
                    return line
    return platform.processor().encode()


@functools.cache
def _own_directory() -> Path:
    holder = tempfile.TemporaryDirectory(prefix="grokdist-native-")
    _KEPT.append(holder)
    return Path(holder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
