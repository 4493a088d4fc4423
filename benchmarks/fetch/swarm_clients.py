"""Who fetches by BitTorrent: one seed, one tracker, the same v1 torrent for all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.fetch.contest import Contestant, own_home
from benchmarks.fetch.http_clients import VERIFIED, fetching
from benchmarks.fetch.network import LOOPBACK, Island, free_port
from benchmarks.fetch.payload import Payload, make_torrent
from benchmarks.fetch.tools import missing
from grokdist.transfer.tracker import Tracker

BARE = "libtorrent alone"
HASHING = "libtorrent, then SHA-256"
"""As little as a second digest takes, begun when a file is complete: nothing synced or kept."""
GROKDIST = "grokdist, torrent"
NO_TREES = "grokdist, torrent, --no-trees"

_ISLAND_PORT = 18681
_DONE = "done"
_CHECK_TIMEOUT = 120.0

_QBITTORRENT = """\
[AutoRun]
enabled=true
program=touch {marker}

[BitTorrent]
Session\\AsyncIOThreadsCount=8
Session\\BTProtocol=TCP
Session\\DHTEnabled=false
Session\\Encryption=2
Session\\HashingThreadsCount=2
Session\\LSDEnabled=false
Session\\MultiConnectionsPerIp=true
Session\\PeXEnabled=false
Session\\Port={port}
Session\\QueueingSystemEnabled=false
Session\\SendBufferWatermark=4096

[LegalNotice]
Accepted=true

[Network]
PortForwardingEnabled=false

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\UseUPnP=false
"""

_TRANSMISSION = {
    "blocklist-enabled": False,
    "cache-size-mb": 64,
    "dht-enabled": False,
    "download-queue-enabled": False,
    "encryption": 0,
    "incomplete-dir-enabled": False,
    "lpd-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "preallocation": 0,
    "utp-enabled": False,
}


class Swarm:
    """A seed and a tracker; use it in a ``with``.

    Args:
        payload: what is shared.
        home: a folder for its own files.
        address: where the tracker listens, and the seed unless it is on an island.
        island: the namespace that the seed runs in.
    """

    def __init__(
        self, payload: Payload, *, home: Path, address: str, island: Island | None = None
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.address = address
        self.peer = (
            f"{island.address}:{_ISLAND_PORT}" if island else f"{address}:{free_port(address)}"
        )
        self._payload = payload
        self._home = home
        self._island = island
        self._tracker = Tracker(host=address)
        self.torrent = make_torrent(payload, self._tracker.url, home / f"{payload.name}.torrent")
        self._seed: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        ready = self._home / "seed-ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.fetch.bare_libtorrent", "seed"]
        command += [str(self.torrent), str(self._payload.directory.parent)]
        command += ["--listen", self.peer, "--ready", str(ready)]
        if self._island is not None:
            command = self._island.inside(command)
        self._seed = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + _CHECK_TIMEOUT
        while not ready.exists():
            if self._seed.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError("the seed did not come up")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._seed is not None:
            self._seed.kill()
            self._seed.wait()
        self._tracker.close()


def swarm_clients(payload: Payload, swarm: Swarm, home: Path) -> list[Contestant]:
    """All contestants for one payload."""
    refuses = "takes no peers at 127.0.0.1: run as root, or where unshare may make a namespace"
    alone = swarm.peer.startswith(LOOPBACK)
    return [
        Contestant(
            name=BARE,
            checks="SHA-1 of pieces",
            command=lambda out: bare_leech(swarm, out),
            payload_below=payload.name,
        ),
        Contestant(
            name=HASHING,
            checks="SHA-1 of pieces, SHA-256",
            command=lambda out: [*bare_leech(swarm, out), "--sha256"],
            payload_below=payload.name,
        ),
        Contestant(
            name="aria2c",
            checks="SHA-1 of pieces",
            command=_aria2(swarm),
            missing=missing("aria2c"),
            payload_below=payload.name,
        ),
        Contestant(
            name="transmission-cli",
            checks="SHA-1 of pieces",
            command=_transmission(swarm, home / "transmission"),
            marker=_DONE,
            missing=missing("transmission-cli") or (refuses if alone else None),
            payload_below=payload.name,
        ),
        Contestant(
            name="qbittorrent-nox",
            checks="SHA-1 of pieces",
            command=_qbittorrent(swarm, home / "qbittorrent"),
            environment={"HOME": str(home)},
            marker=_DONE,
            missing=missing("qbittorrent-nox"),
            payload_below=payload.name,
        ),
        Contestant(
            name=GROKDIST,
            checks="SHA-1 of pieces, SHA-256, fsync, trees behind it",
            says=VERIFIED,
            command=lambda out: grokdist_leech(payload, swarm, out),
            environment=own_home(home),
        ),
        Contestant(
            name=NO_TREES,
            checks="SHA-1 of pieces, SHA-256, fsync",
            command=lambda out: grokdist_leech(payload, swarm, out, "--no-trees"),
            environment=own_home(home),
        ),
    ]


def bare_leech(swarm: Swarm, out: Path) -> list[str]:
    """The command line of libtorrent alone."""
    leech = [sys.executable, "-m", "benchmarks.fetch.bare_libtorrent", "leech"]
    return [*leech, str(swarm.torrent), str(out), "--peer", swarm.peer, "--listen", "0.0.0.0:0"]


def grokdist_leech(payload: Payload, swarm: Swarm, out: Path, *more: str) -> list[str]:
    """The command line of a fetch from the swarm."""
    from_swarm = ("--torrent", str(swarm.torrent), "--peer", swarm.peer)
    return fetching(payload, out, "--source", "torrent", *from_swarm, *more)


def _aria2(swarm: Swarm) -> Callable[[Path], Sequence[str]]:
    return lambda out: [
        *("aria2c", "-q", "--no-conf", "--summary-interval=0", "--seed-time=0"),
        *("--enable-dht=false", "--enable-peer-exchange=false", "--bt-enable-lpd=false"),
        *("--file-allocation=none", "--disk-cache=64M", "--bt-max-open-files=4000"),
        *("--bt-request-peer-speed-limit=1000M", f"--listen-port={free_port(swarm.address)}"),
        *("-d", str(out), str(swarm.torrent)),
    ]


def _transmission(swarm: Swarm, home: Path) -> Callable[[Path], Sequence[str]]:
    def command(out: Path) -> Sequence[str]:
        _empty(home)
        (home / "settings.json").write_text(json.dumps(_TRANSMISSION), "utf-8")
        script = home / "done.sh"
        script.write_text(f"#!/bin/sh\ntouch {out / _DONE}\n", "utf-8")
        script.chmod(0o755)
        return [
            *("transmission-cli", "-g", str(home), "-w", str(out), "-f", str(script)),
            *("-p", str(free_port(swarm.address)), "-M", "-et", str(swarm.torrent)),
        ]

    return command


def _qbittorrent(swarm: Swarm, home: Path) -> Callable[[Path], Sequence[str]]:
    def command(out: Path) -> Sequence[str]:
        _empty(home)
        (home / "qBittorrent/config").mkdir(parents=True)
        port = free_port(swarm.address)
        settings = _QBITTORRENT.format(marker=out / _DONE, port=port)
        (home / "qBittorrent/config/qBittorrent.conf").write_text(settings, "utf-8")
        return [
            *("qbittorrent-nox", f"--profile={home}", f"--webui-port={free_port(LOOPBACK)}"),
            *(f"--save-path={out}", "--skip-dialog=true", str(swarm.torrent)),
        ]

    return command


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
