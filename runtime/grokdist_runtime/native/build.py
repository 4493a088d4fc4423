"""Compile the kernels with the machine's own C++ compiler, once, into a private directory.

Built where it runs rather than when the package is installed: so it fits this processor and the
headers of the very jaxlib that will call it, the wheel holds no binary, and a checkout needs no
step of its own. Without a compiler nothing is lost but speed. Imports no JAX.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grokdist_runtime.native import compiler
from grokdist_runtime.native.compiler import Library

_FOLDER = Path(__file__).parent
_SOURCES = tuple(
    _FOLDER / name for name in ("attention.cc", "grouped_matmul.cc", "row_products.cc")
)


def build(directory: Path | None) -> Library:
    """The kernel for this machine, compiled unless an earlier call did so.

    Args:
        directory: Where to keep it; made with mode 0700. ``None``: a directory of this process,
            removed at its end.

    Raises:
        DeviceError: The directory is not private to this user: what is found there is run.
    """
    headers = _headers()
    if headers is None:
        return Library(path=None, reason="jaxlib came without its headers")
    command = compiler.command([*_tuning(), f"-I{headers}"])
    if command is None:
        return Library(path=None, reason=compiler.NO_COMPILER)
    if directory is None:
        directory = _own_directory()
    return compiler.compile_library(command, _SOURCES, directory / f"kernels-{_key(command)}.so")


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


def _key(command: Sequence[str]) -> str:
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
