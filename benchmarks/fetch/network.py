"""A network that belongs to the benchmark: nothing leaves it, and links in it can be slow.

BitTorrent clients refuse peers at 127.0.0.1, so the benchmark runs in a network namespace of its
own with another address on its loopback device. An ``Island`` is one more namespace behind a link
of limited rate.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
_ADDRESS = "10.77.0.1"
_INSIDE = "GROKDIST_BENCHMARK_NAMESPACE"
_BURST = "512kb"


def enter(module: str, arguments: Sequence[str]) -> str:
    """Start again inside a namespace; returns the address to serve on once inside.

    Without the right to make one it stays outside and returns 127.0.0.1.
    """
    if os.environ.get(_INSIDE):
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", f"{_ADDRESS}/32", "dev", "lo")
        return _ADDRESS
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    tool = shutil.which("unshare")
    if tool is None or subprocess.run([tool, *flags, "true"], check=False).returncode:
        return LOOPBACK
    os.environ[_INSIDE] = "1"
    os.execv(tool, [tool, *flags, sys.executable, "-m", module, *arguments])  # noqa: S606


def free_port(address: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Island:
    """A namespace joined to this one by a link; use it in a ``with``.

    Args:
        number: its number, 1 to 250; it has the address 10.77.NUMBER.2.
        rate: what it sends at most, as tc writes it (``500mbit``).
    """

    def __init__(self, number: int, rate: str) -> None:
        self.address = f"10.77.{number}.2"
        self._number = number
        self._rate = rate
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = ["unshare", "-n", "sh", "-c", "echo; exec sleep 86400"]
        self._keeper = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self._keeper.stdout is not None:
            self._keeper.stdout.readline()
        here, there = f"bench{self._number}", "uplink"
        pid = str(self._keeper.pid)
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", pid)
        _ip("addr", "add", f"10.77.{self._number}.1/24", "dev", here)
        _ip("link", "set", here, "up")
        for line in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "addr", "add", f"{self.address}/24", "dev", there],
            ["ip", "link", "set", there, "up"],
            [
                *("tc", "qdisc", "add", "dev", there, "root", "tbf"),
                *("rate", self._rate, "burst", _BURST, "latency", "50ms"),
            ],
        ):
            subprocess.run(self.inside(line), check=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` in this namespace."""
        if self._keeper is None:
            raise RuntimeError("the island is not open")
        return ["nsenter", "-t", str(self._keeper.pid), "-n", *command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
