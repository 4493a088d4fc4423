"""The programs that are measured: where they are, which version, and how to get what is missing."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_PACKAGES = {
    "nginx": "nginx-light",
    "curl": "curl",
    "aria2c": "aria2",
    "transmission-cli": "transmission-cli",
    "qbittorrent-nox": "qbittorrent-nox",
    "tc": "iproute2",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "sha256sum": "coreutils",
}
_VERSION_FLAG = {"nginx": "-v", "tc": "-V", "ip": "-V"}
_CPU = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Python programs of other projects, in their own environment.

    Attributes:
        folder: where their programs are; None where they were not installed.
        missing: why they are not there.
    """

    folder: Path | None
    missing: str | None

    def program(self, name: str) -> str:
        """Path of one of them."""
        return str((self.folder or Path("/nonexistent")) / name)


def missing(*names: str) -> str | None:
    """What to install so that these programs are there; None where they are."""
    lacking = sorted({_PACKAGES[name] for name in names if shutil.which(name) is None})
    if not lacking:
        return None
    absent = ", ".join(name for name in names if shutil.which(name) is None)
    return f"{absent} not found: apt-get install {' '.join(lacking)}"


def install_peers(home: Path, *, allowed: bool) -> Peers:
    """Make the environment of the Python peers, or take that of an earlier run."""
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = home / f"peers-{wanted}"
    if not (folder / "made").is_file():
        if not allowed:
            return Peers(folder=None, missing="not installed (--no-install)")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(folder / "bin/pip"), "install", "-q", "-r", str(_REQUIREMENTS)]
        got = subprocess.run(command, capture_output=True, text=True, check=False)
        if got.returncode:
            last = got.stderr.strip().rpartition("\n")[2]
            return Peers(folder=None, missing=f"pip install failed: {last[:200]}")
        (folder / "made").touch()
    return Peers(folder=folder / "bin", missing=None)


def versions(peers: Peers) -> dict[str, str]:
    """Versions of everything that takes part."""
    found = {
        "Python": platform.python_version(),
        "OpenSSL": _openssl(),
        "libtorrent": metadata.version("libtorrent"),
        "urllib3": metadata.version("urllib3"),
    }
    for name in ("nginx", "curl", "aria2c", "transmission-cli", "qbittorrent-nox", "sha256sum"):
        if shutil.which(name) is not None:
            found[name] = _version([name, _VERSION_FLAG.get(name, "--version")])
    if peers.folder is not None:
        listing = _output([peers.program("pip"), "list", "--format=freeze"])
        for name in ("huggingface_hub", "model-signing"):
            match = re.search(rf"^{name}==(.+)$", listing, re.MULTILINE)
            if match is not None:
                found[name] = match[1]
    return found


def machine() -> str:
    """One line about this machine."""
    cpu = _CPU.read_text("utf-8")
    model = re.search(r"model name\s*:\s*(.+)", cpu)
    memory = re.search(r"MemTotal:\s*(\d+)", _MEMORY.read_text("utf-8"))
    gib = int(memory[1]) / (1 << 20) if memory else 0.0
    name = model[1] if model else platform.machine()
    hashing = "SHA-256 instructions" if " sha_ni" in cpu else "no SHA-256 instructions"
    return (
        f"{os.cpu_count()} cores ({name}, {hashing}), {gib:.0f} GiB of memory,"
        f" Linux {platform.release()}"
    )


def file_system(path: Path) -> str:
    """Kind of the file system that holds ``path``."""
    return _output(["stat", "-f", "-c", "%T", str(path)]).strip()


def _openssl() -> str:
    import ssl

    return ssl.OPENSSL_VERSION.split()[1]


def _version(command: Sequence[str]) -> str:
    match = re.search(r"\d+\.\d+(\.\d+)?", _output(command))
    return match[0] if match else "?"


def _output(command: Sequence[str]) -> str:
    got = subprocess.run(list(command), capture_output=True, text=True, check=False)
    return got.stdout + got.stderr
