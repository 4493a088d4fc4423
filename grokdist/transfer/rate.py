"""One limit on the rate of all sources together.

Streams that we read ourselves pay for each block after the fact and wait until the debt is worked
off; meanwhile TCP's own flow control holds the sender back. A source that reads its sockets
itself (libtorrent) cannot be made to wait: it has a share. What arrives over a share is paid for
from the same account, so the streams use exactly what the shares leave, and each share is told
about once a second how much it may take: as much as everyone else could have, where all of them
want more (max-min fairness by what each used in the last second).
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

_BURST_S = 0.05
"""Seconds of the rate that may be made up for after a pause: timers are late, threads wait."""
_LEAST_WAIT_S = 0.002
_LONGEST_DEBT_S = 20.0
"""Seconds that a share which takes more than it was told can hold the streams up."""
_PERIOD_S = 1.0
_MEMORY = 6
"""Periods over which the use of a share is averaged."""
_WANTS_MORE = 0.8
_GROWTH = 1.25
_LEAST_SHARE = 1 << 14
_NEVER = 1e18

Apply = Callable[[int], object]


class RateLimiter:
    """Spreads bytes over time so that no more than ``rate`` a second pass on average.

    Args:
        rate: bytes a second; None for no limit.
        clock: monotonic seconds.
    """

    def __init__(self, rate: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = self._divided_at = clock()
        self._spent = 0
        self._waited = False
        self._streams = math.inf
        self._shares: list[Share] = []
        self._history: deque[tuple[float, int, int, bool]] = deque(maxlen=_MEMORY)

    def spend(self, count: int) -> float:
        """Account for ``count`` bytes that arrived over a stream.

        Returns:
            seconds to wait before reading on.
        """
        if self.rate is None:
            return 0.0
        with self._lock:
            wait = self._owe(count)
            self._spent += count
            self._waited |= wait > 0
        self.tick()
        return wait if wait >= _LEAST_WAIT_S else 0.0

    def share(self, name: str, apply: Apply) -> Share:
        """A share of the limit for a source that holds a rate by itself.

        Args:
            name: the source's name.
            apply: told how many bytes a second it may take, at once and whenever that changes;
                called from any thread that accounts for bytes. Never called without a limit.
        """
        share = Share(name, apply, self)
        if self.rate is not None:
            with self._lock:
                self._shares.append(share)
                told = self._divide(self._clock())
            _tell(told)
        return share

    def tick(self) -> None:
        """Divide the limit anew, if it is time; for a loop that runs also while nothing comes."""
        if not self._shares:
            return
        with self._lock:
            now = self._clock()
            if now - self._divided_at < _PERIOD_S:
                return
            told = self._divide(now)
        _tell(told)

    def take(self, share: Share, count: int) -> None:
        """Account for bytes of a share; for ``Share`` alone."""
        if self.rate is None:
            return
        with self._lock:
            share.used += count
            self._owe(count)
            self._free_at = min(self._free_at, self._clock() + _LONGEST_DEBT_S)
        self.tick()

    def leave(self, share: Share) -> None:
        """Give the share of a source that ends to the others; for ``Share`` alone."""
        with self._lock:
            if share in self._shares:
                self._shares.remove(share)
            told = self._divide(self._clock()) if self._shares else []
        _tell(told)

    def _owe(self, count: int) -> float:
        """Put bytes on the account; returns the seconds until it is even."""
        assert self.rate is not None  # noqa: S101 - both callers looked
        now = self._clock()
        self._free_at = max(self._free_at, now - _BURST_S) + count / self.rate
        return self._free_at - now

    def _divide(self, now: float) -> list[tuple[Apply, int]]:
        """Say what each share may take from now on, by what everyone used since the last time."""
        assert self.rate is not None  # noqa: S101 - there are no shares without a rate
        span = max(now - self._divided_at, 1e-3)
        if span >= _PERIOD_S / 2:
            used = self._spent + sum(share.measure(span) for share in self._shares)
            if not self._spent and self._free_at <= now:
                # Nothing holds them up: they have nothing to do.
                self._history.clear()
            self._history.append((span, self._spent, used, self._waited))
            spans, spent, total, waited = zip(*self._history, strict=True)
            # While they wait out the debt of a share's lump they say nothing.
            held_up = any(waited) and sum(total) >= _WANTS_MORE * self.rate * sum(spans)
            self._streams = math.inf if held_up else sum(spent) / sum(spans) * _GROWTH
            self._divided_at, self._spent, self._waited = now, 0, False
        wants = [self._streams, *(share.wants for share in self._shares)]
        level = _level(self.rate, wants)
        return [
            (share.apply, cap)
            for share in self._shares
            if (cap := share.cap(level, self.rate)) is not None
        ]


class Share:
    """The part of a limit that one source holds by itself; made by ``RateLimiter.share``."""

    def __init__(self, name: str, apply: Apply, limiter: RateLimiter) -> None:
        self.name = name
        self.apply = apply
        self.used = 0
        """Bytes since the limit was last divided."""
        self.wants = math.inf
        """Bytes a second that it would take; until measured, as much as it can get."""
        self._limiter = limiter
        self._level = math.inf
        self._told = 0
        self._history: deque[tuple[float, int, float]] = deque(maxlen=_MEMORY)

    def spend(self, count: int) -> None:
        """Account for ``count`` bytes that arrived; 0 keeps the division up to date."""
        self._limiter.take(self, count)

    def close(self) -> None:
        """Leave the limit to the others."""
        self._limiter.leave(self)

    def measure(self, span: float) -> int:
        """Take in what was used in the last ``span`` seconds; for the limiter alone."""
        used, self.used = self.used, 0
        self._history.append((span, used, min(self._level, _NEVER) * span))
        seconds, total, allowed = (sum(column) for column in zip(*self._history, strict=True))
        begins = len(self._history) < _MEMORY
        content = total < allowed * _WANTS_MORE and not begins
        self.wants = total / seconds * _GROWTH if content else math.inf
        return used

    def cap(self, level: float, rate: int) -> int | None:
        """What to tell the source at a water level; None for what it knows."""
        self._level = level
        cap = max(min(_LEAST_SHARE, rate), int(level))
        if self._told and abs(cap - self._told) <= self._told // 50:
            return None
        self._told = cap
        return cap


def _level(rate: float, wants: Sequence[float]) -> float:
    """The most that each may have so that all together have ``rate``, if they want as much."""
    left, level = float(rate), float(rate)
    waiting = sorted(wants)
    while waiting:
        level = left / len(waiting)
        if waiting[0] > level:
            return level
        left -= waiting.pop(0)
    return max(level, left)


def _tell(told: Sequence[tuple[Apply, int]]) -> None:
    for apply, cap in told:
        apply(cap)
