"""What all fetches of a run share: an undisturbed fetch to compare with, and torrent peers."""

from __future__ import annotations

import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.chaos.model import FILES, MANIFEST, SIZES
from benchmarks.chaos.names import names
from benchmarks.chaos.product import misspoken, run
from benchmarks.chaos.servers import Servers
from benchmarks.chaos.shim import Shim, build
from tests.transfer.models import entry_of
from tests.transfer.torrent.swarms import SmallModel, seed

MODEL = Path("disk/model")
"""The model directory, in the folder of a run."""
FINISHED = '"verified": true'


class Arena:
    """Servers, peers and the undisturbed fetch; use it in a ``with``.

    Attributes:
        home: a folder; each run has one of its own below it.
        library: the shim.
        whole: the folder of an undisturbed fetch.
        steps: how many steps that took on the disk.
        names: what a completed fetch leaves.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.library = build(home)
        self.whole = home / "whole"
        self._open = ExitStack()
        self.torrent = home / "m.torrent"
        right, wrong = (_written(home / name) for name in ("right", "wrong"))
        made = right.torrent()
        self.torrent.write_bytes(made.data)
        honest, liar = seed(right, made), seed(wrong, made)
        self._open.enter_context(honest)
        self._open.enter_context(liar)
        # Its check found the right bytes; what it gives away are others.
        for entry in wrong.entries:
            (wrong.directory / entry.path).write_bytes(b"\xaa" * entry.size)
        nobody = self._open.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        self._ports = {
            "honest": honest.port,
            "lies": liar.port,
            "dead": nobody.getsockname()[1],
        }

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # As a shell leaves it in the background; our commands would inherit that.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        count = self.home / "count"
        prepare(self.whole)
        with Servers(("honest",), FILES) as servers:
            environment = Shim().environment(self.library, count)
            ended = run(self.argv(servers.urls, ()), self.whole, environment)
        if wrong := misspoken(ended, {0: FINISHED}):
            raise RuntimeError(f"an undisturbed fetch fails: {wrong}")
        self.steps = int(count.read_text().split()[-1])
        self.names = names(self.whole)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def argv(self, urls: list[str], peers: tuple[str, ...]) -> list[str]:
        """The command that fetches from these."""
        argv = ["fetch", "tiny", "--manifest", "m.json", "--dir", str(MODEL), "--json"]
        for url in urls:
            argv += ["--source", f"https:{url}"]
        if peers:
            argv += ["--torrent", str(self.torrent), "--interface", "127.0.0.1", "--port", "0"]
            argv += ["--no-dht", "--no-lsd", "--no-upnp"]
        for each in peers:
            argv += ["--peer", f"127.0.0.1:{self._ports[each]}"]
        return argv


def prepare(folder: Path) -> None:
    """Make the folder of a run: the manifest, and an empty model directory to watch."""
    folder.mkdir(parents=True)
    (folder / "m.json").write_bytes(MANIFEST)
    folders(folder)


def folders(folder: Path) -> None:
    """Make the folders that the model's files get their names in."""
    for path in SIZES:
        (folder / MODEL / path).parent.mkdir(parents=True, exist_ok=True)


def restore(whole: Path, folder: Path) -> None:
    """Put a copy of a complete model into the folder of a run."""
    shutil.copytree(whole / MODEL, folder / MODEL, dirs_exist_ok=True)


def _written(directory: Path) -> SmallModel:
    for path, data in FILES.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    entries = [entry_of(path, data) for path, data in FILES.items()]
    return SmallModel(directory=directory, entries=tuple(entries))
