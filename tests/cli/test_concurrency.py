"""Two commands on one model at once: each waits, shares, or refuses with a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import grokdist
from grokdist.catalog.registry import Registry
from tests.cli.conftest import Cli, Ended, finish, spawn
from tests.servers.hub_server import Faults, HubServer, wait_until

BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"
PATHS = [entry.path for entry in Registry.embedded().load("grok-mini").manifest.files]
FILES = {path: (BUNDLED / path).read_bytes() for path in PATHS}
SIZE = sum(map(len, FILES.values()))
SLOW = 200_000
"""Bytes a second of each connection, until a test has seen what it wanted to see."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer(FILES, faults=Faults(throttle=SLOW)) as server:
        yield server


@pytest.fixture
def start(repository: Path) -> Iterator[Start]:
    """Start a command in a process of its own; what is left of it ends with the test."""
    children: list[subprocess.Popen[str]] = []

    def run(*argv: str | Path) -> subprocess.Popen[str]:
        children.append(spawn(*argv, cwd=repository))
        return children[-1]

    yield run
    for child in children:
        if child.poll() is None:
            child.kill()
            child.communicate()


@pytest.fixture
def fetching(start: Start, server: HubServer) -> Start:
    """Start a slow fetch, and come back once bytes arrive."""

    def run(*argv: str | Path) -> subprocess.Popen[str]:
        source = ("--source", "https", "--source", server.mirror)
        child = start("fetch", "grok-mini", *source, "--json", *argv)
        wait_until(lambda: any(each.sent for each in server.log))
        return child

    return run


def _said(child: subprocess.Popen[str], words: str) -> str:
    """What a process says up to some words."""
    assert child.stderr is not None
    said = ""
    for line in child.stderr:
        said += line
        if words in said:
            return said
    raise AssertionError(said)


def _refused(ended: Ended, code: int, *words: str) -> None:
    assert ended.code == code, ended
    assert all(word in ended.err for word in words), ended
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err


def test_two_fetches(cli: Cli, start: Start, fetching: Start, server: HubServer) -> None:
    first = fetching()
    argv = ("fetch", "grok-mini", "--source", "https", "--source", server.mirror)
    _refused(cli(*argv), 1, f"is in use by process {first.pid}")
    waiting = start(*argv, "--wait", "--json")
    _said(waiting, f"waiting for process {first.pid}")
    server.faults.throttle = None
    ended = finish(first)
    assert (ended.code, ended.json["verified"]) == (0, True), ended
    # A slow end may be asked for twice; whoever waited asks for nothing.
    asked = len(server.log)
    ended = finish(waiting)
    assert (ended.code, ended.json["fetched_bytes"], ended.json["verified"]) == (0, 0, True), ended
    assert len(server.log) == asked
    assert cli("verify", "grok-mini").code == 0


def test_use_during_a_first_fetch(cli: Cli, fetching: Start, server: HubServer) -> None:
    first = fetching()
    (home,) = Path(os.environ["GROKDIST_HOME"]).glob("models/grok-mini/*")
    words = (f"is being fetched into {home} by process {first.pid}", "--wait")
    _refused(cli("verify", "grok-mini"), 1, *words)
    _refused(cli("verify", home), 1, *words)
    _refused(cli("run", "x", "--model", home), 1, *words)
    first.kill()
    first.communicate()
    _refused(cli("verify", "grok-mini"), 1, "has not come to its end", "grokdist fetch grok-mini")


def test_verify_during_a_repair(
    cli: Cli, fetching: Start, server: HubServer, tmp_path: Path
) -> None:
    target = tmp_path / "mini"
    assert cli("fetch", "grok-mini", "--source", "local", "--dir", target).code == 0
    damaged = target / "ckpt-0/tensor00000_000"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    first = fetching("--repair", "--dir", target)
    ended = cli("verify", target)
    assert ended.code == 11, ended
    assert f"process {first.pid} is fetching into {target}" in ended.err
    server.faults.throttle = None
    assert finish(first).code == 0
    ended = cli("verify", target)
    assert (ended.code, ended.err) == (0, "")


def test_run_waits_for_a_fetch_and_shares_with_the_next(
    cli: Cli, start: Start, fetching: Start, server: HubServer
) -> None:
    first = fetching()
    argv = ("run", "--model", "grok-mini", "--temperature", "0", "To be")
    running = start(*argv, "--max-tokens", "200", "--ignore-eos")
    _said(running, f"waiting for process {first.pid}")
    server.faults.throttle = None
    assert finish(first).code == 0
    assert running.stdout is not None
    assert running.stdout.read(1)
    # It stands still with the model loaded, as one that thinks for long.
    running.send_signal(signal.SIGSTOP)
    try:
        again = cli("fetch", "grok-mini", "--source", "local", "--json")
        assert (again.code, again.json["fetched_bytes"]) == (0, 0)
        assert cli("verify", "grok-mini").code == 0
        _refused(cli("rm", "grok-mini", "--yes"), 1, f"is in use by process {running.pid}")
    finally:
        running.send_signal(signal.SIGCONT)
    ended = finish(running)
    assert (ended.code, len(ended.out) > 20) == (0, True), ended
    assert cli("rm", "grok-mini", "--yes").code == 0
    assert "has not been fetched" in cli("verify", "grok-mini").err
