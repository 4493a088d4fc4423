"""One limit on the rate of all sources together."""

from __future__ import annotations

import threading
import time


class RateLimiter:
    """Spreads bytes over time so that on average no more than ``rate`` a second pass.

    A reader pays after the fact and waits until its debt is worked off; meanwhile TCP's own flow
    control holds the sender back.

    Args:
        rate: bytes a second; None for no limit.
    """

    def __init__(self, rate: int | None) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def spend(self, count: int) -> float:
        """Account for ``count`` bytes.

        Returns:
            seconds to wait until the debt is worked off.
        """
        if self.rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.rate
            return self._free_at - now
