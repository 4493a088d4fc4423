"""Interrupts that come between two lines of our choice, while other threads are at work.

Python raises an interrupt wherever the main thread happens to be: also when it has just got a lock
and not yet entered the block that gives it back. The other threads then wait for that lock for
ever, and so does whoever waits for them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold interrupts back inside the ``with``.

    Gives a function that raises the interrupt that came, if one did: call it every now and then,
    where no lock is held. What came after its last call is raised at the end. A second interrupt is
    raised at once: whoever sends two will not wait. Only what would raise ``KeyboardInterrupt`` is
    held back, and only in the main thread, which is the one that gets it.
    """
    came: list[int] = []
    raised: list[int] = []

    def told() -> None:
        if came and not raised:
            raised.append(1)
            raise KeyboardInterrupt

    def hold(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raised.append(1)
            raise KeyboardInterrupt

    held = []
    if threading.current_thread() is threading.main_thread():
        held = [each for each in _SIGNALS if signal.getsignal(each) is signal.default_int_handler]
    for each in held:
        signal.signal(each, hold)
    try:
        yield told
    finally:
        for each in held:
            signal.signal(each, signal.default_int_handler)
    told()
