"""A stop signal that can also wake what is blocked on it.

An event alone is seen only between two reads; a connection on which nothing arrives would hold
its thread until the read times out. Whoever blocks registers how to be woken.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from grokdist.errors import StoreError


class HashingStoppedError(StoreError):
    """Hashing of files on disk was interrupted."""


class Stop(threading.Event):
    """An event whose setting calls everyone who asked to be woken."""

    def __init__(self) -> None:
        super().__init__()
        self._wakers: dict[int, Callable[[], object]] = {}
        self._waker_lock = threading.Lock()

    def set(self) -> None:
        """Set the event and wake all who are blocked; their own errors are theirs."""
        super().set()
        with self._waker_lock:
            wakers = list(self._wakers.values())
        for wake in wakers:
            with contextlib.suppress(Exception):
                wake()

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Inside the ``with``, setting the event calls ``wake`` (at once if it is set)."""
        key = id(wake)
        with self._waker_lock:
            self._wakers[key] = wake
        try:
            if self.is_set():
                with contextlib.suppress(Exception):
                    wake()
            yield
        finally:
            with self._waker_lock:
                self._wakers.pop(key, None)
