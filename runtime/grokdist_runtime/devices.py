"""The devices that JAX sees: simulated ones for the CPU, and where compiled programs are kept.

Everything here must run before the first JAX computation, so the command line calls it first.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import jax

from grokdist_runtime.errors import DeviceError
from grokdist_runtime.mesh_shape import AUTO, parse_mesh
from grokdist_runtime.private_directory import private_directory

_FORCED_COUNT = "xla_force_host_platform_device_count"


def simulate(count: int) -> None:
    """Lets the CPU show itself as ``count`` devices; without effect where accelerators are used.

    Must be called before JAX first looks at its devices. A count forced through ``XLA_FLAGS``
    is left as it is.

    Raises:
        DeviceError: JAX has already started with fewer CPU devices.
    """
    if _FORCED_COUNT in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if jax.device_count() < count:
            raise DeviceError(
                f"JAX already runs with {jax.device_count()} devices; expected {count}",
                hint=f"set XLA_FLAGS=--{_FORCED_COUNT}={count} before starting",
            ) from error


def simulate_for_mesh(mesh: str | None, processes: int = 1) -> None:
    """Calls ``simulate`` with as many devices as a mesh needs, if it says so and needs several.

    Args:
        mesh: The mesh over the devices of all processes.
        processes: How many processes share it; each shows its part of the devices.

    Raises:
        DeviceError: The mesh is malformed or does not divide over the processes, or JAX has
            already started with fewer devices.
    """
    if mesh not in (None, AUTO):
        needed = parse_mesh(mesh).devices
        if needed % processes:
            raise DeviceError(
                f"mesh {mesh} has {needed} devices, which do not divide over {processes}"
                f" processes; expected a multiple of {processes}",
                hint=f"for example --mesh 1x{processes}",
            )
        if needed > processes:
            simulate(needed // processes)


def use_compilation_cache(directory: Path) -> None:
    """Keeps compiled programs in ``directory`` from one process to the next.

    The directory is made with mode 0700. JAX runs what it finds there, so a directory that
    belongs to or is writable by someone else is refused.

    Raises:
        DeviceError: The directory cannot be made, or is not private to this user.
    """
    private_directory(directory)
    _remove_cut_programs(directory)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    # Every program counts: on a CPU each takes only a second, and starting is what one waits for.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _remove_cut_programs(directory: Path) -> None:
    """Removes what a process left half written when it was killed or its disk was full.

    JAX writes a program in place and never over one that is there, so that a cut one would cost a
    warning and a compilation in every later run. Each is looked at once: those that are no newer
    than the last look were whole then.
    """
    looked = directory / ".looked-at"
    # What cannot be mended costs time alone.
    with contextlib.suppress(OSError):
        before = looked.stat().st_mtime_ns if looked.exists() else 0
        looked.touch(mode=0o600)
        for program in directory.glob("*-cache"):
            if program.stat().st_mtime_ns >= before and _is_cut(program):
                program.unlink(missing_ok=True)


def _is_cut(program: Path) -> bool:
    try:
        # JAX alone knows whether it compresses by zlib or by zstd, and does not say so in public.
        from jax._src.compilation_cache import decompress_executable
    except ImportError:
        return False
    try:
        decompress_executable(program.read_bytes())
    except OSError:
        raise
    except Exception:  # of either library, each has its own
        return True
    return False
