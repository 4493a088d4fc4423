"""Build what hashes many messages at once on the machine that uses it, when there is much to hash.

With the machine's own compiler, once, as the kernels of the runtime are; see ``sha256_of_many``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
import threading
from pathlib import Path

from grokdist import settings
from grokdist.trust.sha256_of_many import Sha256OfMany, in_use, use

WORTH_BUILDING = 1 << 30
"""Bytes to hash from which a second of compiling, once on a machine, is worth it."""

_SOURCE = Path(__file__).parent / "native" / "sha256_of_many.cc"


def prepare(nbytes: int) -> None:
    """Use the library if it is there; else begin to build it where so many bytes are worth it.

    Nobody waits for it, and nothing but speed is lost without it.
    """
    if in_use() is not None:
        return
    path = library_path()
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            use(Sha256OfMany(path))
            return
    if nbytes >= WORTH_BUILDING:
        _build_behind()


def build() -> str:
    """Build the library unless it is there, and use it.

    Returns:
        why it is not used; nothing where it is.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"there is none for {platform.machine()}"
    from grokdist_runtime.errors import DeviceError
    from grokdist_runtime.native import compiler

    command = compiler.command()
    if command is None:
        return compiler.NO_COMPILER
    path = library_path()
    try:
        built = compiler.compile_library(command, [_SOURCE], path)
        if built.path is None:
            return built.reason
        use(Sha256OfMany(path))
    except (DeviceError, OSError, ValueError) as error:
        return str(error)
    return ""


@functools.cache
def _build_behind() -> None:
    threading.Thread(target=build, name="grokdist-compile", daemon=True).start()


def library_path() -> Path:
    """Where the library is kept, whether it is there or not."""
    # The source finds out itself what the processor has, so that one build does for all.
    name = hashlib.sha256(platform.machine().encode() + b"\0" + _SOURCE.read_bytes())
    return settings.home() / "cache" / "hashing" / f"sha256-{name.hexdigest()[:32]}.so"
