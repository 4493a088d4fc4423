"""The compiled kernels, loaded into this process and made known to XLA."""

from __future__ import annotations

import ctypes
from pathlib import Path

import jax

from grokdist_runtime.errors import DeviceError

_KERNELS = ("attention", "grouped_matmul", "row_products")
_loaded: list[ctypes.CDLL] = []  # kept: XLA calls into it


def target(kernel: str) -> str:
    """XLA's name for one of the kernels."""
    return f"grokdist_{kernel}"


def register(library: Path) -> None:
    """Loads the library into this process, once, and makes its kernels known to XLA.

    Raises:
        DeviceError: The library cannot be loaded, or XLA refuses it.
    """
    if _loaded:
        return
    try:
        loaded = ctypes.CDLL(str(library))
        for kernel in _KERNELS:
            capsule = jax.ffi.pycapsule(getattr(loaded, kernel))
            jax.ffi.register_ffi_target(target(kernel), capsule, platform="cpu")
    except Exception as error:  # XLA's own error type is not public
        raise DeviceError(f"the native kernel cannot be used: {error}") from error
    _loaded.append(loaded)
