"""Peers that sent wrong pieces, remembered in the model directory for a week.

libtorrent bans a peer for as long as the session lasts. The next run is not to be lied to by the
same one first; but addresses change hands, so nobody is banned for ever.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import libtorrent as lt

from grokdist.errors import GrokdistError
from grokdist.transfer.tree import STATE, ModelTree

BANS = f"{STATE}/banned-peers.json"
BANNED_FOR_S = 7 * 86_400
MAX_BANS = 1_000
_LIMIT = 1 << 20
_BLOCKED = 1

Endpoint = tuple[str, int]


class Bans:
    """The peers that are banned; safe to use from several threads.

    Args:
        directory: the model directory.
        clock: seconds since the epoch.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[Endpoint, float] = {}
        with contextlib.suppress(OSError, GrokdistError), ModelTree(directory) as tree:
            self._until = _parse(tree.read_small(BANS, _LIMIT) or b"[]", now=clock())

    @property
    def peers(self) -> tuple[Endpoint, ...]:
        """Addresses and ports."""
        with self._lock:
            return tuple(self._until)

    def add(self, peer: Endpoint) -> None:
        """Remember a peer, on disk at once; a disk that refuses costs the next run a piece."""
        with self._lock:
            self._until.pop(peer, None)
            self._until[peer] = self._clock() + BANNED_FOR_S
            while len(self._until) > MAX_BANS:
                del self._until[next(iter(self._until))]
            rows = [[host, port, round(until)] for (host, port), until in self._until.items()]
            with contextlib.suppress(OSError, GrokdistError), ModelTree(self._directory) as tree:
                tree.write_small(BANS, json.dumps(rows).encode(), durable=False)

    def filter(self) -> lt.ip_filter:
        """Addresses that may not connect, from whatever port.

        Peers of this machine are known by their port as well: many may share the address.
        """
        blocked = lt.ip_filter()
        for host, _ in self.peers:
            if not ipaddress.ip_address(host).is_loopback:
                blocked.add_rule(host, host, _BLOCKED)
        return blocked


def _parse(data: bytes, *, now: float) -> dict[Endpoint, float]:
    """The bans that hold; what is not well-formed, or for longer than we ban, is none."""
    bans: dict[Endpoint, float] = {}
    with contextlib.suppress(ValueError, RecursionError):
        rows = json.loads(data)
        for row in rows[-MAX_BANS:] if isinstance(rows, list) else ():
            with contextlib.suppress(ValueError, TypeError):
                host, port, until = row
                ipaddress.ip_address(str(host))
                if type(port) is int and 0 < port < 65_536 and now < until <= now + BANNED_FOR_S:
                    bans[str(host), port] = float(until)
    return bans
