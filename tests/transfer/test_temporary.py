"""Short-lived names of the dead are taken away, those of the living are not."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from grokdist.transfer import lease as leases
from grokdist.transfer.boot import boot_id
from grokdist.transfer.lease import Holder
from grokdist.transfer.lock import exclusive
from grokdist.transfer.temporary import alive, sweep, temporary
from grokdist.transfer.tree import STATE, ModelTree


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_of_the_dead_and_of_the_living(tmp_path: Path) -> None:
    with ModelTree.create(tmp_path) as tree:
        mine = temporary("lease")
        pid = _dead_pid()
        theirs = mine.replace(f".{os.getpid()}.", f".{pid}.")
        folder = temporary("probe").replace(f".{os.getpid()}.", f".{pid}.")
        elsewhere = theirs.replace(boot_id(), "another-machine")
        kept = {mine, elsewhere, f"{STATE}/lease", f"{STATE}/probe.dat"}
        for name in (*kept, theirs, f"{folder}/a"):
            tree.write_small(name, b"x")
        sweep(tree)
        found = {f"{STATE}/{each.name}" for each in (tmp_path / STATE).iterdir()}
        assert found == kept
    assert alive(os.getpid())
    assert not alive(pid)


def test_a_small_file_that_was_being_written(tmp_path: Path) -> None:
    with ModelTree.create(tmp_path) as tree:
        tree.write_small(f"{STATE}/attestations/b.json", b"")
        dead, living = (tmp_path / STATE / name for name in ("attestations/b.json.new", "c.new"))
        for each in (dead, living):
            each.write_bytes(b"half")
        with living.open("rb") as writing:
            fcntl.flock(writing, fcntl.LOCK_EX)
            sweep(tree)
        found = {each.name for each in (tmp_path / STATE).rglob("*")}
        assert found == {"attestations", "b.json", "c.new"}


def test_whoever_comes_next_sweeps(tmp_path: Path) -> None:
    """A process that died as it made its lease, and one that died as it took one over."""
    with ModelTree.create(tmp_path) as tree:
        pid = _dead_pid()
        died = temporary("lease").replace(f".{os.getpid()}.", f".{pid}.")
        tree.write_small(died, b"")
        holder = Holder.this_process()
        document = {"host": holder.host, "pid": pid, "boot": holder.boot, "token": "a" * 32}
        mine = json.dumps(document).encode()
        tree.write_small(f"{leases.LEASE}.f00d.over", mine)
        others = json.dumps(document | {"boot": "another-boot"}).encode()
        tree.write_small(f"{leases.LEASE}.beef.over", others)
        with exclusive(tree):
            found = {each.name for each in (tmp_path / STATE).iterdir()}
        assert found == {"lock", "lease", "lease.beef.over"}


def test_the_right_to_take_over_is_left_by_the_dead(tmp_path: Path) -> None:
    """A lease whose holder died, and whose successor died with the right to replace it."""
    with ModelTree.create(tmp_path) as tree:
        holder = Holder.this_process()
        document = {"host": holder.host, "pid": _dead_pid(), "boot": holder.boot}
        tree.write_small(leases.LEASE, json.dumps(document | {"token": "f00d"}).encode())
        successor = json.dumps(document | {"token": "beef"}).encode()
        tree.write_small(f"{leases.LEASE}.f00d.over", successor)
        with exclusive(tree) as lease:
            lease.check()
            assert lease.holder.pid == os.getpid()
        assert {each.name for each in (tmp_path / STATE).iterdir()} == {"lock"}


def test_what_is_left_beside_parts(tmp_path: Path) -> None:
    parts = tmp_path / STATE / "parts" / "below"
    parts.mkdir(parents=True)
    kept = {"a.part", "a.state", "b.part", "named.link.part", "x.part-copy.part"}
    left = {"a.part-copy", "b.part-link", "c.link", "c.state", "d.part.state"}
    for name in kept | left:
        (parts / name).write_bytes(b"x")
    with ModelTree(tmp_path) as tree, exclusive(tree):
        assert {each.name for each in parts.iterdir()} == kept
