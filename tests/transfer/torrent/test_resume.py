"""Going on in another process: what came is kept, out of order and under way included."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import FetchRequest, make_plan
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.sources.torrent import TorrentSource
from grokdist.transfer.sources.torrent_metainfo import read_torrent
from grokdist.transfer.sources.torrent_resume import RESUME, Pieces, read_record, write_record
from grokdist.transfer.torrent_create import CreatedTorrent, TorrentVersion, create_torrent
from grokdist.transfer.tree import ModelTree
from tests.conftest import REPOSITORY
from tests.servers.hub_server import wait_until
from tests.transfer.models import manifest_of, trusted
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

PIECE = 4 << 20
"""Large, so that most of what comes is of pieces that are not finished."""

BLOCK = 16 << 10
SIZES = {"a.bin": 5_000_003, "b.bin": 7_000_001}

_CHILD = """
import sys, threading
from pathlib import Path
from grokdist.transfer.tree import ModelTree
from tests.transfer.torrent.swarms import begin, make_model, swarm_source

model = make_model(Path(sys.argv[1]), {"a.bin": 5_000_003, "b.bin": 7_000_001})
target = Path(sys.argv[2])
source = swarm_source(sys.argv[3], model, target, peers=[int(sys.argv[4])], max_rate=1_500_000)
tree = ModelTree.create(target)

def run(entry):
    part, segment = begin(tree, entry, source.name)
    source.fetch(entry, segment, threading.Event())

for entry in model.entries:
    threading.Thread(target=run, args=(entry,), daemon=True).start()
threading.Event().wait()
"""


def _torrent(model: SmallModel, version: TorrentVersion) -> CreatedTorrent:
    paths = [entry.path for entry in model.entries]
    return create_torrent(model.directory, paths, name="m", version=version, piece_size=PIECE)


def _killed(model: SmallModel, made: CreatedTorrent, target: Path, port: int) -> None:
    """Fetch in a child that is killed once it noted some megabytes."""
    argv = [model.directory, target, made.magnet, port]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *map(str, argv)], cwd=REPOSITORY)
    try:
        wait_until(lambda: _noted(target, made) > 2_500_000)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _noted(target: Path, made: CreatedTorrent) -> int:
    """Bytes that the record of a run says are here."""
    if not (target / RESUME).exists():
        return 0
    files = read_torrent(made.data)
    with ModelTree(target) as tree:
        found = read_record(tree, made.btih or made.btmh or "", files.pieces)
    if found is None:
        return 0
    spans = [
        (index * PIECE, (index + 1) * PIECE) for index, here in enumerate(found[0].have) if here
    ]
    for index, blocks in found[0].unfinished.items():
        starts = [index * PIECE + place * BLOCK for place, here in enumerate(blocks) if here]
        spans += [(start, start + BLOCK) for start in starts]
    # Without what is padding between files.
    return sum(
        max(0, min(end, file.offset + file.size) - max(start, file.offset))
        for start, end in spans
        for file in files.files
    )


@contextmanager
def _source(
    target: Path, model: SmallModel, magnet: str, seeder: Seeder
) -> Iterator[TorrentSource]:
    source = swarm_source(magnet, model, target, peers=[seeder.port])
    try:
        yield source
    finally:
        source.close()


@pytest.mark.parametrize("version", TorrentVersion)
def test_a_killed_process_loses_little(tmp_path: Path, version: TorrentVersion) -> None:
    model = make_model(tmp_path / "source", SIZES)
    made = _torrent(model, version)
    target = tmp_path / "target"
    with seed(model, made) as seeder:
        _killed(model, made, target, seeder.port)
        noted = _noted(target, made)
        with _source(target, model, made.magnet, seeder) as source:
            for entry in model.entries:
                bring(source, target, entry)
            assert source.status.hash_failures == 0
            # That is counted twice a second.
            time.sleep(0.7)
            assert source.status.received <= sum(SIZES.values()) - noted + 4 * BLOCK
    check(model, target, model.entries)
    # Nothing is left behind once all is here.
    assert list((target / ".grokdist/swarm").iterdir()) == []


@pytest.mark.parametrize("version", TorrentVersion)
def test_leaving_keeps_what_came(tmp_path: Path, version: TorrentVersion) -> None:
    model = make_model(tmp_path / "source", SIZES)
    made = _torrent(model, version)
    target = tmp_path / "target"
    entry = model.entry("b.bin")
    with seed(model, made) as seeder:
        source = swarm_source(made.magnet, model, target, peers=[seeder.port], max_rate=1_500_000)
        stop = threading.Event()
        with ModelTree.create(target) as tree:
            part, segment = begin(tree, entry, source.name)
            thread = threading.Thread(target=source.fetch, args=(entry, segment, stop))
            thread.start()
            # So far from the end, and so slow, that also a busy machine leaves before it.
            wait_until(lambda: source.status.received > 1_000_000)
            stop.set()
            thread.join(20)
            part.release(segment)
            part.close(keep=True)
            received = source.status.received
            source.close()
        assert (target / RESUME).exists()
        with _source(target, model, made.magnet, seeder) as again:
            bring(again, target, entry)
            # Requests that were on their way when it was left come again.
            assert received + again.status.received - entry.size < 1_500_000
    check(model, target, [entry])


def test_after_a_power_cut_the_pieces_are_checked(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", SIZES)
    made = _torrent(model, TorrentVersion.HYBRID)
    target = tmp_path / "target"
    with seed(model, made) as seeder:
        _killed(model, made, target, seeder.port)
        resume = target / RESUME
        record = json.loads(resume.read_bytes())
        resume.write_text(json.dumps({**record, "boot": "another"}))
        # What was not synced did not get to the disk.
        for path in (target / ".grokdist/swarm").iterdir():
            if path.name.isdecimal():
                with path.open("r+b") as stream:
                    stream.write(bytes(1 << 20))
        for path in (target / ".grokdist/parts").glob("*.state"):
            path.unlink()
        with _source(target, model, made.magnet, seeder) as source:
            for entry in model.entries:
                bring(source, target, entry)
            assert source.status.banned == ()
    check(model, target, model.entries)


def test_another_source_that_goes_on_is_not_written_over(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", SIZES)
    made = _torrent(model, TorrentVersion.V1)
    target = tmp_path / "target"
    first, second = model.entries
    with seed(model, made) as seeder:
        _killed(model, made, target, seeder.port)
        with ModelTree(target) as tree:
            part, segment = begin(tree, first, "other")
            segment.append((model.directory / first.path).read_bytes()[segment.offset :])
            finish(tree, part)
        with _source(target, model, made.magnet, seeder) as source:
            bring(source, target, second)
        assert (target / first.path).stat().st_nlink == 1
    check(model, target, model.entries)


def test_nothing_is_left_when_others_finish_what_a_swarm_began(tmp_path: Path) -> None:
    model = make_model(tmp_path / "source", SIZES)
    made = _torrent(model, TorrentVersion.HYBRID)
    target = tmp_path / "target"
    with seed(model, made) as seeder:
        _killed(model, made, target, seeder.port)
    assert list((target / ".grokdist/swarm").iterdir())
    request = FetchRequest(trusted=trusted(manifest_of(model.entries)), directory=target)
    fetch(make_plan(request, [LocalSource(model.directory)]))
    assert list((target / ".grokdist/swarm").iterdir()) == []
    check(model, target, model.entries)


def test_record(tmp_path: Path) -> None:
    (tmp_path / ".grokdist/swarm").mkdir(parents=True)
    pieces = Pieces(have=bytes([1, 0, 0, 1, 1, 0, 0, 0, 1]), unfinished={2: bytes([0, 1, 1])})
    with ModelTree(tmp_path) as tree:
        assert read_record(tree, "ab", 9) is None
        write_record(tree, "ab", pieces)
        found = read_record(tree, "ab", 9)
        assert found is not None
        assert found[0].have == pieces.have
        assert found[0].unfinished[2][:3] == pieces.unfinished[2]
        assert found[1]
        assert read_record(tree, "cd", 9) is None
        assert read_record(tree, "ab", 2) is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"have": "****"},
        {"have": 5},
        {"unfinished": [1]},
        {"unfinished": {"x": ""}},
        {"unfinished": {"-1": ""}},
        {"unfinished": {"9": ""}},
        {"boot": None, "have": "A" * 1_000},
    ],
)
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / ".grokdist/swarm").mkdir(parents=True)
    with ModelTree(tmp_path) as tree:
        write_record(tree, "ab", Pieces(have=bytes(9), unfinished={}))
        document = json.loads((tmp_path / RESUME).read_bytes())
        (tmp_path / RESUME).write_text(json.dumps({**document, **change}))
        assert read_record(tree, "ab", 9) is None
        for data in (b"", b"[", b"null", b"[" * 100_000):
            (tmp_path / RESUME).write_bytes(data)
            assert read_record(tree, "ab", 9) is None
