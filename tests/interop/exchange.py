"""A model goes to another client and comes back: once each way, every byte compared."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import FetchRequest, make_plan
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.resolve import build_sources
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
from tests.interop.clients import CLIENTS, Client, opentracker
from tests.transfer.models import manifest_of, trusted
from tests.transfer.torrent.swarms import PIECE, SmallModel, make_model

LOOPBACK = SwarmSettings.on_loopback()
ANOTHER = SwarmSettings(interface="127.0.0.2")
"""Transmission takes one address for one peer, and remembers of ours that it was a seed."""

PATIENCE_S = 40.0
NAME = "model"


def model_in(folder: Path) -> SmallModel:
    """A small model in a folder that is named as its torrents are."""
    return make_model(folder / NAME)


def torrent_of(model: SmallModel, version: str, folder: Path) -> Path:
    """A torrent of ours on disk."""
    path = folder / f"{version}.torrent"
    path.write_bytes(model.torrent(TorrentVersion(version)).data)
    return path


def complete(model: SmallModel, folder: Path) -> bool:
    """True where every file of the model is in ``folder``, byte for byte."""
    with contextlib.suppress(OSError):
        return all(
            (folder / entry.path).read_bytes() == (model.directory / entry.path).read_bytes()
            for entry in model.entries
        )
    return False


def wait(ready: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it takes over {PATIENCE_S:.0f} s until {what}")
        time.sleep(0.05)


def bring(model: SmallModel, torrent: Path | str, folder: Path, **where: object) -> None:
    """Fetch the model by the torrent alone, with all that a fetch checks."""
    request = FetchRequest(
        trusted=trusted(manifest_of(model.entries)),
        directory=folder,
        torrent=str(torrent),
        swarm=ANOTHER,
        **where,  # type: ignore[arg-type]
    )
    fetch(make_plan(request, build_sources(request)))
    assert complete(model, folder)


def there_and_back(client: Client, version: str, folder: Path) -> None:
    """We seed and the client fetches; then it seeds and we fetch. Peers are called directly."""
    model = model_in(folder / "ours")
    torrent = torrent_of(model, version, folder)
    theirs = folder / "theirs"
    theirs.mkdir()
    with client.on(torrent, theirs, folder / "home") as port:
        # Most clients take no peer by hand; so we call them.
        with Seeder(
            torrent.read_bytes(), model.directory, settings=LOOPBACK, peers=[("127.0.0.1", port)]
        ):
            wait(lambda: complete(model, theirs / NAME), f"{client.program} has all")
        bring(model, torrent, folder / "back", peers=(("127.0.0.1", port),))


def by_tracker(client: Client, version: str, folder: Path, scheme: str) -> None:
    """The same with a tracker between us: nobody is told of anybody.

    We are the command line, each time in a process of its own: libtorrent keeps what a UDP tracker
    gave to one session and shows it for the next one, and opentracker refuses that.
    """
    model = model_in(folder / "ours")
    made = model.torrent(TorrentVersion(version))
    infohashes = [each[:40] for each in (made.btih, made.btmh) if each]
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(_document(model)))
    theirs = folder / "theirs"
    theirs.mkdir()
    with opentracker(folder / "tracker", infohashes) as port:
        url = f"{scheme}://127.0.0.1:{port}/announce"
        torrent = folder / "tracked.torrent"
        torrent.write_bytes(_with_tracker(model, version, url))
        seed = ("seed", model.directory, "--torrent", torrent, "--interface", "127.0.0.1")
        with grokdist(*seed) as seeding, client.on(torrent, theirs, folder / "home"):
            wait(lambda: complete(model, theirs / NAME), f"{client.program} has all")
            seeding.terminate()
            seeding.wait(PATIENCE_S)
            fetch = ("fetch", "tiny", "--manifest", manifest, "--source", "torrent")
            where = ("--torrent", torrent, "--interface", "127.0.0.2", "--dir", folder / "back")
            with grokdist(*fetch, *where) as fetching:
                fetching.wait(2 * PATIENCE_S)
            assert complete(model, folder / "back")


@contextlib.contextmanager
def grokdist(*argv: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Our command line in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "runtime")])
    child = subprocess.Popen(
        [sys.executable, "-m", "grokdist", *map(str, argv)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _document(model: SmallModel) -> dict[str, object]:
    """A manifest of the model, as it stands in a file."""
    return {
        "schema": "grokdist/manifest/v1",
        "name": "tiny",
        "revision": "1f" * 20,
        "title": "Tiny",
        "publisher": "Nobody",
        "role": "observer",
        "statement": "These bytes were made by a test.",
        "released": None,
        "format": "grok-1-pickle",
        "summary": "weights; no training data",
        "config": None,
        "license": {"expression": "Apache-2.0", "name": "Apache License 2.0"},
        "components": [],
        "sources": [],
        "anchors": [],
        "files": [
            {"path": entry.path, "size": entry.size, "sha256": entry.sha256}
            for entry in model.entries
        ],
    }


def theirs_made(client: Client, folder: Path) -> None:
    """A torrent that transmission made, of files that it shares."""
    model = model_in(folder / "ours")
    torrent = folder / "theirs.torrent"
    argv = ["transmission-create", "-o", torrent, model.directory]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    with client.on(torrent, model.directory.parent, folder / "home") as port:
        bring(model, torrent, folder / "back", peers=(("127.0.0.1", port),))


def _with_tracker(model: SmallModel, version: str, url: str) -> bytes:
    paths = [entry.path for entry in model.entries]
    return create_torrent(
        model.directory,
        paths,
        name=NAME,
        version=TorrentVersion(version),
        piece_size=PIECE,
        trackers=[url],
    ).data


def cases() -> Iterator[tuple[Client, str]]:
    """Each client with each kind of torrent that it can use."""
    for client in CLIENTS:
        for version in client.versions:
            yield client, version
