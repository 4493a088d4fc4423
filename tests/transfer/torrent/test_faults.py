"""What goes wrong in a swarm: nobody there, liars, crashes, disks, and torrents that attack."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grokdist.errors import GrokdistError, SourceError, UnsafePathError, UsageError
from grokdist.transfer.sources.torrent_metainfo import MAX_METADATA, read_torrent
from grokdist.transfer.sources.torrent_resume import BLOCK
from grokdist.transfer.torrent_create import TorrentVersion
from grokdist.transfer.tracker import Tracker, bencode
from grokdist.transfer.tree import ModelTree
from tests.conftest import REPOSITORY
from tests.transfer.torrent.swarms import (
    SmallModel,
    begin,
    bring,
    check,
    finish,
    make_model,
    seed,
    swarm_source,
)

FIRST = "ckpt-0/tensor00000_000"


def test_nobody_has_the_metadata(model: SmallModel, tmp_path: Path) -> None:
    with Tracker() as tracker:
        source = swarm_source(
            model.torrent().magnet, model, tmp_path, trackers=[tracker.url], stall_s=0.5
        )
        try:
            with pytest.raises(SourceError, match="no peer gave the torrent's metadata") as caught:
                bring(source, tmp_path, model.entry(FIRST))
        finally:
            source.close()
    # The next run may ask again; this one does not wait for an empty swarm twice.
    assert caught.value.permanent
    assert caught.value.path is None


def test_a_dead_tracker_is_named(model: SmallModel, tmp_path: Path) -> None:
    with Tracker() as tracker:
        url = tracker.url
    file = tmp_path / "m.torrent"
    file.write_bytes(model.torrent().data)
    source = swarm_source(file, model, tmp_path, trackers=[url], stall_s=0.8)
    try:
        with pytest.raises(SourceError, match="no peers; a tracker says: ") as caught:
            bring(source, tmp_path, model.entry(FIRST))
    finally:
        source.close()
    assert caught.value.path == FIRST


def test_seed_that_dies_midway_and_another_that_comes(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", {"big.bin": 3_500_000})
    target = tmp_path / "target"
    made = model.torrent()
    with ModelTree.create(target) as tree, Tracker() as tracker:
        first = seed(model, made, max_upload=2_000_000, trackers=[tracker.url])
        source = swarm_source(made.magnet, model, target, trackers=[tracker.url], stall_s=20)
        part, segment = begin(tree, model.entries[0], source.name)
        arrived = threading.Event()
        segment.on_bytes = lambda count: arrived.set() if count else None
        thread = threading.Thread(
            target=source.fetch, args=(part.entry, segment, threading.Event()), daemon=True
        )
        try:
            thread.start()
            assert arrived.wait(20)
            first.close()
            del first
            assert segment.remaining
            with seed(model, made, trackers=[tracker.url]):
                # The newcomer finds us by the tracker.
                thread.join(30)
            assert not segment.remaining
            finish(tree, part)
        finally:
            source.close()
    check(model, target, model.entries)


@pytest.mark.parametrize("version", [TorrentVersion.V1, TorrentVersion.V2])
def test_liar_is_banned_and_an_honest_seed_completes(
    tmp_path: Path, version: TorrentVersion
) -> None:
    honest = make_model(tmp_path / "honest")
    liars = make_model(tmp_path / "liar")
    made = honest.torrent(version)
    file = tmp_path / "m.torrent"
    file.write_bytes(made.data)
    target = tmp_path / "target"
    with seed(liars, made) as liar, seed(honest, made) as good:
        # Its check found the right bytes; what it gives away are others.
        for entry in liars.entries:
            (liars.directory / entry.path).write_bytes(b"\xaa" * entry.size)
        lied_to = swarm_source(file, honest, target, peers=[liar.port], stall_s=1.5)
        try:
            with pytest.raises(SourceError, match="banned for wrong pieces"):
                bring(lied_to, target, honest.entry(FIRST))
            assert lied_to.status.banned == (f"127.0.0.1:{liar.port}",)
            assert lied_to.status.hash_failures > 0
        finally:
            lied_to.close()
        # Another process remembers the one and is not kept from the other.
        again = swarm_source(file, honest, target, peers=[liar.port], stall_s=1.0)
        try:
            with pytest.raises(SourceError, match="no peers"):
                bring(again, target, honest.entry(FIRST))
            assert again.status.received == 0
        finally:
            again.close()
        source = swarm_source(file, honest, target, peers=[liar.port, good.port], stall_s=15)
        try:
            for entry in honest.entries:
                bring(source, target, entry)
            assert source.status.hash_failures == 0
        finally:
            source.close()
    check(honest, target, honest.entries)


_CHILD = """
import sys, threading
from pathlib import Path
from grokdist.transfer.tree import ModelTree
from tests.transfer.torrent.swarms import begin, make_model, swarm_source

model = make_model(Path(sys.argv[1]), {"big.bin": 9_000_000})
source = swarm_source(sys.argv[3], model, Path(sys.argv[2]), peers=[int(sys.argv[4])],
                      max_rate=5_000_000)
part, segment = begin(ModelTree.create(Path(sys.argv[2])), model.entries[0], source.name)

def told(count):
    if count:
        part.save()
        print(part.have, flush=True)

segment.on_bytes = told
source.fetch(part.entry, segment, threading.Event())
"""


def test_goes_on_after_kill(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", {"big.bin": 9_000_000})
    target = tmp_path / "target"
    made = model.torrent(TorrentVersion.V1)
    with seed(model, made) as seeder:
        child = subprocess.Popen(
            [
                *(sys.executable, "-c", _CHILD, tmp_path / "source", target, made.magnet),
                str(seeder.port),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout:
            arrived = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        source = swarm_source(made.magnet, model, target, peers=[seeder.port])
        with ModelTree.create(target) as tree:
            part, segment = begin(tree, model.entries[0], source.name)
            assert part.began >= arrived
            came: list[int] = []
            segment.on_bytes = came.append
            try:
                source.fetch(part.entry, segment, threading.Event())
                finish(tree, part)
            finally:
                source.close()
    # Blocks of a piece that was begun may be on disk beyond what the part says: they do not come
    # again either.
    resumed = model.entries[0].size - part.began - sum(came)
    assert resumed >= 0
    assert resumed % BLOCK == 0
    check(model, target, model.entries)


_FORGETFUL = """
import sys, threading
from pathlib import Path
from tests.transfer.torrent.swarms import bring, make_model, seed, swarm_source

model = make_model(Path(sys.argv[1]))
made = model.torrent()
seeder = seed(model, made)
source = swarm_source(made.magnet, model, Path(sys.argv[2]), peers=[seeder.port])
bring(source, Path(sys.argv[2]), model.entries[0])
sys.exit(7)
"""


def test_exit_without_closing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORGETFUL, tmp_path / "source", tmp_path / "target"],
        cwd=REPOSITORY,
        check=False,
        timeout=60,
    )
    assert done.returncode == 7


def test_disk_error_is_the_disks(model: SmallModel, tmp_path: Path) -> None:
    made = model.torrent()
    file = tmp_path / "m.torrent"
    file.write_bytes(made.data)
    target = tmp_path / "target"
    index = next(f.index for f in read_torrent(made.data).files if f.path == FIRST)
    with seed(model, made) as seeder:
        source = swarm_source(file, model, target, peers=[seeder.port])
        try:
            bring(source, target, model.entry("tokenizer.model"))
            (target / ".grokdist" / "swarm" / str(index)).mkdir()
            with pytest.raises(IsADirectoryError):
                bring(source, target, model.entry(FIRST))
        finally:
            (target / ".grokdist" / "swarm" / str(index)).rmdir()
            source.close()


def test_closing_ends_a_fetch(model: SmallModel, tmp_path: Path) -> None:
    file = tmp_path / "m.torrent"
    file.write_bytes(model.torrent().data)
    source = swarm_source(file, model, tmp_path, stall_s=60)
    failed: list[BaseException] = []

    def fetch() -> None:
        try:
            bring(source, tmp_path, model.entry(FIRST))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    while not source.port:
        time.sleep(0.01)
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert failed
    source.close()


def _encode(value: object) -> bytes:
    match value:
        case str():
            return bencode(value.encode())
        case list():
            return b"l" + b"".join(map(_encode, value)) + b"e"
        case dict():
            items = sorted((key.encode(), below) for key, below in value.items())
            return b"d" + b"".join(bencode(key) + _encode(below) for key, below in items) + b"e"
    assert isinstance(value, int | bytes)
    return bencode(value)


def _info(**fields: object) -> bytes:
    info = {
        "name": "x",
        "piece length": 16384,
        "pieces": b"a" * 20,
        "length": 10,
    } | {key.replace("_", " "): value for key, value in fields.items()}
    return _encode({"info": {key: value for key, value in info.items() if value is not None}})


def _with_path(*names: object) -> bytes:
    return _info(length=None, files=[{"length": 10, "path": list(names)}])


def _with_files(count: int) -> bytes:
    one = b"d6:lengthi0e4:pathl%d:%dee"
    files = b"".join(one % (len(str(number)), number) for number in range(count))
    return _info(length=None, files=[]).replace(b"5:filesle", b"5:filesl" + files + b"e")


HOSTILE: dict[str, tuple[bytes, type[GrokdistError]]] = {
    "empty": (b"", SourceError),
    "not bencoded": (b"<html>", SourceError),
    "cut": (_info()[:-5], SourceError),
    "a number": (b"i3e", SourceError),
    "no info": (b"d1:xi1ee", SourceError),
    "info is a number": (b"d4:infoi1ee", SourceError),
    "deep dictionaries": (b"d4:info" + b"d1:a" * 200_000, SourceError),
    "deep lists": (b"d4:info" + b"l" * 200_000 + b"e" * 200_000 + b"e", SourceError),
    "huge string": (b"d4:info99999999999:", SourceError),
    "too large": (b"d" + b" " * MAX_METADATA, SourceError),
    "negative length": (_info(length=-1), SourceError),
    "absurd length": (_info(length=1 << 62), SourceError),
    "absurd piece": (_info(piece_length=1 << 40), SourceError),
    "no piece size": (_info(piece_length=0), SourceError),
    "too few hashes": (_info(length=1 << 30), SourceError),
    "no hashes": (_info(pieces=b""), SourceError),
    "files is a number": (_info(length=None, files=3), SourceError),
    "path is a number": (_with_path(3), SourceError),
    "too many files": (_with_files(200_002), SourceError),
    "up": (_with_path("..", "etc", "passwd"), UnsafePathError),
    "here": (_with_path(".", "a"), UnsafePathError),
    "absolute": (_with_path("/etc/passwd"), UnsafePathError),
    "slash inside": (_with_path("a/../../b"), UnsafePathError),
    "backslash": (_with_path("..\\..\\b"), UnsafePathError),
    "empty name": (_with_path("", "a"), UnsafePathError),
    "NUL": (_with_path("a\0b"), UnsafePathError),
    "newline": (_with_path("a\nb"), UnsafePathError),
    "not UTF-8": (_with_path(b"\xff\xfe"), UnsafePathError),
    "long name": (_with_path("a" * 256), UnsafePathError),
    "root up": (_info(name="..", length=None, files=[{"length": 1, "path": ["a"]}]), GrokdistError),
    "root absolute": (_info(name="/etc/x"), UnsafePathError),
    "link": (
        _info(
            length=None,
            files=[
                {"length": 0, "path": ["a"], "attr": "l", "symlink path": ["..", "etc"]},
                {"length": 10, "path": ["b"]},
            ],
        ),
        UnsafePathError,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_torrents(case: str) -> None:
    data, expected = HOSTILE[case]
    with pytest.raises(expected):
        read_torrent(data)


def test_hostile_v2_names() -> None:
    file = {"": {"length": 10, "pieces root": b"r" * 32}}
    info = {"name": "x", "piece length": 16384, "meta version": 2, "file tree": {"..": file}}
    with pytest.raises((UnsafePathError, SourceError)):
        read_torrent(_encode({"info": info}))


@pytest.mark.parametrize("uri", ["magnet:", "magnet:?xt=urn:btih:zz", "magnet:?" + "x" * 70_000])
def test_bad_magnets(model: SmallModel, tmp_path: Path, uri: str) -> None:
    with pytest.raises(SourceError, match="magnet"):
        swarm_source(uri, model, tmp_path)


def test_missing_torrent_file(model: SmallModel, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read the torrent file"):
        swarm_source(tmp_path / "none.torrent", model, tmp_path)


def _settings(**fields: object) -> Callable[[], object]:
    from grokdist.transfer.sources.torrent_settings import SwarmSettings

    return lambda: SwarmSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        _settings(interface="example.org"),
        _settings(port=70_000),
        _settings(max_rate=0),
        _settings(proxy="ftp://host:1"),
        _settings(proxy="socks5://host"),
        _settings(proxy="socks5://host:99999"),
    ],
)
def test_settings_that_make_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()
