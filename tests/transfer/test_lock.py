"""One writer a directory, on one machine and on several that share it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grokdist.errors import GrokdistError, StoreError
from grokdist.transfer import lease as leases
from grokdist.transfer.engine import fetch
from grokdist.transfer.lock import exclusive
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.tree import ModelTree
from tests.servers.hub_server import Faults, HubServer, wait_until
from tests.transfer.models import HASTY, assert_complete, content, hub, plan_for

ELSEWHERE = {"host": "node7", "pid": 4711, "boot": "another-boot", "token": "f00d"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TOUCH_EVERY", 0.05)
    monkeypatch.setattr(leases, "DEAD_AFTER", 0.5)
    monkeypatch.setattr(leases, "_POLL", 0.02)
    monkeypatch.setattr("grokdist.transfer.lock._POLL", 0.02)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ModelTree]:
    with ModelTree(tmp_path) as tree:
        yield tree


@pytest.fixture
def no_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system of a server without a lock service."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


def _leave(tree: ModelTree, data: bytes | None = None, *, age: float = 3600) -> Path:
    """A lease that somebody left, touched so many seconds ago by the file system's time."""
    path = tree.path(leases.LEASE)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(json.dumps(ELSEWHERE).encode() if data is None else data)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


class Living(threading.Thread):
    """Another machine: touches its lease, by a clock of its own, until told to stop."""

    def __init__(self, path: Path, clock: Callable[[int], float]) -> None:
        super().__init__(daemon=True)
        self._path, self._clock = path, clock
        self._ended = threading.Event()

    def run(self) -> None:
        for step in range(10_000):
            if self._ended.wait(0.02):
                return
            os.utime(self._path, (self._clock(step),) * 2)

    def end(self) -> None:
        self._ended.set()
        self.join()


def test_a_second_one_here_is_told_who_holds_it(tree: ModelTree) -> None:
    with (
        exclusive(tree),
        pytest.raises(StoreError, match=f"is in use by process {os.getpid()}$"),
        exclusive(tree),
    ):
        pass
    with exclusive(tree) as lease:
        lease.check()
    assert not tree.path(leases.LEASE).exists()
    assert [each.name for each in tree.path(".grokdist").iterdir()] == ["lock"]


def test_a_second_one_waits_when_asked(tree: ModelTree) -> None:
    said: list[str] = []
    got = threading.Event()

    def second() -> None:
        with exclusive(tree, wait=True, on_wait=said.append):
            got.set()

    with exclusive(tree):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: said)
        assert not got.is_set()
    thread.join(30)
    assert got.is_set()
    assert said == [f"waiting for process {os.getpid()}, which uses {tree.directory}"]


CHILD = """
    import sys, time
    from pathlib import Path
    from grokdist.transfer.lock import exclusive
    from grokdist.transfer.tree import ModelTree
    with ModelTree(Path(sys.argv[1])) as tree, exclusive(tree):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_killed_holder_on_this_machine_is_not_waited_for(
    tree: ModelTree, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER", 1e9)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tree.directory)],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {child.pid}$"), exclusive(tree):
            pass
        child.kill()
        child.wait()
        assert tree.path(leases.LEASE).exists()
        with exclusive(tree):
            pass


def test_a_machine_that_gave_a_sign_of_life_just_now_is_named_at_once(
    tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TOUCH_EVERY", 60)
    monkeypatch.setattr(leases, "DEAD_AFTER", 1e9)
    _leave(tree, age=1)
    with pytest.raises(StoreError, match=r"in use by process 4711 on node7$"), exclusive(tree):
        pass


@pytest.mark.parametrize(
    "clock",
    [
        lambda step: 1000.0 + step,
        lambda step: 4e9 - step,
        lambda step: 1000.0 if step % 2 else 4e9,
    ],
    ids=["years ago", "in the future and backwards", "jumping"],
)
def test_a_living_machine_is_told_by_its_signs_whatever_its_clock_says(
    tree: ModelTree, monkeypatch: pytest.MonkeyPatch, clock: Callable[[int], float]
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER", 30.0)
    other = Living(_leave(tree), clock)
    other.start()
    try:
        with pytest.raises(StoreError, match="on node7"), exclusive(tree):
            pass
    finally:
        other.end()


@pytest.mark.parametrize("age", [3600, -3600], ids=["past", "future"])
def test_a_dead_machine_is_taken_over_after_a_while(tree: ModelTree, age: float) -> None:
    _leave(tree, age=age)
    with exclusive(tree) as lease:
        found = leases.read_lease(tree)
        assert found is not None
        assert found[0] == lease.holder
        lease.check()
    assert [each.name for each in tree.path(".grokdist").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"{", b"[" * 4000, b'{"pid": "x"}', b'{"host": 1}', b"x" * 100_000],
    ids=range(7),
)
def test_a_damaged_lease_is_one_of_a_dead_machine(tree: ModelTree, data: bytes) -> None:
    _leave(tree, data)
    with exclusive(tree):
        pass


def test_a_link_in_its_place_is_refused(tree: ModelTree, tmp_path: Path) -> None:
    path = _leave(tree)
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(GrokdistError, match="link"), exclusive(tree):
        pass
    assert not (tmp_path / "outside").exists()


@pytest.mark.usefixtures("no_kernel_locks")
def test_without_a_kernels_lock_the_lease_alone_excludes(tree: ModelTree) -> None:
    with (
        exclusive(tree),
        pytest.raises(StoreError, match=f"in use by process {os.getpid()}$"),
        exclusive(tree),
    ):
        pass
    with exclusive(tree):
        pass


@pytest.mark.usefixtures("no_kernel_locks")
def test_of_many_that_find_a_dead_lease_one_gets_the_directory(
    tree: ModelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER", 1.5)
    _leave(tree)
    barrier = threading.Barrier(8)
    winners: list[str] = []
    losers: list[str] = []
    over = threading.Event()

    def contend() -> None:
        barrier.wait()
        try:
            with exclusive(tree) as lease:
                winners.append(lease.holder.token)
                over.wait(30)
                lease.check()
        except StoreError as error:
            losers.append(str(error))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(losers) == 7)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert len(winners) == 1


def test_a_right_to_take_over_that_died_with_its_holder_is_taken_over_too(
    tree: ModelTree,
) -> None:
    _leave(tree)
    tree.path(f"{leases.LEASE}.f00d.over").write_bytes(b"")
    with exclusive(tree):
        pass


def test_one_that_slept_too_long_learns_that_it_was_replaced(tree: ModelTree) -> None:
    with exclusive(tree) as lease:
        path = _leave(tree, age=0)
        wait_until(lambda: not lease._thread.is_alive())
        with pytest.raises(StoreError, match="taken over by process 4711 on node7"):
            lease.check()
    assert json.loads(path.read_bytes())["host"] == "node7"


def test_the_lease_is_touched(tree: ModelTree) -> None:
    with exclusive(tree):
        first = leases.read_lease(tree)
        wait_until(lambda: leases.read_lease(tree) != first)


def test_a_fetch_that_waited_takes_nothing_again(tmp_path: Path) -> None:
    notes: list[str] = []
    files = {"a": content("a", 300_000), "b": content("b", 1000)}

    class Listener(NoProgress):
        """Lets the first fetch go on once the second waits for it."""

        def note(self, message: str) -> None:
            notes.append(message)
            server.faults.stall_after = None

    with HubServer(files, faults=Faults(stall_after=1000)) as server:
        first = threading.Thread(
            target=fetch, args=(plan_for(files, tmp_path, hub(server.endpoint)),),
            kwargs={"patience": HASTY},
        )  # fmt: skip
        first.start()
        try:
            wait_until(lambda: server.log)
            plan = plan_for(files, tmp_path, hub(server.endpoint), wait=True)
            result = fetch(plan, Listener(), patience=HASTY)
        finally:
            server.faults.stall_after = None
            first.join(60)
    assert notes == [f"waiting for process {os.getpid()}, which uses {tmp_path}"]
    assert result.fetched_bytes == 0
    assert_complete(tmp_path, files)


def test_a_fetch_ends_when_its_directory_was_taken_over(tmp_path: Path) -> None:
    files = {"a": content("a", 300_000)}

    class Listener(NoProgress):
        """Another machine takes the directory while bytes arrive."""

        def advance(self, source: str, path: str, count: int) -> None:
            with ModelTree(tmp_path) as tree:
                _leave(tree, age=0)

    with (
        HubServer(files, faults=Faults(throttle=20_000)) as server,
        pytest.raises(StoreError, match="taken over by process 4711 on node7"),
    ):
        fetch(plan_for(files, tmp_path, hub(server.endpoint)), Listener())
    assert (tmp_path / leases.LEASE).exists()


OTHER_MACHINE = """
    import fcntl, sys
    from pathlib import Path
    from grokdist.transfer import lease
    from grokdist.transfer.lock import exclusive
    from grokdist.transfer.tree import ModelTree

    lease.TOUCH_EVERY = 0.05
    lease.boot_id = lambda: "another-boot"
    lease.socket.gethostname = lambda: "node7"
    fcntl.flock = lambda *_: None  # Its kernel's locks are its own.
    with ModelTree(Path(sys.argv[1])) as tree, exclusive(tree):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_two_machines_exclude_each_other_though_neither_sees_the_others_locks(
    tree: ModelTree, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER", 2.0)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OTHER_MACHINE), str(tree.directory)],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            with (
                pytest.raises(StoreError, match=f"in use by process {child.pid} on node7$"),
                exclusive(tree),
            ):
                pass
        finally:
            child.kill()
        with exclusive(tree, wait=True) as lease:
            assert lease.holder.pid == os.getpid()


def test_a_child_that_was_forked_meanwhile_does_not_keep_it(tree: ModelTree) -> None:
    with exclusive(tree):
        copy = os.dup(next(_open_files(tree.directory / ".grokdist/lock")))
    try:
        with exclusive(tree):
            pass
    finally:
        os.close(copy)


def _open_files(path: Path) -> Iterator[int]:
    """Descriptors of this process that have the file open: what a forked child gets copies of."""
    wanted = path.stat()
    for fd in range(3, 256):
        try:
            if os.path.samestat(os.fstat(fd), wanted):
                yield fd
        except OSError:
            continue
