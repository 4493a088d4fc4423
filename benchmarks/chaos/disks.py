"""Disks with faults, of the real kind: small and read-only ones, and slow ones.

Mounts and limits need root; without it they are left out, counted, and said to be.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_BLKIO = Path("/sys/fs/cgroup/blkio")
_UNIFIED = Path("/sys/fs/cgroup")


@functools.cache
def may_mount() -> bool:
    """True where a file system can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
        if mounted:
            _unmount(Path(folder))
    return mounted


@functools.cache
def may_throttle() -> bool:
    """True where the kernel can be told to write slowly to the disk of temporary files."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    try:
        with tempfile.TemporaryDirectory() as folder, throttled(Path(folder), 1 << 20):
            return True
    except OSError:
        return False


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes at an empty folder; needs ``may_mount``."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        _unmount(folder)


def remount(folder: Path, options: str) -> None:
    """Change a disk made by ``small_disk``: ``ro``, ``rw``, ``size=64m``."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@contextlib.contextmanager
def throttled(folder: Path, rate: int) -> Iterator[Path]:
    """A control group whose processes write so many bytes a second to a folder's disk.

    Gives the file that a process writes its id into. What is synced is slow, and what is only
    written is not: as it is with a slow disk.

    Raises:
        OSError: this kernel does not limit that disk.
    """
    status = folder.stat()
    whole = _whole_disk(os.major(status.st_dev), os.minor(status.st_dev))
    old = _BLKIO.is_dir()
    group = (_BLKIO if old else _UNIFIED) / f"grokdist-chaos-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        if old:
            (group / "blkio.throttle.write_bps_device").write_text(f"{whole} {rate}")
        else:
            (group / "io.max").write_text(f"{whole} wbps={rate}")
        yield group / "cgroup.procs"
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def _whole_disk(major: int, minor: int) -> str:
    """The disk that a partition is of, as MAJOR:MINOR; limits are set for whole disks only."""
    place = Path(f"/sys/dev/block/{major}:{minor}").resolve(strict=True)
    if (place / "partition").exists():
        return (place.parent / "dev").read_text().strip()
    return f"{major}:{minor}"
