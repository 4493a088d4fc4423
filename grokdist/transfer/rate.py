"""One limit on the rate of all sources together."""

from __future__ import annotations

import threading
import time


class RateLimiter:
    """Spreads bytes over time so that on average no more than ``rate`` a second pass.

    A taker pays after the fact and waits until its debt is worked off; since sockets are read in
    blocks, the sender is held back by TCP's own flow control.

    Args:
        rate: bytes a second; None for no limit.
    """

    def __init__(self, rate: int | None) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def take(self, count: int, stop: threading.Event) -> None:
        """Account for ``count`` bytes and wait for their time to pass, or for ``stop``."""
        wait = self.spend(count)
        if wait > 0:
            stop.wait(wait)

    def spend(self, count: int) -> float:
        """Account for ``count`` bytes without waiting.

        Returns:
            seconds until the debt is worked off.
        """
        if self.rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.rate
            return self._free_at - now
