"""Where a fetch or a verify tells what it is doing: a seam, silent unless someone listens.

The command line shows it on a terminal; a library user leaves the no-op or brings its own. All
methods may be called from several threads at once and must return quickly.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener to the progress of one fetch or verify."""

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """A stage starts.

        Args:
            task: ``check`` (files that are here are hashed), ``fetch`` or ``verify``.
            files: files of the stage.
            size: bytes of these files.
            have: bytes of them that need not be worked on.
        """

    def claim(self, source: str, path: str, offset: int) -> None:
        """``source`` begins to work on ``path``, which has ``offset`` bytes."""

    def advance(self, source: str, path: str, count: int) -> None:
        """``count`` bytes of ``path`` arrived from ``source`` (``disk`` when hashing)."""

    def file_done(self, path: str, size: int, source: str) -> None:
        """``path`` is complete and its digest right."""

    def note(self, message: str) -> None:
        """Something a person may want to know: a source failed, a file was bad."""

    def end(self) -> None:
        """The stage is over."""


class NoProgress:
    """A listener that does nothing."""

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Do nothing."""

    def claim(self, source: str, path: str, offset: int) -> None:
        """Do nothing."""

    def advance(self, source: str, path: str, count: int) -> None:
        """Do nothing."""

    def file_done(self, path: str, size: int, source: str) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


DISK = "disk"
"""The source name under which hashing of files that are here is reported."""
