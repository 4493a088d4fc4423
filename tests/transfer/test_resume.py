"""A new process goes on where the last one ended, however that was, and hashes nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from grokdist.errors import ResourceError
from grokdist.transfer import part as part_module
from grokdist.transfer import part_state
from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.part import SAVE_EVERY
from grokdist.transfer.part_files import part_name, state_name
from grokdist.transfer.part_state import PartState, read_state
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.ranges import gaps
from grokdist.transfer.sources.base import Source
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.tree import ModelTree
from grokdist.trust.resumable_sha256 import resumable
from tests.servers.hub_server import Faults, HubServer, wait_until
from tests.transfer.models import (
    HASTY,
    QUICK_HTTP,
    assert_complete,
    content,
    hub,
    leave_part,
    noted,
    plan_for,
)

SIZE = 24_000_001
LARGE = content("large", SIZE)
FILES = {"large": LARGE}
RATE = 24 << 20
MOST_TWICE = 8 << 20
"""Bytes that one connection may bring twice."""

CHILD = f"""
    import signal, sys
    from pathlib import Path
    from grokdist.transfer.engine import fetch
    from tests.transfer.models import content, hub, plan_for
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    files = {{"large": content("large", {SIZE})}}
    source = hub(sys.argv[2], slots=int(sys.argv[3]))
    fetch(plan_for(files, Path(sys.argv[1]), source, trees=False))
"""

needs_state = pytest.mark.skipif(
    not resumable(), reason="this Python's OpenSSL hides the state of SHA-256"
)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer(FILES, faults=Faults(throttle=RATE)) as server:
        yield server


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is read back from parts: offset and bytes of each read."""
    reads: list[tuple[int, int]] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        count = preadv(fd, buffers, offset)
        reads.append((offset, count))
        return count

    monkeypatch.setattr(os, "preadv", counting)
    return reads


class Notes(NoProgress):
    """Remembers what a person would have been told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a process left that was ended."""

    written: int
    """Bytes that have room on the disk, the last block rounded up."""
    noted: int
    """Bytes that another process goes on with."""
    state: PartState


def _spawn(
    repository: Path, directory: Path, server: HubServer, *, slots: int = 1, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(directory), server.endpoint, str(slots)],
        env=os.environ | {"PYTHONPATH": f"{repository}:{repository}/runtime"},
        cwd=cwd or repository,
        stderr=subprocess.DEVNULL,
    )


def _left(directory: Path) -> Left:
    with ModelTree(directory) as tree:
        state = read_state(tree, state_name("large"))
    assert state is not None
    blocks = (directory / part_name("large")).stat().st_blocks * 512
    return Left(written=blocks, noted=noted(directory, "large", LARGE), state=state)


def _end(
    child: subprocess.Popen[bytes], directory: Path, how: signal.Signals, *, after: int
) -> Left:
    """End a fetch once ``after`` bytes are noted, and a little later."""
    try:
        part = directory / part_name("large")
        wait_until(lambda: part.exists() and noted(directory, "large", LARGE) >= after)
        time.sleep(random.Random(how).uniform(0.0, 0.15))
        child.send_signal(how)
        child.wait(60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode != 0
    return _left(directory)


def _fetch(directory: Path, *sources: Source, files: dict[str, bytes] = FILES) -> FetchResult:
    return fetch(plan_for(files, directory, *sources, trees=False), patience=HASTY)


def _mirror(server: HubServer) -> HttpsSource:
    server.faults.throttle = None
    return HttpsSource(server.mirror, slots=1, settings=QUICK_HTTP)


@needs_state
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("slots", [1, 4])
def test_it_goes_on_from_another_source_and_reads_no_prefix_again(
    server: HubServer,
    tmp_path: Path,
    repository: Path,
    read: list[tuple[int, int]],
    how: signal.Signals,
    slots: int,
) -> None:
    child = _spawn(repository, tmp_path, server, slots=slots)
    left = _end(child, tmp_path, how, after=6_000_000)
    if how is signal.SIGKILL:
        assert left.written - left.noted <= slots * MOST_TWICE + 4096 * slots
    else:
        assert left.written - left.noted <= 4096 * (len(left.state.written.ranges) + 1)
    state = left.state.written.state
    hashed = 0 if state is None else state.offset
    # While it is being hashed the state is taken every now and then, and at rest at once.
    assert left.state.written.ranges.contiguous(0) - hashed <= SAVE_EVERY + (1 << 20)
    result = _fetch(tmp_path, _mirror(server))
    assert result.fetched_bytes == SIZE - left.noted
    asked = [each for each in server.gets("large") if each.path.startswith("/mirror/")]
    assert sum(each.end - each.offset for each in asked) == SIZE - left.noted
    assert min(offset for offset, _ in [*read, (SIZE, 0)]) >= hashed
    # Beyond it each byte that was here is read once; what comes now is hashed from memory.
    assert sum(count for _, count in read) == left.noted - hashed
    assert_complete(tmp_path, FILES)
    assert set(result.receipt.files[0].sources) == {"hub:xai-org/grok-1", f"https:{server.mirror}"}


def test_it_goes_on_from_another_working_directory(
    server: HubServer, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    child = _spawn(repository, Path("model"), server, cwd=tmp_path / "here")
    left = _end(child, tmp_path / "here/model", signal.SIGKILL, after=4_000_000)
    monkeypatch.chdir(tmp_path / "there")
    result = _fetch(Path("../here/model"), _mirror(server))
    assert result.fetched_bytes == SIZE - left.noted < SIZE
    assert_complete(tmp_path / "here/model", FILES)


@pytest.mark.parametrize("torn", [False, True])
def test_after_a_power_cut_it_goes_on_from_what_was_synced(
    server: HubServer,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    torn: bool,
) -> None:
    child = _spawn(repository, tmp_path, server)
    try:

        def synced() -> int:
            with ModelTree(tmp_path) as tree:
                state = read_state(tree, state_name("large"))
            return 0 if state is None else state.synced.ranges.size

        wait_until(lambda: (tmp_path / part_name("large")).exists() and synced() >= 6_000_000)
    finally:
        child.kill()
        child.wait()
    left = _left(tmp_path)
    kept = left.state.synced.ranges
    # What was not synced did not reach the disk: the file ends there, or has zeros.
    with (tmp_path / part_name("large")).open("r+b") as stream:
        for start, end in gaps(SIZE, ((start, end) for start, end, _ in kept)):
            stream.seek(start)
            stream.write(bytes(end - start))
        if torn:
            stream.truncate(kept.end)
    if torn:
        # Nor did what was noted since, as a whole.
        state = tmp_path / state_name("large")
        data = state.read_bytes()
        state.write_bytes(data[:32_768] + b"\0" * (len(data) - 32_768))
    for module in (part_module, part_state):
        monkeypatch.setattr(module, "boot_id", lambda: "another run of the machine")
    assert noted(tmp_path, "large", LARGE) == kept.size
    lost = left.noted - kept.size
    assert lost <= 2 * MOST_TWICE
    notes = Notes()
    plan = plan_for(FILES, tmp_path, _mirror(server), trees=False)
    result = fetch(plan, notes, patience=HASTY)
    assert result.fetched_bytes == SIZE - kept.size
    # No source was blamed for what the cut did.
    assert notes.said == []
    assert_complete(tmp_path, FILES)


def test_a_part_of_another_content_is_not_gone_on_with(server: HubServer, tmp_path: Path) -> None:
    """The manifest names other bytes for the same path now."""
    leave_part(tmp_path, "large", content("older", SIZE), (0, 9_000_000))
    notes = Notes()
    plan = plan_for(FILES, tmp_path, _mirror(server), trees=False)
    assert fetch(plan, notes, patience=HASTY).fetched_bytes == SIZE
    assert notes.said == []
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("what", ["gone", "empty", "garbage", "of another file"])
def test_without_its_record_a_part_is_begun_anew(
    server: HubServer, tmp_path: Path, what: str
) -> None:
    leave_part(tmp_path, "large", LARGE, (0, 9_000_000))
    state = tmp_path / state_name("large")
    if what == "gone":
        state.unlink()
    elif what == "empty":
        state.write_bytes(b"")
    elif what == "garbage":
        state.write_bytes(random.Random(1).randbytes(65_536))
    else:
        leave_part(tmp_path / "other", "large", LARGE[:-1], (0, 9_000_000))
        state.write_bytes((tmp_path / "other" / state_name("large")).read_bytes())
    assert _fetch(tmp_path, _mirror(server)).fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


def test_a_record_that_lies_costs_bytes_and_lets_nothing_wrong_through(
    server: HubServer, tmp_path: Path
) -> None:
    """Whoever may write the record may write the part: the digest is compared all the same."""
    leave_part(tmp_path, "large", LARGE, (0, 9_000_000), data=bytes(SIZE))
    result = _fetch(tmp_path, _mirror(server))
    assert SIZE <= result.fetched_bytes <= 2 * SIZE
    assert_complete(tmp_path, FILES)


def test_ten_interrupts_cost_no_byte_twice(tmp_path: Path) -> None:
    draw = random.Random(10)
    received = [0]
    with HubServer(FILES) as server:
        for _ in range(10):
            left = [draw.randrange(100_000, SIZE // 12)]

            class Interrupting(NoProgress):
                """Interrupts after so many bytes."""

                def advance(
                    self, source: str, path: str, count: int, left: list[int] = left
                ) -> None:
                    received[0] += count
                    left[0] -= count
                    if left[0] <= 0:
                        raise KeyboardInterrupt

            plan = plan_for(FILES, tmp_path, hub(server.endpoint, slots=1), trees=False)
            with pytest.raises(KeyboardInterrupt):
                fetch(plan, Interrupting(), patience=HASTY)
            assert noted(tmp_path, "large", LARGE) == received[0]
        result = _fetch(tmp_path, hub(server.endpoint, slots=1))
        assert received[0] + result.fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_is_full_at_a_random_byte(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    folder = tmp_path / "disk"
    folder.mkdir()
    size = draw.randrange(2 << 20, SIZE)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot mount a file system here: {made.stderr.strip()}")
    try:
        with HubServer(FILES) as server:
            plan = plan_for(FILES, folder / "m", hub(server.endpoint, slots=2), trees=False)
            # There was room when the plan was made.
            plan = replace(plan, disk_needed=0)
            with pytest.raises(ResourceError, match="no space left on the disk"):
                fetch(plan, patience=HASTY)
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            kept = noted(folder / "m", "large", LARGE)
            # All but the record itself, which has its room from the start.
            assert kept >= size - (1 << 17)
            result = _fetch(folder / "m", hub(server.endpoint))
            assert result.fetched_bytes == SIZE - kept
        assert_complete(folder / "m", FILES)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("jump", [86_400.0 * 365, -86_400.0 * 365])
def test_a_clock_that_jumps_changes_nothing(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    clock, jumped = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + jumped[0])
    server.faults.drop_after = 5_000_000
    server.faults.drop_times = 2

    class Jumping(NoProgress):
        """Sets the clock with every block."""

        def advance(self, source: str, path: str, count: int) -> None:
            jumped[0] = jump - jumped[0]

    plan = plan_for(FILES, tmp_path, hub(server.endpoint, slots=1), trees=False)
    result = fetch(plan, Jumping(), patience=HASTY)
    assert result.fetched_bytes == SIZE
    assert 0 <= result.seconds < 3600
    assert_complete(tmp_path, FILES)
