"""Who multiplies rows by int8 matrices: XLA alone, our kernel for CPUs, or our kernel for GPUs.

All give the same results up to the order of float32 sums; tests hold them equal. XLA alone works
everywhere and is the slowest, since it widens weights in memory before it multiplies.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from grokdist_runtime.errors import DeviceError

KERNELS = ("plain", "native", "pallas")
"""``plain``: XLA; ``native``: C++ on a CPU (``native/``); ``pallas``: GPUs (``pallas_matmul``)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernels:
    """What was chosen.

    Attributes:
        name: One of ``KERNELS``.
        reason: Why it is not a faster one; empty where there is none.
    """

    name: str
    reason: str = ""


def choose(platform: str, wanted: str | None, directory: Path | None) -> Kernels:
    """The fastest kernels that work here, or those that are asked for.

    Args:
        platform: JAX's name of the devices' kind: ``cpu``, ``gpu`` or ``tpu``.
        wanted: One of ``KERNELS``, or None.
        directory: A private directory to keep the native kernel in; None: for this process alone.

    Raises:
        DeviceError: What was asked for cannot be had here, or the directory is not private.
    """
    if wanted not in (None, *KERNELS):
        raise DeviceError(f"kernels is {wanted!r}; expected one of {', '.join(KERNELS)}")
    if wanted == "plain":
        return Kernels(name="plain")
    home = {"cpu": "native", "gpu": "pallas"}.get(platform)
    if wanted not in (None, home):
        raise DeviceError(f"kernels {wanted!r} do not run on a {platform}; expected {home}")
    if home is None:
        return Kernels(name="plain")
    reason = _native(directory) if home == "native" else _pallas()
    if not reason:
        return Kernels(name=home)
    if wanted is not None:
        raise DeviceError(f"kernels {wanted!r} cannot be had: {reason}")
    return Kernels(name="plain", reason=reason)


def _native(directory: Path | None) -> str:
    """Why there is no native kernel; empty if there is one."""
    from grokdist_runtime.native.build import build
    from grokdist_runtime.native.library import register

    library = build(directory)
    if library.path is None:
        return library.reason
    try:
        register(library.path)
    except DeviceError as error:
        return str(error)
    return ""


def _pallas() -> str:
    from grokdist_runtime import pallas_matmul

    return "" if pallas_matmul.works() else "the compiler of this GPU refuses the kernel"
