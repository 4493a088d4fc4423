"""Processes that meet over loopback, each in a thread; what is wrong is told to all."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from grokdist_runtime.cluster import Cluster
from grokdist_runtime.errors import ClusterError, ClusterUsageError, PromptError
from grokdist_runtime.rendezvous import MAX_HELLO, Link, meet, send

Outcome = Any  # of a process: its word, or the error it ended with


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def member(port: int, process: int, processes: int = 2) -> Cluster:
    return Cluster(coordinator=f"127.0.0.1:{port}", processes=processes, process=process)


def fail() -> dict[str, Any]:
    raise PromptError("the prompt is empty")


@contextlib.contextmanager
def meeting(
    members: list[tuple[Cluster, dict[str, Any]]],
    word: Callable[[], dict[str, Any]] = lambda: {"seed": 7},
    timeout_s: float = 20,
) -> Iterator[list[Outcome]]:
    links: list[Link] = []

    def take_part(cluster: Cluster, settings: dict[str, Any]) -> Outcome:
        try:
            link, said = meet(cluster, settings, word, timeout_s=timeout_s)
        except Exception as error:
            return error
        links.append(link)
        return said

    with ThreadPoolExecutor(len(members)) as pool:
        futures: list[Future[Outcome]] = [pool.submit(take_part, *each) for each in members]
        outcomes = [future.result() for future in futures]
    try:
        yield outcomes
    finally:
        for link in links:
            link.close()


@pytest.mark.parametrize("processes", [2, 4])
def test_all_get_the_word_of_process_0(port: int, processes: int) -> None:
    members = [(member(port, i, processes), {"mesh": "1x4"}) for i in range(processes)]
    with meeting(members) as outcomes:
        assert outcomes == [{"seed": 7}] * processes


def test_settings_that_differ_are_named_in_every_process(port: int) -> None:
    members = [(member(port, i), {"mesh": "1x2", "top_k": i}) for i in range(2)]
    with meeting(members) as outcomes:
        for outcome in outcomes:
            assert isinstance(outcome, ClusterUsageError)
            assert "process 1 was started with top_k 1; expected 0" in str(outcome)


def test_counts_that_differ(port: int) -> None:
    with meeting([(member(port, 0), {}), (member(port, 1, 3), {})]) as outcomes:
        for outcome in outcomes:
            assert isinstance(outcome, ClusterUsageError)
            assert "process 1 was started as one of 3; expected 2" in str(outcome)


def test_a_number_that_two_processes_have(port: int) -> None:
    members = [(member(port, number, 3), {}) for number in (0, 1, 1)]
    with meeting(members) as outcomes:
        for outcome in outcomes:
            assert "two processes say they are process 1" in str(outcome)


def test_processes_that_never_come_are_named(port: int) -> None:
    members = [(member(port, i, 4), {}) for i in (0, 2)]
    with meeting(members, timeout_s=1) as outcomes:
        for outcome in outcomes:
            assert isinstance(outcome, ClusterError)
            assert not isinstance(outcome, ClusterUsageError)
            assert "processes 1, 3 of 4 did not join within 1 s" in str(outcome)


def test_a_coordinator_that_is_not_there(port: int) -> None:
    with pytest.raises(ClusterError, match=f"no process 0 at 127.0.0.1:{port} within 0.3 s"):
        meet(member(port, 1), {}, fail, timeout_s=0.3)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"cannot listen at 127.0.0.1:{port}"):
            meet(member(port, 0), {}, fail, timeout_s=0.3)


def test_a_word_that_cannot_be_said_ends_all(port: int) -> None:
    with meeting([(member(port, i), {}) for i in range(2)], word=fail) as outcomes:
        assert isinstance(outcomes[0], PromptError)
        assert "process 0 refused the run: the prompt is empty" in str(outcomes[1])


def test_a_coordinator_that_hangs_up(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener, ThreadPoolExecutor(1) as pool:
        joining = pool.submit(meet, member(port, 1), {}, fail, timeout_s=20)
        listener.accept()[0].close()
        with pytest.raises(ClusterError, match="ended before the run began"):
            joining.result()


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (MAX_HELLO + 1).to_bytes(4, "big") + b"x",
        (2).to_bytes(4, "big") + b"{}",
        (2).to_bytes(4, "big") + b"[]",
        (6).to_bytes(4, "big") + b"\xff\xff\xff\xff\xff\xff",
    ],
)
def test_strangers_are_let_go(port: int, noise: bytes) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, member(port, 0), {}, lambda: {"seed": 7}, timeout_s=20)
        with _connected(port) as stranger:
            with contextlib.suppress(OSError):  # it may have been let go already
                stranger.sendall(noise)
                stranger.shutdown(socket.SHUT_WR)
            second = pool.submit(meet, member(port, 1), {}, fail, timeout_s=20)
            for future in (first, second):
                link, said = future.result()
                assert said == {"seed": 7}
                link.close()


def test_a_hello_without_its_fields_is_let_go(port: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, member(port, 0), {}, dict, timeout_s=20)
        with _connected(port) as stranger:
            send(stranger, {"protocol": "grokdist-run/1", "process": "1"})
            assert stranger.recv(1) == b""
        second = pool.submit(meet, member(port, 1), {}, fail, timeout_s=20)
        for future in (first, second):
            future.result()[0].close()


def _connected(port: int) -> socket.socket:
    for _ in range(200):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        time.sleep(0.05)
    raise AssertionError(port)
