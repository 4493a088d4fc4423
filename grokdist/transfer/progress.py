"""Where a fetch or a verify tells what it is doing: a seam, silent unless someone listens.

The command line shows it on a terminal or writes it for other programs; a library user leaves the
no-op or brings its own. All methods may be called from several threads at once and must return
quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

DISK = "disk"
"""The source name under which hashing of files that are here is reported."""


class SourceCondition(StrEnum):
    """How a source stands in a fetch."""

    WORKING = "working"
    """It brings bytes, or is about to."""
    IDLE = "idle"
    """Nothing is left that it could bring now."""
    RESTING = "resting"
    """It failed or asked us to wait, and is asked again later."""
    GIVEN_UP = "given_up"
    """It is not asked again in this run."""
    BANNED = "banned"
    """It is not asked again because it delivered wrong bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceState:
    """What there is to say of one source at one moment.

    Attributes:
        received: bytes that it brought in this run, also those that were thrown away.
        connections: streams open to it, or files it works on where it has no streams.
        peers: peers connected, for a swarm; None for a source that has none.
        condition: how it stands.
        reason: why it rests or was given up, for people; empty where it does neither.
        resumes_in: seconds until it is asked again; None unless it rests.
    """

    received: int = 0
    connections: int = 0
    peers: int | None = None
    condition: SourceCondition = SourceCondition.WORKING
    reason: str = ""
    resumes_in: float | None = None


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

    def file_begun(self, path: str, *, size: int, have: int) -> None:
        """Work on ``path`` begins: of its ``size`` bytes, ``have`` were here before."""

    def claim(self, source: str, path: str, offset: int) -> None:
        """``source`` begins to work on ``path``, from byte ``offset``."""

    def release(self, source: str, path: str) -> None:
        """``source`` no longer works on ``path``, whether it came to an end or not."""

    def advance(self, source: str, path: str, count: int) -> None:
        """``count`` bytes of ``path`` arrived from ``source`` (``disk`` when hashing)."""

    def lost(self, path: str, count: int) -> None:
        """``count`` bytes of ``path`` that were counted are wrong, and must come again."""

    def file_done(self, path: str, size: int, source: str) -> None:
        """``path`` is complete and its digest right."""

    def source(self, name: str, state: SourceState) -> None:
        """How a source stands; told about once a second, and at each change of condition."""

    def source_failed(
        self, name: str, path: str | None, reason: str, *, wrong: bool, final: bool
    ) -> None:
        """A source failed.

        Args:
            name: the source.
            path: the file it failed on; None where it failed as a whole.
            reason: for people, without the source and the path.
            wrong: it delivered wrong bytes.
            final: it is not asked again: for the file, or at all where ``path`` is None.
        """

    def trees(self, done: int, files: int) -> None:
        """Of ``files`` hash trees that are built behind the fetch, ``done`` are complete."""

    def note(self, message: str) -> None:
        """Something a person may want to know: a source failed, a file was bad."""

    def end(self) -> None:
        """The stage is over."""


class NoProgress:
    """A listener that does nothing; also the base of those that care for some of it only."""

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Do nothing."""

    def file_begun(self, path: str, *, size: int, have: int) -> None:
        """Do nothing."""

    def claim(self, source: str, path: str, offset: int) -> None:
        """Do nothing."""

    def release(self, source: str, path: str) -> None:
        """Do nothing."""

    def advance(self, source: str, path: str, count: int) -> None:
        """Do nothing."""

    def lost(self, path: str, count: int) -> None:
        """Do nothing."""

    def file_done(self, path: str, size: int, source: str) -> None:
        """Do nothing."""

    def source(self, name: str, state: SourceState) -> None:
        """Do nothing."""

    def source_failed(
        self, name: str, path: str | None, reason: str, *, wrong: bool, final: bool
    ) -> None:
        """Do nothing."""

    def trees(self, done: int, files: int) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class Together:
    """Several listeners as one; each is told everything, in their order."""

    def __init__(self, *listeners: Progress) -> None:
        """Tell ``listeners``."""
        self._listeners: Sequence[Progress] = listeners

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.begin(task, files=files, size=size, have=have)

    def file_begun(self, path: str, *, size: int, have: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.file_begun(path, size=size, have=have)

    def claim(self, source: str, path: str, offset: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.claim(source, path, offset)

    def release(self, source: str, path: str) -> None:
        """Pass on."""
        for each in self._listeners:
            each.release(source, path)

    def advance(self, source: str, path: str, count: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.advance(source, path, count)

    def lost(self, path: str, count: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.lost(path, count)

    def file_done(self, path: str, size: int, source: str) -> None:
        """Pass on."""
        for each in self._listeners:
            each.file_done(path, size, source)

    def source(self, name: str, state: SourceState) -> None:
        """Pass on."""
        for each in self._listeners:
            each.source(name, state)

    def source_failed(
        self, name: str, path: str | None, reason: str, *, wrong: bool, final: bool
    ) -> None:
        """Pass on."""
        for each in self._listeners:
            each.source_failed(name, path, reason, wrong=wrong, final=final)

    def trees(self, done: int, files: int) -> None:
        """Pass on."""
        for each in self._listeners:
            each.trees(done, files)

    def note(self, message: str) -> None:
        """Pass on."""
        for each in self._listeners:
            each.note(message)

    def end(self) -> None:
        """Pass on."""
        for each in self._listeners:
            each.end()
