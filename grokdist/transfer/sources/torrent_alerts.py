"""The one thread that reads a libtorrent session's alerts.

An alert that is kept past the next ``pop_alerts()`` is freed memory and has crashed the
interpreter. Listeners therefore run on this thread, one alert at a time, and copy what they need.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import libtorrent as lt

_WAKE_MS = 200
_STATUS_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Waiting:
    """A thread that waits, and for what."""

    ready: Callable[[], bool]
    woken: threading.Condition


class AlertPump:
    """Reads alerts until it is closed.

    Args:
        session: the session; the caller ends it after ``close``.
    """

    def __init__(self, session: lt.session) -> None:
        self.lock = threading.RLock()
        """Held while listeners run."""
        self._session = session
        self._listeners: tuple[Callable[[lt.alert], None], ...] = ()
        self._waiting: list[_Waiting] = []
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grokdist-swarm", daemon=True)
        self._thread.start()

    def listen(self, listener: Callable[[lt.alert], None]) -> None:
        """Call ``listener`` with every alert from now on."""
        with self.lock:
            self._listeners = (*self._listeners, listener)

    def leave(self, listener: Callable[[lt.alert], None]) -> None:
        """Call ``listener`` no longer."""
        with self.lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)

    def wait_until(
        self,
        ready: Callable[[], bool],
        *,
        seconds: float,
        stop: threading.Event | None = None,
    ) -> bool:
        """Wait until ``ready`` (called under the lock) is true.

        Returns:
            False when ``seconds`` were over, ``stop`` was set or the pump closed first.
        """
        deadline = time.monotonic() + seconds
        with self.lock:
            mine = _Waiting(ready=ready, woken=threading.Condition(self.lock))
            self._waiting.append(mine)
            try:
                while not ready():
                    if self._failure is not None:
                        raise RuntimeError("the swarm's alert thread ended") from self._failure
                    left = deadline - time.monotonic()
                    stopped = self._ended.is_set() or (stop is not None and stop.is_set())
                    if left <= 0 or stopped:
                        return False
                    mine.woken.wait(min(left, 0.2))
            finally:
                self._waiting.remove(mine)
        return True

    def close(self) -> None:
        """Stop reading; returns once the thread has ended."""
        self._ended.set()
        # Its answer wakes the thread.
        self._session.post_session_stats()
        self._thread.join()

    def _run(self) -> None:
        try:
            asked = 0.0
            while not self._ended.is_set():
                if time.monotonic() - asked >= _STATUS_EVERY_S:
                    asked = time.monotonic()
                    self._session.post_torrent_updates(0)
                self._session.wait_for_alert(_WAKE_MS)
                self._deliver()
        except BaseException as error:
            with self.lock:
                self._failure = error
                for each in self._waiting:
                    each.woken.notify()

    def _deliver(self) -> None:
        with self.lock:
            for alert in self._session.pop_alerts():
                for listener in self._listeners:
                    listener(alert)
            # Only those whose turn it is: each that wakes for nothing takes the interpreter away
            # from the others, and alerts come by the thousand.
            for each in self._waiting:
                if each.ready():
                    each.woken.notify()
