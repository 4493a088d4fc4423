"""A sign on the terminal that something is going on of which nobody knows how long it takes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from grokdist.cli.output import Output

if TYPE_CHECKING:
    from rich.status import Status

SOON_OVER_S = 1.0
"""What takes no longer than this is over before one asks."""


@contextlib.contextmanager
def waiting(out: Output, what: str) -> Iterator[Callable[[], None]]:
    """Show ``what`` once the work inside the ``with`` has taken a second, on a terminal only.

    Yields:
        What takes the sign away before the end, so that something can be printed.
    """
    if not out.interactive:
        yield _nothing
        return
    lock = threading.Lock()
    shown: list[Status] = []
    over = False

    def show() -> None:
        from rich.console import Console
        from rich.text import Text

        with lock:
            if not over:
                console = Console(stderr=True, highlight=False, markup=False, emoji=False)
                ascii_only = not console.encoding.startswith("utf")
                status = console.status(Text(what), spinner="line" if ascii_only else "dots")
                status.start()
                shown.append(status)

    def end() -> None:
        nonlocal over
        timer.cancel()
        with lock:
            over = True
            while shown:
                shown.pop().stop()

    timer = threading.Timer(SOON_OVER_S, show)
    timer.daemon = True
    timer.start()
    try:
        yield end
    finally:
        end()


def _nothing() -> None:
    """Nothing is shown."""
