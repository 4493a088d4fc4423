"""How many connections this process has in use to each host, over all its sources.

Two mirrors on one host, or two repositories that redirect to one download host, are one host to
its operator: what is counted is where a request really goes, hop by hop. Who finds no slot free
waits in line and holds nothing meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from grokdist.transfer.stop import Stop

_LOOK = 0.25
_SIGN_OF_LIFE = 10.0


class HostSlots:
    """Counts connections in use by host; first come, first served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}
        self._lines: dict[str, deque[threading.Event]] = {}

    def take(self, host: str, limit: int, stop: Stop, alive: Callable[[], object]) -> bool:
        """Wait for a slot.

        Args:
            host: the host's name.
            limit: connections in use at once.
            stop: ends the waiting.
            alive: called every now and then while waiting: the wait is ours, not the host's. It
                comes seldom enough that a source which stands idle may take the work over.

        Returns:
            True with a slot, to be given back by ``give``; False once ``stop`` is set.
        """
        with self._lock:
            line = self._lines.setdefault(host, deque())
            if not line and self._busy.get(host, 0) < limit:
                self._busy[host] = self._busy.get(host, 0) + 1
                return True
            turn = threading.Event()
            line.append(turn)
        told = time.monotonic()
        while not turn.wait(_LOOK):
            if stop.is_set():
                break
            if time.monotonic() - told >= _SIGN_OF_LIFE:
                told = time.monotonic()
                alive()
        with self._lock:
            if not turn.is_set():
                line.remove(turn)
                return False
        if stop.is_set():
            self.give(host)
            return False
        return True

    def give(self, host: str) -> None:
        """Give a slot back: the first in line has it at once."""
        with self._lock:
            line = self._lines.get(host)
            if line:
                line.popleft().set()
                return
            left = self._busy.get(host, 0) - 1
            if left > 0:
                self._busy[host] = left
            else:
                self._busy.pop(host, None)
                self._lines.pop(host, None)

    def busy(self, host: str) -> int:
        """Slots of a host that are in use."""
        with self._lock:
            return self._busy.get(host, 0)


SHARED = HostSlots()
"""The slots of this process."""
