"""Who is told what a person should know, and who listens to progress: seams, filled by callers.

The command line prints; a Python program gets log records of the logger ``grokdist``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from grokdist.transfer.progress import Progress

_LOGGER = logging.getLogger("grokdist")


class Voice(Protocol):
    """Told things in sentences."""

    def note(self, text: str) -> None:
        """Something useful."""

    def warning(self, text: str) -> None:
        """Something that takes away from what was asked for."""

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """The work inside the ``with`` may take long; nobody knows how long."""


Watching = Callable[[], "AbstractContextManager[Progress]"]
"""Gives the listener of one stage, which is over when the ``with`` is."""


class Logged:
    """A voice that logs: notes as INFO, warnings as WARNING, by the logger ``grokdist``."""

    def note(self, text: str) -> None:
        """Log as INFO."""
        _LOGGER.info("%s", text)

    def warning(self, text: str) -> None:
        """Log as WARNING."""
        _LOGGER.warning("%s", text)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Log as INFO."""
        self.note(what)
        return contextlib.nullcontext()


def watched_by(progress: Progress | None) -> Watching:
    """One listener for all stages; nobody for None."""
    from grokdist.transfer.progress import NoProgress

    listener = progress or NoProgress()
    return lambda: contextlib.nullcontext(listener)
