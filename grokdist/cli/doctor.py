"""``grokdist doctor``: look this machine over, and name the fix of what is wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grokdist
from grokdist.cli import options
from grokdist.cli.output import Output
from grokdist.errors import GrokdistError
from grokdist.settings import compile_cache, config_path, home, load_config

_LOW_DISK = 1 << 30
_PACKAGES = ("jax", "jaxlib", "libtorrent", "huggingface-hub", "safetensors", "cryptography")
_MARKS = {"ok": "ok", "note": "note", "fault": "FAULT"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what.
        state: ``ok``; ``note`` for what works and could be better; ``fault`` for what must be
            mended.
        found: what was seen.
        fix: what mends it; empty where nothing needs to.
    """

    about: str
    state: str
    found: str
    fix: str = ""


def doctor(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Look this machine over: disk, memory, devices, kernels, settings; name what mends a fault."""
    out = Output(json=json, quiet=quiet, verbose=verbose)
    findings = [finding for look in _LOOKS for finding in look()]
    faults = sum(finding.state == "fault" for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]:5} {finding.about}: {finding.found}")
        if finding.fix:
            lines.append(f"      {finding.fix}")
    lines.append(f"{faults} fault{'' if faults == 1 else 's'}")
    document: dict[str, Any] = {
        "ok": not faults,
        "findings": [
            {"about": f.about, "state": f.state, "found": f.found, "fix": f.fix or None}
            for f in findings
        ],
    }
    out.result(document, "\n".join(lines))
    if faults:
        raise SystemExit(1)


def _versions() -> Iterator[Finding]:
    found = [f"grokdist {grokdist.__version__}", f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(
                about=name,
                state="fault",
                found="is not installed",
                fix=f"pip install {name}",
            )
    yield Finding(about="versions", state="ok", found=", ".join(found))


def _configuration() -> Iterator[Finding]:
    path = config_path()
    try:
        tables = load_config(path)
    except GrokdistError as error:
        yield Finding(
            about="configuration", state="fault", found=str(error), fix=f"mend or remove {path}"
        )
        return
    found = f"{path}, for {', '.join(sorted(tables)) or 'nothing'}" if path.exists() else "none"
    yield Finding(about="configuration", state="ok", found=found)


def _store() -> Iterator[Finding]:
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = stat.S_IMODE(folder.stat().st_mode)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            about="store",
            state="fault",
            found=f"{folder} cannot be used: {error.strerror}",
            fix="name another folder in GROKDIST_HOME",
        )
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            about="store",
            state="fault",
            found=f"{folder} cannot be written to",
            fix=f"chmod u+rwx {folder}, or name another folder in GROKDIST_HOME",
        )
    elif mode & 0o022:
        yield Finding(
            about="store",
            state="fault",
            found=f"others can write to {folder}",
            fix=f"chmod go-w {folder}",
        )
    else:
        yield Finding(about="store", state="ok", found=str(folder))
    yield Finding(
        about="disk",
        state="ok" if free >= _LOW_DISK else "fault",
        found=f"{free / 1e9:.1f} GB free there",
        fix="" if free >= _LOW_DISK else "free some room, or move the store with GROKDIST_HOME",
    )


def _memory() -> Iterator[Finding]:
    from grokdist.cli.memory import host_memory

    cores = os.cpu_count() or 1
    room = host_memory()
    yield Finding(
        about="memory", state="ok", found=f"{room / 1e9:.1f} GB for a model, {cores} cores"
    )


def _devices() -> Iterator[Finding]:
    """JAX's devices, and the kernels that would run on them."""
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # whatever a broken driver raises
        yield Finding(
            about="devices",
            state="fault",
            found=f"JAX does not start: {str(error).splitlines()[0] if str(error) else error!r}",
            fix="JAX_PLATFORMS=cpu runs without the accelerator",
        )
        return
    kind = devices[0].device_kind
    yield Finding(about="devices", state="ok", found=f"{len(devices)} x {kind}")
    yield from _kernels(devices[0].platform)


def _kernels(device_platform: str) -> Iterator[Finding]:
    from grokdist_runtime.errors import DeviceError
    from grokdist_runtime.kernels import choose

    try:
        chosen = choose(device_platform, None, compile_cache() / "native")
    except DeviceError as error:
        yield Finding(about="kernels", state="fault", found=str(error), fix=error.hint or "")
        return
    if not chosen.reason:
        yield Finding(about="kernels", state="ok", found=chosen.name)
        return
    yield Finding(
        about="kernels",
        state="note",
        found=f"{chosen.name}, since {chosen.reason}",
        fix="install a C++ compiler, such as g++, for several times the speed",
    )


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _versions,
    _configuration,
    _store,
    _memory,
    _devices,
)
