"""One fetch under what a seed drew, the next one without it, and what was lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import disks
from benchmarks.chaos.arena import FINISHED, MODEL, Arena, folders, prepare, restore
from benchmarks.chaos.mix import Mix
from benchmarks.chaos.model import FILES, WHOLE
from benchmarks.chaos.names import strays
from benchmarks.chaos.product import Process, misspoken, run, unbegun
from benchmarks.chaos.servers import Servers
from benchmarks.chaos.shim import Shim
from benchmarks.chaos.truth import Between, receipt_there, sha256sum
from benchmarks.chaos.watch import Watch, wrong

_SAYS = {
    1: r"Input/output error|Read-only file system|is not writable",
    11: "is not what the manifest names; expected ",
    14: r"no source could provide \d+ of \d+ files, .+ first: .+",
    15: r"no space left on the disk|No space left on device|not enough disk space",
    130: "interrupted",
}
_SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGKILL of all": signal.SIGKILL,
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
}
_ROOM = 64 << 20
_SLOW = 600_000
"""Bytes a second of a slow disk."""


@dataclass
class Outcome:
    """What became of one run.

    Attributes:
        mix: what befell it.
        how: the exit code, or how it was ended.
        losses: what was lost; empty where nothing was.
        skipped: the fault that this machine cannot make; the rest befell it all the same.
        named: files that got their names while they were watched.
        seconds: of wall time, the next fetch included.
    """

    mix: Mix
    how: str = ""
    losses: list[str] = field(default_factory=list)
    skipped: str = ""
    named: int = 0
    seconds: float = 0.0


def fetch_run(mix: Mix, arena: Arena) -> Outcome:
    """Run one mix; what goes wrong with the harness itself counts as lost too."""
    outcome = Outcome(mix=mix)
    begun = time.monotonic()
    folder = arena.home / f"run-{mix.seed}"
    try:
        _run(mix, arena, folder, outcome)
    except Exception as error:
        outcome.losses.append(f"the run itself failed: {error!r}")
    shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _run(mix: Mix, arena: Arena, folder: Path, outcome: Outcome) -> None:
    prepare(folder)
    model = folder / MODEL
    with ExitStack() as stack:
        servers = stack.enter_context(Servers(mix.servers, FILES))
        disk = stack.enter_context(_disk(mix, folder, outcome))
        _before(mix, arena, servers, folder)
        if outcome.skipped == "" and mix.disk == "read-only":
            disks.remount(folder / "disk", "ro")
        shim = _shim(mix, arena, outcome)
        watch = stack.enter_context(Watch(model, FILES, repairs=mix.before == "damaged"))
        process = Process(
            arena.argv(servers.urls, mix.peers),
            folder,
            shim.environment(arena.library) if shim else None,
        )
        if disk is not None:
            disk.write_text(str(process.pid))
        _befall(mix, process, servers, folder, outcome)
        ended = process.wait()
        outcome.how = "killed" if ended.code < 0 else f"exit {ended.code}"
        if not (mix.end in _SIGNALS and unbegun(ended)):
            outcome.losses += misspoken(ended, _expected(mix, outcome))
        if ended.code == 0:
            outcome.losses += [f"it said verified: {each}" for each in sha256sum(model, FILES)]
        outcome.losses += wrong(model, FILES) if mix.before != "damaged" else []
        outcome.losses += [] if mix.before == "damaged" else _receipt(model)
        if mix.disk in ("small", "read-only") and not outcome.skipped:
            (folder / "disk/ballast").unlink(missing_ok=True) if mix.disk == "small" else None
            disks.remount(folder / "disk", "rw")
        servers.mend()
        peers = ("honest",) if mix.peers else ()
        again = run(arena.argv([servers.healthy], peers), folder)
        told = [
            *misspoken(again, {0: FINISHED}),
            *sha256sum(model, FILES),
            *_receipt(model),
            *_names(mix, arena, folder),
        ]
        outcome.losses += [f"the next fetch: {each}" for each in told]
    outcome.losses += watch.losses
    outcome.named = watch.named


@contextmanager
def _disk(mix: Mix, folder: Path, outcome: Outcome) -> Iterator[Path | None]:
    """The disk that the mix asks for; gives the file that a throttled process is entered in."""
    if mix.disk in ("small", "read-only"):
        if not disks.may_mount():
            outcome.skipped = f"disk: {mix.disk} (needs root, to mount)"
            yield None
            return
        shutil.rmtree(folder / "disk")
        (folder / "disk").mkdir()
        with disks.small_disk(folder / "disk", _ROOM):
            folders(folder)
            yield None
    elif mix.disk == "slow":
        if not disks.may_throttle():
            outcome.skipped = f"disk: {mix.disk} (needs root, to limit a control group)"
            yield None
            return
        with disks.throttled(folder, _SLOW) as entry:
            yield entry
    else:
        yield None


def _before(mix: Mix, arena: Arena, servers: Servers, folder: Path) -> None:
    """Leave what was there already."""
    if mix.before == "killed before":
        step = max(1, round((1.0 - mix.moment) * arena.steps))
        shim = Shim(kill_at=step, torn=True).environment(arena.library)
        run(arena.argv([servers.healthy], ()), folder, shim)
    elif mix.before == "damaged":
        restore(arena.whole, folder)
        first, second = sorted(FILES, key=lambda path: -len(FILES[path]))[:2]
        data = bytearray(FILES[first])
        data[round(mix.moment * (len(data) - 1))] ^= 1
        (folder / MODEL / first).write_bytes(data)
        (folder / MODEL / second).unlink()


def _shim(mix: Mix, arena: Arena, outcome: Outcome) -> Shim | None:
    step = max(1, round(mix.moment * arena.steps))
    shim = Shim(
        kill_at=step if mix.end == "SIGKILL at a step" else 0,
        torn=True,
        fail_at=step if mix.disk in ("full from a step on", "failing from a step on") else 0,
        fail_with=errno.EIO if mix.disk == "failing from a step on" else errno.ENOSPC,
        pause_s=0.02 if mix.disk == "slow calls" else 0.0,
        clock=mix.seed + 1 if mix.clock else 0,
    )
    return None if shim == Shim(torn=True) else shim


def _befall(mix: Mix, process: Process, servers: Servers, folder: Path, outcome: Outcome) -> None:
    """Mend the servers, fill the disk and end the process, each at its time."""
    begun = time.monotonic()
    end_s = 0.2 + 3.0 * mix.moment if mix.end in _SIGNALS else float("inf")
    fill = mix.disk == "small" and not outcome.skipped
    mended = mix.mended_s == 0
    while process.running and (fill or not mended or end_s != float("inf")):
        now = time.monotonic() - begun
        if fill and (folder / MODEL / ".grokdist/lock").exists():
            fill = False
            _fill(folder / "disk", round(mix.moment * WHOLE))
        if not mended and now > mix.mended_s:
            mended = True
            servers.mend()
        if now > end_s:
            end_s = float("inf")
            if mix.end == "SIGKILL of all":
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                process.send(_SIGNALS[mix.end])
        time.sleep(0.002 if fill else 0.01)


def _fill(disk: Path, left: int) -> None:
    """Take all room of a disk but so much."""
    status = os.statvfs(disk)
    size = status.f_bavail * status.f_frsize - left
    with suppress(OSError), (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, size))


def _expected(mix: Mix, outcome: Outcome) -> dict[int, str]:
    """The exit codes that are designed for what befell it, and what is said with each."""
    disk = "" if outcome.skipped else mix.disk
    codes = set()
    if disk != "read-only":
        codes.add(0)
    if disk in ("small", "full from a step on"):
        codes.add(15)
    if disk in ("failing from a step on", "read-only"):
        codes.add(1)
    if not mix.helped and disk != "read-only":
        codes |= {11, 14}
    if mix.end.startswith("SIGKILL"):
        codes.add(-9)
    elif mix.end:
        codes.add(130)
    return {code: _SAYS.get(code, FINISHED if code == 0 else "") for code in codes}


def _receipt(model: Path) -> list[str]:
    try:
        receipt_there(model, FILES)
    except Between as found:
        return [str(found)]
    return []


def _names(mix: Mix, arena: Arena, folder: Path) -> list[str]:
    # A peer that sent wrong bytes is remembered.
    spared = f"{MODEL}/.grokdist/banned-peers.json was left behind" if "lies" in mix.peers else ""
    return [each for each in strays(folder, arena.names) if each != spared]
