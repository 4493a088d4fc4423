"""SIGKILL at random moments: one more run ends with every byte right and the receipt true."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.transfer.record import load_receipt
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.verify import verify
from tests.servers.hub_server import HubServer
from tests.transfer.chaos import FILES, SIZES, Launcher, fetch_from
from tests.transfer.models import assert_complete, entry_of, manifest_of

RATE = 3 << 20
SECONDS = 1.3
"""A fetch of all files from both servers takes a little less."""
AT_ONCE = 5


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[HubServer, HubServer]]:
    with HubServer(FILES) as one, HubServer(FILES) as two:
        yield one, two


@pytest.fixture(scope="module")
def launcher(repository: Path) -> Iterator[Launcher]:
    with Launcher(repository) as launcher:
        yield launcher


def _kill_some(
    launcher: Launcher,
    servers: tuple[HubServer, HubServer],
    directories: list[Path],
    moments: list[float],
) -> list[int]:
    """Fetch into each directory, and kill each fetch at its moment; returns how each ended."""
    one, two = servers
    for server in servers:
        server.faults.throttle = RATE
    begun = time.monotonic()
    running = [launcher.start(each, one.endpoint, two.mirror) for each in directories]
    for moment, process in sorted(zip(moments, running, strict=True)):
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        os.kill(process, signal.SIGKILL)
    return [launcher.wait(process) for process in running]


def _nothing_wrong_has_a_name(directory: Path) -> int:
    """Whatever has its final name is right; returns how many files have."""
    named = [path for path in FILES if (directory / path).exists()]
    for path in named:
        assert (directory / path).read_bytes() == FILES[path], path
    return len(named)


def _receipt_is_true(directory: Path) -> None:
    with ModelTree(directory) as tree:
        receipt = load_receipt(tree)
    told = {file.path: (file.size, file.sha256) for file in receipt.files}
    assert told == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()
    }
    manifest = manifest_of([entry_of(path, data) for path, data in FILES.items()])
    report = verify(directory, manifest)
    assert report.ok
    assert report.files == len(FILES)


@pytest.mark.parametrize("batch", range(10))
def test_killed_at_a_random_moment_and_run_once_more(
    tmp_path: Path, launcher: Launcher, servers: tuple[HubServer, HubServer], batch: int
) -> None:
    """Ten times five fetches; every third batch is killed a second time before it may end."""
    draw = random.Random(batch)
    directories = [tmp_path / str(place) for place in range(AT_ONCE)]
    for _ in range(2 if batch % 3 == 0 else 1):
        moments = [draw.uniform(0.0, SECONDS) for _ in directories]
        ended = _kill_some(launcher, servers, directories, moments)
        assert set(ended) <= {0, -signal.SIGKILL}
        for directory in directories:
            _nothing_wrong_has_a_name(directory)
    for server in servers:
        server.faults.throttle = None
    one, two = servers
    for directory in directories:
        said = fetch_from(directory, two.endpoint, one.mirror)
        # What was left was gone on with, and proved right. (On a busy machine claims change hands.)
        assert not [each for each in said if "wrong bytes" in each]
        assert_complete(directory, FILES)
        _receipt_is_true(directory)


def test_the_moments_reach_from_the_first_byte_to_the_last() -> None:
    """What the seeds above draw is spread over the whole of a fetch."""
    moments = [random.Random(batch).uniform(0.0, SECONDS) for batch in range(10)]
    assert min(moments) < 0.25 * SECONDS
    assert max(moments) > 0.75 * SECONDS
    assert sum(SIZES.values()) / (4 * RATE) < SECONDS
