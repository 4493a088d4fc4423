"""What becomes of the other processes when one ends; each is a real process, without JAX."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROCESS = """
import json, os, signal, sys, time
from grokdist_runtime.cluster import Cluster
from grokdist_runtime.rendezvous import meet
from grokdist_runtime.supervision import leave, supervise

port, count, number, end = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
cluster = Cluster(coordinator=f"127.0.0.1:{port}", processes=count, process=number)
link, _ = meet(cluster, {}, dict, timeout_s=60)
ending = supervise(link)
if ending is not None:
    print(json.dumps([ending.code, ending.reason, ending.elsewhere]), file=sys.stderr)
    sys.exit(ending.code)
print("answer", flush=True)
os.write(1, b"noise of a library")
if end == "hang":
    time.sleep(120)
elif end == "wait":
    print(os.getpid(), file=sys.stderr, flush=True)
    time.sleep(120)
elif end.startswith("leave"):
    leave(int(end.removeprefix("leave")))
elif end == "raise":
    raise ZeroDivisionError
elif end.startswith("exit"):
    os._exit(int(end.removeprefix("exit")))
elif end.startswith("signal"):
    os.kill(os.getpid(), int(end.removeprefix("signal")))
"""

Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture
def start(repository: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*ends: str) -> list[subprocess.Popen[str]]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        environment = {**os.environ, "PYTHONPATH": str(repository / "runtime")}
        for number, end in enumerate(ends):
            arguments = [port, str(len(ends)), str(number), end]
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", PROCESS, *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
        return running

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ending(process: subprocess.Popen[str]) -> list[Any]:
    """Exit code, reason and whether it lay elsewhere; and no process is left behind."""
    _, said = process.communicate(timeout=60)
    code, reason, elsewhere = json.loads(said.splitlines()[-1])
    assert process.returncode == code
    return [code, reason, elsewhere]


def test_all_end_well_and_process_0_alone_prints(start: Start) -> None:
    processes = start("exit0", "exit0", "exit0")
    printed = []
    for process in processes:
        out, said = process.communicate(timeout=60)
        printed.append(out)
        assert json.loads(said) == [0, "", False]
    assert printed == ["answer\n", "", ""]


@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_fails_ends_the_others_with_a_reason(start: Start, failing: int) -> None:
    ends = ["hang"] * 3
    ends[failing] = "leave11"
    for number, process in enumerate(start(*ends)):
        reason = f"process {failing} of 3 ended with exit code 11"
        expected = [11, "", False] if number == failing else [1, reason, True]
        assert ending(process) == expected


def test_one_that_breaks_down_shows_where_and_ends_the_others(start: Start) -> None:
    first, second = start("hang", "raise")
    _, said = second.communicate(timeout=60)
    assert "ZeroDivisionError" in said
    assert ending(first) == [1, "process 1 of 2 ended with exit code 1", True]


@pytest.mark.parametrize("killed", [0, 2])
def test_one_that_is_killed_ends_the_others_with_a_reason(start: Start, killed: int) -> None:
    ends = ["hang"] * 3
    ends[killed] = f"signal{signal.SIGKILL}"
    for number, process in enumerate(start(*ends)):
        code, reason, elsewhere = ending(process)
        assert code == 1
        assert reason.startswith(f"process {killed} of 3 was ended by SIGKILL")
        assert elsewhere == (number != killed)


def test_a_watcher_that_is_killed_is_missed(start: Start) -> None:
    first, second = start("hang", "wait")
    assert second.stderr is not None
    left_over = int(second.stderr.readline())
    try:
        second.kill()
        assert ending(first) == [1, "process 1 of 2 was lost", True]
    finally:
        os.kill(left_over, signal.SIGKILL)


def test_the_cause_is_told_rather_than_what_followed_from_it(start: Start) -> None:
    # JAX aborts the others as soon as process 0 is gone.
    aborted, killed = start(f"signal{signal.SIGABRT}", f"signal{signal.SIGKILL}")
    assert ending(killed)[1].startswith("process 1 of 2 was ended by SIGKILL")
    assert ending(aborted)[1].startswith("process 1 of 2 was ended by SIGKILL")


def test_a_termination_reaches_the_child(start: Start) -> None:
    first, second = start("wait", "hang")
    assert first.stderr is not None
    first.stderr.readline()  # its child is at work
    first.terminate()
    assert ending(first)[1] == "process 0 of 2 was ended by SIGTERM"
    assert ending(second) == [1, "process 0 of 2 was ended by SIGTERM", True]
