"""Fetches that go well, one after another, side by side, and after an interruption."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, NoSourceError, StoreError, UnsafePathError
from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import FileState, make_plan
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.record import load_receipt
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.tree import ModelTree
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
    request_for,
    small_files,
)

FILES = small_files()
SIZE = sum(map(len, FILES.values()))
BIG = "ckpt-0/tensor00002_000"


def test_everything_comes_from_the_hub_once(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        result = fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert (result.files, result.size, result.fetched_bytes) == (7, SIZE, SIZE)
        assert result.sources == {"hub:xai-org/grok-1": SIZE}
        assert_complete(tmp_path, FILES)
        # The empty file needs nobody.
        assert len(server.log) == 6
        again = fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert (again.fetched_bytes, len(server.log)) == (0, 6)
        assert again.receipt == result.receipt


def test_the_receipt_says_what_came_from_where(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        plan = plan_for(
            FILES, tmp_path, hub(server.endpoint), accepted_by="asked", openness="class III"
        )
        result = fetch(plan, patience=HASTY)
    with ModelTree(tmp_path) as tree:
        receipt = load_receipt(tree)
    assert receipt == result.receipt
    assert [file.path for file in receipt.files] == sorted(FILES)
    assert {file.sources for file in receipt.files if file.size} == {("hub:xai-org/grok-1",)}
    assert receipt.include == ()
    assert receipt.manifest_sha256 == plan.request.trusted.sha256
    assert (tmp_path / ".grokdist/manifest.json").read_bytes() == plan.request.trusted.raw
    assert (receipt.license.accepted_by, receipt.openness) == ("asked", "class III")
    assert receipt.signed_by.keyids == ("k",)


def test_a_subset_and_then_the_rest(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        first = plan_for(FILES, tmp_path, hub(server.endpoint), include=("ckpt-0/*",))
        receipt = fetch(first, patience=HASTY).receipt
        assert (len(receipt.files), receipt.include) == (4, ("ckpt-0/*",))
        second = plan_for(FILES, tmp_path, hub(server.endpoint), include=("LICENSE.txt",))
        receipt = fetch(second, patience=HASTY).receipt
        assert (len(receipt.files), receipt.include) == (5, ("ckpt-0/*", "LICENSE.txt"))
        receipt = fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY).receipt
        assert (len(receipt.files), receipt.include) == (7, ())
        assert receipt.source_bytes == {"hub:xai-org/grok-1": SIZE}
        assert len(server.log) == 6


def test_two_sources_fill_one_directory(tmp_path: Path) -> None:
    files = {f"f{place}": content(f"f{place}", 100_000) for place in range(12)}
    with HubServer(files) as one, HubServer(files) as two:
        one.faults.throttle = two.faults.throttle = 1_000_000
        mirror = HttpsSource(two.mirror, slots=2, settings=QUICK_HTTP)
        result = fetch(plan_for(files, tmp_path, hub(one.endpoint, slots=2), mirror))
        assert_complete(tmp_path, files)
        assert sum(result.sources.values()) == 1_200_000
        assert min(result.sources.values()) >= 200_000
        asked = [each.file for server in (one, two) for each in server.log]
        assert len(asked) == len(set(asked))


def test_a_local_folder_spares_the_network(tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    (tmp_path / "copy" / BIG).write_bytes(b"x" * len(FILES[BIG]))
    (tmp_path / "copy" / "LICENSE.txt").unlink()
    (tmp_path / "copy" / "LICENSE.txt").symlink_to("tokenizer.model")
    with HubServer(FILES) as server:
        local = LocalSource(tmp_path / "copy")
        plan = plan_for(FILES, tmp_path / "m", hub(server.endpoint), local)
        result = fetch(plan, patience=HASTY)
        assert {each.file for each in server.log} == {BIG, "LICENSE.txt"}
        assert result.sources[hub("http://x").name] == len(FILES[BIG]) + 1
    assert_complete(tmp_path / "m", FILES)


def test_files_that_are_here_are_hashed_and_kept_and_bad_ones_replaced(tmp_path: Path) -> None:
    good, bad, short = "ckpt-0/tensor00000_000", BIG, "ckpt-0/tensor00003_000"
    (tmp_path / "ckpt-0").mkdir()
    (tmp_path / good).write_bytes(FILES[good])
    (tmp_path / bad).write_bytes(b"x" * len(FILES[bad]))
    (tmp_path / short).write_bytes(FILES[short][:1000])
    (tmp_path / "LICENSE.txt").symlink_to("/etc/hostname")
    with HubServer(FILES) as server:
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert good not in {each.file for each in server.log}
    assert_complete(tmp_path, FILES)
    assert not any(each.is_file() for each in (tmp_path / ".grokdist/bad").rglob("*"))


def test_repair_finds_a_flipped_byte_and_fetches_that_file_alone(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        before = (tmp_path / BIG).stat()
        damaged = bytearray(FILES[BIG])
        damaged[1234] ^= 1
        (tmp_path / BIG).write_bytes(damaged)
        os.utime(tmp_path / BIG, ns=(before.st_atime_ns, before.st_mtime_ns))
        asked = len(server.log)
        plan = plan_for(FILES, tmp_path, hub(server.endpoint), repair=True)
        assert {file.state for file in plan.files} == {FileState.PRESENT}
        result = fetch(plan, patience=HASTY)
        assert [each.file for each in server.log[asked:]] == [BIG]
        # The one block of 16 KiB that the byte lies in.
        assert [(each.offset, each.end) for each in server.gets(BIG)[1:]] == [(0, 16384)]
        assert result.fetched_bytes == 16384
    assert_complete(tmp_path, FILES)


def test_repair_without_a_tree_fetches_the_file(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint), trees=False), patience=HASTY)
        damaged = bytearray(FILES[BIG])
        damaged[1234] ^= 1
        (tmp_path / BIG).write_bytes(damaged)
        plan = plan_for(FILES, tmp_path, hub(server.endpoint), trees=False, repair=True)
        assert fetch(plan, patience=HASTY).fetched_bytes == len(FILES[BIG])
    assert_complete(tmp_path, FILES)


def test_repair_without_a_source_keeps_the_bad_file_aside(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abd")
    plan = plan_for({"a": b"abc"}, tmp_path, HttpsSource("http://127.0.0.1:9/"), repair=True)
    with pytest.raises(NoSourceError):
        fetch(plan, patience=HASTY)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / ".grokdist/bad/a").read_bytes() == b"abd"


CHILD = """
    import sys
    from pathlib import Path
    from grokdist.transfer.engine import fetch
    from tests.transfer.models import content, hub, plan_for, small_files
    files = small_files() | {"ckpt-0/tensor00002_000": content("large", 6_000_000)}
    fetch(plan_for(files, Path(sys.argv[1]), hub(sys.argv[2], slots=1)))
"""


def _child(directory: Path, endpoint: str, repository: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{repository}:{repository}/runtime"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(directory), endpoint],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGINT])
def test_a_fetch_ended_mid_file_goes_on_at_the_byte(
    tmp_path: Path, repository: Path, killer: signal.Signals
) -> None:
    part = tmp_path / ".grokdist/parts" / f"{BIG}.part"
    files = FILES | {BIG: content("large", 6_000_000)}
    size = sum(map(len, files.values()))
    with HubServer(files, faults=Faults(stall_after=5_000_001)) as server:
        child = _child(tmp_path, server.endpoint, repository)
        try:
            wait_until(lambda: part.exists() and noted(tmp_path, BIG, files[BIG]) == 5_000_001)
            child.send_signal(killer)
            _, told = child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()
        assert child.returncode == -killer
        assert ("KeyboardInterrupt" in told) == (killer is signal.SIGINT)
        before = {path for path in files if (tmp_path / path).exists()}
        assert before == {"ckpt-0/tensor00000_000", "ckpt-0/tensor00001_000", "empty"}
        server.faults.stall_after = None
        asked = len(server.log)
        result = fetch(plan_for(files, tmp_path, hub(server.endpoint)), patience=HASTY)
        (resumed,) = [each for each in server.log[asked:] if each.file == BIG]
        assert (resumed.offset, resumed.status) == (5_000_001, 206)
        assert result.fetched_bytes == size - 5_000_001 - 300_007 - 24_727
        assert not before & {each.file for each in server.log[asked:]}
    assert_complete(tmp_path, files)
    sources = {file.path: file.sources for file in result.receipt.files}
    assert sources[BIG] == ("hub:xai-org/grok-1",)
    # Committed by the run that was killed, before any receipt.
    assert sources["ckpt-0/tensor00000_000"] == ()


def test_an_interrupt_in_this_process_leaves_a_resumable_state(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(stall_after=400_000)) as server:
        part = tmp_path / ".grokdist/parts" / f"{BIG}.part"

        class Interrupting(NoProgress):
            """Interrupts the main thread when the big file stalls."""

            def advance(self, source: str, path: str, count: int) -> None:
                if path == BIG and part.exists() and part.stat().st_size == 400_000:
                    signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), Interrupting())
        server.faults.stall_after = None
        result = fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert result.fetched_bytes <= SIZE - 400_000
    assert_complete(tmp_path, FILES)


def test_a_stream_fills_the_gaps_that_a_killed_swarm_left(tmp_path: Path) -> None:
    leave_part(tmp_path, BIG, FILES[BIG], (100_000, 500_000), (600_000, 650_000), source="swarm")
    with HubServer(FILES) as server:
        plan = plan_for(FILES, tmp_path, hub(server.endpoint))
        receipt = fetch(plan, patience=HASTY).receipt
        asked = sorted((each.offset, each.end) for each in server.gets(BIG))
        assert asked == [(0, 100_000), (500_000, 600_000), (650_000, 700_001)]
    assert_complete(tmp_path, FILES)
    (big,) = [file for file in receipt.files if file.path == BIG]
    assert set(big.sources) == {"hub:xai-org/grok-1", "swarm"}


def test_one_fetch_a_directory(tmp_path: Path, repository: Path) -> None:
    with HubServer(FILES, faults=Faults(stall_after=1000)) as server:
        child = _child(tmp_path, server.endpoint, repository)
        try:
            wait_until(lambda: server.log)
            with pytest.raises(StoreError, match=f"is in use by process {child.pid}"):
                fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        finally:
            child.kill()
            child.communicate()


def test_a_link_inside_the_directory_lets_nothing_out(tmp_path: Path) -> None:
    outside, model = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    model.mkdir()
    (model / "ckpt-0").symlink_to(outside)
    with HubServer(FILES) as server:
        with pytest.raises(UnsafePathError, match="ckpt-0"):
            fetch(plan_for(FILES, model, hub(server.endpoint)), patience=HASTY)
        (model / "ckpt-0").unlink()
        shutil.rmtree(model)
        model.mkdir()
        (model / ".grokdist").symlink_to(outside)
        with pytest.raises(UnsafePathError, match="grokdist"):
            fetch(plan_for(FILES, model, hub(server.endpoint)), patience=HASTY)
    assert list(outside.iterdir()) == []


def test_a_rate_limit_holds_over_all_sources(tmp_path: Path) -> None:
    """At a byte a second each connection gets its first block through, and no second one."""
    files = {f"f{place}": content(f"f{place}", 200_000) for place in range(6)}
    received: list[int] = []
    once = threading.Lock()

    class Counting(NoProgress):
        """Counts bytes, and interrupts the fetch a while after the first."""

        def advance(self, source: str, path: str, count: int) -> None:
            if once.acquire(blocking=False):
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            received.append(count)

    with HubServer(files) as one, HubServer(files) as two:
        mirror = HttpsSource(two.mirror, slots=2, settings=QUICK_HTTP)
        plan = plan_for(files, tmp_path, hub(one.endpoint, slots=2), mirror, max_rate=1)
        with pytest.raises(KeyboardInterrupt):
            fetch(plan, Counting(), patience=HASTY)
    assert 1 <= len(received) <= 4
    assert max(received) <= QUICK_HTTP.block


def test_a_source_that_lies_is_named_and_the_others_complete_the_rest(tmp_path: Path) -> None:
    faults = Faults(corrupt=frozenset({BIG}))
    with HubServer(FILES, faults=faults) as server:
        with pytest.raises(DigestMismatchError) as caught:
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert caught.value.path == BIG
        assert "hub:xai-org/grok-1" in str(caught.value)
        assert len(server.gets(BIG)) == 1
        rest = {path: data for path, data in FILES.items() if path != BIG}
        assert_complete(tmp_path, rest)
        assert not (tmp_path / ".grokdist/receipt.json").exists()
        faults.corrupt = frozenset()
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
    assert_complete(tmp_path, FILES)


def test_another_source_makes_up_for_a_liar(tmp_path: Path) -> None:
    liar = Faults(corrupt=frozenset(FILES))
    with HubServer(FILES, faults=liar) as one, HubServer(FILES) as two:
        mirror = HttpsSource(two.mirror, settings=QUICK_HTTP)
        result = fetch(plan_for(FILES, tmp_path, hub(one.endpoint), mirror), patience=HASTY)
    assert_complete(tmp_path, FILES)
    for file in result.receipt.files:
        assert file.sources in ((), (mirror.name,))


def test_no_source_at_all(tmp_path: Path) -> None:
    with pytest.raises(NoSourceError, match="none offers it"):
        fetch(make_plan(request_for(FILES, tmp_path), []), patience=HASTY)
