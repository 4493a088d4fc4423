"""Brings the processes of a run together before JAX starts, and keeps a line between them.

Process 0 listens at the coordinator's address; each other process says who it is and how it was
started. Once all are there and were started alike, process 0 gives out its word (the prompt and the
seed). Whatever is wrong is told to all, in a sentence. JAX would do the first part too, but ends a
process by a signal where another is missing, is there twice or dies. The lines stay open as long as
the run lasts: ``supervision`` watches them.

Messages are JSON with a length before it. Nobody is authenticated, as with JAX's own coordinator:
the network between the machines has to be trusted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from grokdist_runtime.cluster import Cluster
from grokdist_runtime.errors import ClusterError, ClusterUsageError, RuntimeModelError

PROTOCOL = "grokdist-run/1"
MAX_HELLO = 1 << 16
MAX_WORD = 1 << 27
"""Bytes; a prompt of 16 MiB as token ids stays below."""

_LENGTH_BYTES = 4
_HELLO_S = 10.0
"""Seconds that a stranger may hold up the others with a connection that says nothing."""

_RETRY_S = 0.2
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A machine that vanishes without a word is missed after a minute."""

Word = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One process's lines to the others.

    Attributes:
        cluster: Which process this is.
        peers: Of process 0 the lines to all others, by their number; else the one to process 0.
    """

    cluster: Cluster
    peers: Mapping[int, socket.socket]

    def close(self) -> None:
        """Closes the lines."""
        for peer in self.peers.values():
            peer.close()


def meet(
    cluster: Cluster, settings: Word, word: Callable[[], Word], *, timeout_s: float
) -> tuple[Link, Word]:
    """Waits for the other processes; returns the lines to them and process 0's word.

    Args:
        cluster: Which process this is.
        settings: What must be the same in all processes, as JSON has it.
        word: Makes process 0's word once all are there; not called in others.
        timeout_s: How long to wait for processes that are not there.

    Raises:
        ClusterError: A process is missing or ended.
        ClusterUsageError: The processes were not started alike.
    """
    settings = json.loads(json.dumps(settings))  # as the others will see it
    gather = _gather if cluster.first else _join
    return gather(cluster, settings, word, time.monotonic() + timeout_s, timeout_s)


def send(peer: socket.socket, message: Word) -> None:
    """Sends one message.

    Raises:
        OSError: The line is broken.
    """
    data = json.dumps(message).encode()
    peer.sendall(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


def receive(peer: socket.socket, limit: int) -> dict[str, Any] | None:
    """Receives one message of at most ``limit`` bytes; ``None`` if the line ended or was broken."""
    try:
        length = int.from_bytes(_exactly(peer, _LENGTH_BYTES), "big")
        if length > limit:
            return None
        message = json.loads(_exactly(peer, length))
    except (OSError, EOFError, ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def numbers_text(numbers: list[int]) -> str:
    """``process 3``, or ``processes 1, 2 and 5 more``."""
    if len(numbers) == 1:
        return f"process {numbers[0]}"
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"processes {shown}{more}"


def _gather(
    cluster: Cluster,
    settings: Word,
    word: Callable[[], Word],
    deadline: float,
    timeout_s: float,
) -> tuple[Link, Word]:
    joined: dict[int, socket.socket] = {}
    try:
        with _listener(cluster) as listener:
            while missing := sorted({*range(1, cluster.processes)} - joined.keys()):
                listener.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    raise ClusterError(
                        f"{numbers_text(missing)} of {cluster.processes} did not join within"
                        f" {timeout_s:g} s; expected all of them at {cluster.coordinator}",
                        hint="start every process, or give them longer with --join-timeout",
                    ) from None
                _welcome(cluster, settings, peer, joined)
        said = word()
        for peer in joined.values():
            with contextlib.suppress(OSError):  # whoever is gone is missed by the supervision
                send(peer, {"word": said})
    except BaseException as error:
        _refuse(joined, error)
        raise
    return Link(cluster=cluster, peers=joined), said


def _welcome(
    cluster: Cluster, settings: Word, peer: socket.socket, joined: dict[int, socket.socket]
) -> None:
    """Takes in a process that was started as this one was; a stranger is let go."""
    peer.settimeout(_HELLO_S)
    hello = receive(peer, MAX_HELLO)
    if hello is None or hello.get("protocol") != PROTOCOL:
        peer.close()
        return
    number, count, theirs = (hello.get(key) for key in ("process", "processes", "settings"))
    if not isinstance(number, int) or not isinstance(count, int) or not isinstance(theirs, dict):
        peer.close()
        return
    fault = ""
    if count != cluster.processes:
        fault = (
            f"process {number} was started as one of {count};"
            f" expected {cluster.processes}, as process 0 was"
        )
    elif not 0 <= number < count:
        fault = f"a process says it is number {number} of {count}"
    elif number == 0 or number in joined:
        fault = f"two processes say they are process {number}; expected each number once"
    elif theirs != settings:
        fault = _difference(number, theirs, settings)
    if fault:
        joined[-1] = peer  # so that it is told as well
        raise ClusterUsageError(fault, hint="start every process with the same command")
    peer.settimeout(None)
    _keep_alive(peer)
    joined[number] = peer


def _join(
    cluster: Cluster,
    settings: Word,
    word: Callable[[], Word],
    deadline: float,
    timeout_s: float,
) -> tuple[Link, Word]:
    peer = _connect(cluster, deadline, timeout_s)
    try:
        hello = {
            "protocol": PROTOCOL,
            "process": cluster.process,
            "processes": cluster.processes,
            "settings": settings,
        }
        with contextlib.suppress(OSError):  # told apart below: refused, or gone
            send(peer, hello)
        answer = receive(peer, MAX_WORD)
        if answer is None:
            raise ClusterError(
                f"process 0 at {cluster.coordinator} ended before the run began",
                hint="see what it said",
            )
        if "word" not in answer:
            kind = ClusterUsageError if answer.get("usage") else ClusterError
            raise kind(f"process 0 refused the run: {answer.get('refused')}")
    except BaseException:
        peer.close()
        raise
    return Link(cluster=cluster, peers={0: peer}), answer["word"]


def _connect(cluster: Cluster, deadline: float, timeout_s: float) -> socket.socket:
    while True:
        left = deadline - time.monotonic()
        try:
            peer = socket.create_connection(cluster.address, timeout=max(left, 0.001))
        except OSError as error:
            # Process 0 may not have started yet, nor its name be known.
            if deadline - time.monotonic() > _RETRY_S:
                time.sleep(_RETRY_S)
                continue
            raise ClusterError(
                f"no process 0 at {cluster.coordinator} within {timeout_s:g} s"
                f" ({error.strerror or error})",
                hint="start process 0, or give it longer with --join-timeout",
            ) from error
        peer.settimeout(None)
        _keep_alive(peer)
        return peer


def _listener(cluster: Cluster) -> socket.socket:
    host, port = cluster.address
    try:
        if cluster.on_loopback:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=1024)
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise ClusterError(
            f"cannot listen at {cluster.coordinator}: {error.strerror}",
            hint="choose another port with --coordinator HOST:PORT",
        ) from error


def _refuse(joined: Mapping[int, socket.socket], error: BaseException) -> None:
    """Tells those who came why there is no run."""
    usage = isinstance(error, ClusterUsageError) or not isinstance(error, RuntimeModelError)
    reason = str(error) or "it was interrupted"
    for peer in joined.values():
        with contextlib.suppress(OSError):
            send(peer, {"refused": reason, "usage": usage})
        peer.close()


def _difference(number: int, theirs: Word, settings: Word) -> str:
    names = sorted({*theirs, *settings})
    name = next(name for name in names if theirs.get(name) != settings.get(name))
    return (
        f"process {number} was started with {name} {theirs.get(name)!r};"
        f" expected {settings.get(name)!r}, as process 0 was"
    )


def _keep_alive(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = peer.recv(min(count - len(data), 1 << 16))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
