"""``grokdist doctor``: look this machine over, and name the fix of what is wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grokdist
from grokdist.cli import options
from grokdist.cli.doctor_configuration import look_at_configuration
from grokdist.cli.doctor_network import look_at_clock, look_at_ports, look_at_proxies
from grokdist.cli.finding import Finding
from grokdist.cli.format import bytes_text, count_text, plain_text
from grokdist.cli.output import Output
from grokdist.errors import GrokdistError
from grokdist.private_folder import make_private
from grokdist.settings import compile_cache, home

_LOW_DISK = 1 << 30
_PACKAGES = ("jax", "jaxlib", "libtorrent", "huggingface-hub", "safetensors", "cryptography")
_MARKS = {"ok": "ok", "note": "note", "fault": "FAULT"}


def doctor(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Look this machine over, from disk to clock, and name what mends each fault."""
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


def _store() -> Iterator[Finding]:
    folder = home()
    try:
        make_private(folder)
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


def look_at_store() -> Iterator[Finding]:
    """What stands in the store and is of no more use, or waits to be gone on from."""
    from grokdist.transfer.store import Store
    from grokdist.transfer.waste import Kind, find_waste

    store = Store()
    try:
        waste = find_waste(store, unfinished=True)
        placed = list(store.all_placed())
    except (GrokdistError, OSError) as error:
        yield Finding(about="stale", state="fault", found=str(error), fix=f"look at {store.models}")
        return
    for each in placed:
        if each.stored is not None and each.stored.damage is not None:
            where = plain_text(str(each.directory))
            yield Finding(
                about="receipt",
                state="fault",
                found=f"that of {where} cannot be read: {plain_text(each.stored.damage)}",
                fix=f"grokdist fetch {each.name} --dir {where}: files that are right stay",
            )
    begun = [each for each in waste if each.kind is Kind.UNFINISHED]
    left = [each for each in waste if each.kind is not Kind.UNFINISHED]
    if left:
        size = bytes_text(sum(each.bytes for each in left))
        kinds = ", ".join(sorted({str(each.kind) for each in left}))
        yield Finding(
            about="stale",
            state="note",
            found=f"{count_text(len(left), 'thing')} of no more use, {size}: {kinds}",
            fix="grokdist gc",
        )
    for directory in sorted({each.model for each in begun if each.model is not None}):
        size = bytes_text(sum(each.bytes for each in begun if each.model == directory))
        yield Finding(
            about="unfinished",
            state="note",
            found=f"{size} of a fetch into {plain_text(str(directory))} that did not end",
            fix=f"grokdist fetch {directory.parent.name} goes on;"
            " grokdist gc --unfinished gives it up",
        )
    if not waste:
        yield Finding(about="stale", state="ok", found="nothing is left over in the store")


def _memory() -> Iterator[Finding]:
    from grokdist.api.memory import host_memory

    cores = os.cpu_count() or 1
    room = host_memory()
    yield Finding(
        about="memory", state="ok", found=f"{room / 1e9:.1f} GB for a model, {cores} cores"
    )


def _hash_trees() -> Iterator[Finding]:
    from grokdist.trust.sha256_build import build

    reason = build()
    found = f"one block after the other, since {reason}" if reason else "sixteen blocks at once"
    yield Finding(about="hash trees", state="ok", found=found)


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
    look_at_configuration,
    _store,
    look_at_store,
    look_at_ports,
    look_at_proxies,
    look_at_clock,
    _memory,
    _hash_trees,
    _devices,
)
