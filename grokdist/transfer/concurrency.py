"""How many connections a source gets: more while more of them bring more.

One connection rarely fills a line, and too many cost a small machine more than they bring and a
server its patience. The number starts low, grows by two while the rate grows with it, goes back
when it did not, and is halved when the source asks us to slow down.
"""

from __future__ import annotations

_PERIOD_S = 2.0
_GAIN = 1.08
_HOLD_PERIODS = 15
_START = 4
_STEP = 2


class Concurrency:
    """The number of connections that one source may use.

    Args:
        most: never more.
        adapts: False where the source itself knows best (a swarm, a disk).
    """

    def __init__(self, most: int, *, adapts: bool) -> None:
        self.allowed = min(most, _START) if adapts else most
        self._most = most
        self._adapts = adapts
        self._since = 0.0
        self._bytes = 0
        self._before = 0.0
        self._grew = 0
        self._hold = 0

    def refused(self) -> None:
        """The source asked for less."""
        self.allowed = max(1, self.allowed // 2)
        self._grew = 0
        self._hold = _HOLD_PERIODS

    def observe(self, now: float, received: int, active: int) -> bool:
        """Look at the rate of the last period.

        Args:
            now: monotonic seconds.
            received: bytes that the source has brought in all.
            active: connections in use.

        Returns:
            True when ``allowed`` has grown.
        """
        if not self._adapts or not received:
            self._since, self._bytes = now, received
            return False
        elapsed = now - self._since
        if elapsed < _PERIOD_S:
            return False
        rate = (received - self._bytes) / elapsed
        self._since, self._bytes = now, received
        before, self._before = self._before, rate
        if self._hold:
            self._hold -= 1
            self._grew = 0
            return False
        if active < self.allowed:
            # Not all are in use: the rate says nothing about their number.
            self._grew = 0
            return False
        if self._grew and rate < before * _GAIN:
            self.allowed -= self._grew
            self._grew = 0
            self._hold = _HOLD_PERIODS
            return False
        self._grew = min(_STEP, self._most - self.allowed)
        self.allowed += self._grew
        return self._grew > 0
