"""Other BitTorrent clients and a tracker, as child processes that keep to this machine.

Each is started on one torrent and one folder: what is there it checks and shares, the rest it
takes from whoever calls it. A program that is not installed is None in ``PROGRAMS``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "aria2c": "aria2",
    "transmission-cli": "transmission-cli",
    "transmission-create": "transmission-cli",
    "qbittorrent-nox": "qbittorrent-nox",
    "opentracker": "opentracker",
}
"""Debian's package for each program."""

PROGRAMS = {program: shutil.which(program) for program in PACKAGES}

_START_S = 30.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version(program: str) -> str:
    """What the program says of its version, shortened."""
    if program == "opentracker":
        argv = ["dpkg-query", "-W", "-f", "${Version}", "opentracker"]
    else:
        argv = [PROGRAMS[program] or program, "--version"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    words = (ended.stdout + ended.stderr).split()
    return next((word for word in words if word.removeprefix("v")[:1].isdigit()), "?")


def wait_for(ready: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _START_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for did not happen")
        time.sleep(0.02)


def _log(home: Path) -> bytes:
    return (home / "log").read_bytes()


def wait_for_port(port: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until the child listens."""
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with {child.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{child.args!r} does not listen on {port}")
        time.sleep(0.02)


@contextlib.contextmanager
def running(argv: Sequence[str | Path], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child with a home of its own, ended with the ``with``; what it says is in ``home/log``."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    with (home / "log").open("ab") as log:
        child = subprocess.Popen(
            [str(each) for each in argv],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass(frozen=True, kw_only=True)
class Client:
    """One program.

    Attributes:
        program: its name.
        versions: torrents that it can use, as ``TorrentVersion`` names them. The parsers of
            aria2 1.36 and transmission 3.00 stop at the empty key in a v2 file tree, which a
            hybrid has too.
    """

    program: str
    versions: tuple[str, ...]

    @contextlib.contextmanager
    def on(self, torrent: Path, folder: Path, home: Path) -> Iterator[int]:
        """Run it on one torrent; gives the port that it takes peers on."""
        port = free_port()
        match self.program:
            case "aria2c":
                run = _aria2(torrent, folder, home, port)
            case "transmission-cli":
                run = _transmission(torrent, folder, home, port)
            case _:
                run = _qbittorrent(torrent, folder, home, port)
        with run:
            yield port


CLIENTS = (
    Client(program="aria2c", versions=("v1",)),
    Client(program="transmission-cli", versions=("v1",)),
    Client(program="qbittorrent-nox", versions=("v1", "v2", "hybrid")),
)


@contextlib.contextmanager
def _aria2(torrent: Path, folder: Path, home: Path, port: int) -> Iterator[None]:
    argv = [
        "aria2c",
        "--no-conf",
        f"--dir={folder}",
        f"--listen-port={port}",
        "--interface=127.0.0.1",
        "--disable-ipv6=true",
        # Without a DHT it has no UDP for trackers either; this one knows nobody.
        "--enable-dht=true",
        f"--dht-listen-port={free_port()}",
        f"--dht-file-path={home / 'dht'}",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        "--file-allocation=none",
        "--check-integrity=true",
        # As long as it runs.
        "--seed-ratio=0.0",
        str(torrent),
    ]
    with running(argv, home) as child:
        wait_for_port(port, child)
        yield


@contextlib.contextmanager
def _transmission(torrent: Path, folder: Path, home: Path, port: int) -> Iterator[None]:
    config = home / "config"
    config.mkdir(parents=True)
    settings = {
        "bind-address-ipv4": "127.0.0.1",
        "bind-address-ipv6": "::1",
        "dht-enabled": False,
        "lpd-enabled": False,
        "pex-enabled": False,
        "utp-enabled": False,
        "port-forwarding-enabled": False,
        "preallocation": 0,
        "ratio-limit-enabled": False,
    }
    (config / "settings.json").write_text(json.dumps(settings))
    # It would keep its lines to itself until they fill a block.
    argv = [
        "stdbuf",
        "-o0",
        "transmission-cli",
        "-g",
        config,
        "-w",
        folder,
        "-p",
        port,
        "-M",
        "-v",
        torrent,
    ]
    with running(argv, home) as child:
        wait_for_port(port, child)
        # It turns everybody away while it looks at what is there.
        wait_for(lambda: any(word in _log(home) for word in (b"Progress:", b"Seeding")))
        yield


@contextlib.contextmanager
def _qbittorrent(torrent: Path, folder: Path, home: Path, port: int) -> Iterator[None]:
    web = free_port()
    config = home / "qBittorrent" / "config"
    config.mkdir(parents=True)
    (config / "qBittorrent.conf").write_text(
        "[LegalNotice]\nAccepted=true\n"
        "[Network]\nPortForwardingEnabled=false\n"
        "[Preferences]\n"
        f"WebUI\\Address=127.0.0.1\nWebUI\\Port={web}\nWebUI\\LocalHostAuth=false\n"
        "WebUI\\CSRFProtection=false\nWebUI\\HostHeaderValidation=false\nWebUI\\UseUPnP=false\n"
        "[BitTorrent]\n"
        f"Session\\Port={port}\nSession\\Interface=lo\nSession\\InterfaceName=lo\n"
        "Session\\InterfaceAddress=127.0.0.1\nSession\\DHTEnabled=false\n"
        "Session\\LSDEnabled=false\nSession\\PeXEnabled=false\nSession\\BTProtocol=TCP\n"
        "Session\\MultiConnectionsPerIp=true\nSession\\QueueingSystemEnabled=false\n"
    )
    with running(["qbittorrent-nox", f"--profile={home}"], home) as child:
        wait_for_port(web, child)
        _post(
            f"http://127.0.0.1:{web}/api/v2/torrents/add",
            {"savepath": str(folder), "autoTMM": "false", "contentLayout": "Original"},
            torrent.read_bytes(),
        )
        wait_for_port(port, child)
        yield


def _post(url: str, fields: dict[str, str], torrent: bytes) -> None:
    """Post a torrent as a form would."""
    edge = uuid.uuid4().hex
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{edge}\r\nContent-Disposition: form-data; name="torrents"; filename="t.torrent"\r\n'
        "Content-Type: application/x-bittorrent\r\n\r\n".encode()
        + torrent
        + f"\r\n--{edge}--\r\n".encode()
    )
    request = urllib.request.Request(  # noqa: S310 (our own address)
        url,
        data=b"".join(parts),
        headers={"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        if answer.read().strip() not in (b"Ok.", b""):
            raise RuntimeError("qbittorrent-nox did not take the torrent")


@contextlib.contextmanager
def opentracker(home: Path, infohashes: Sequence[str]) -> Iterator[int]:
    """A tracker for these infohashes (40 hex digits each), over HTTP and UDP on one port."""
    port = free_port()
    home.mkdir(parents=True)
    # It leaves root, and Debian's serves only what is on its list.
    home.chmod(0o755)
    (home / "wl").write_text("".join(f"{each}\n" for each in infohashes))
    argv = ["opentracker", "-i", "127.0.0.1", "-p", port, "-P", port, "-d", home]
    if os.geteuid() == 0:
        for parent in home.parents:
            if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o011 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        argv += ["-u", "nobody"]
    # Without root it cannot change its root, and takes the path as it is.
    argv += ["-w", "/wl" if os.geteuid() == 0 else "wl"]
    with running(argv, home) as child:
        wait_for_port(port, child)
        yield port
