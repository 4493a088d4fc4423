"""``--events``: what a fetch does, as lines of JSON for other programs.

The result of a command stays one document on stdout; events are a stream beside it, to a file, to
stderr or to an open file descriptor. The form of each event is written down in ``docs/events.md``
and ``docs/events.schema.json``.

A reader that is slow, or goes away, never holds up or ends a fetch: a thread of its own writes,
from a queue of bounded length; what does not fit is dropped and counted in the next event.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from grokdist.cli.exit_codes import ExitCode, exit_code_for
from grokdist.cli.output import Output
from grokdist.cli.tally import SourceView, Tally
from grokdist.errors import GrokdistError, UsageError

VERSION = 1
_EVERY_S = 1.0
_QUEUED = 10_000
_PARTING_S = 5.0
_DESCRIPTOR = re.compile(r"fd:([0-9]{1,9})")


class EventStream:
    """Writes events to a descriptor, one JSON document a line.

    Args:
        fd: an open file descriptor, which is closed at the end.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_QUEUED)
        self._dropped = 0
        self._broken = False
        self._thread = threading.Thread(target=self._write, name="grokdist-events", daemon=True)
        self._thread.start()

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event soon; drop it if nobody reads."""
        document: dict[str, Any] = {"event": event, "time": round(time.time(), 3), **fields}
        if self._dropped:
            document["dropped"] = self._dropped
        try:
            self._queue.put_nowait(document)
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is waiting, for a few seconds at most."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=_PARTING_S)
        self._thread.join(_PARTING_S)
        if not self._thread.is_alive():
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def _write(self) -> None:
        while (document := self._queue.get()) is not None:
            if self._broken:
                continue
            data = memoryview(json.dumps(document, separators=(",", ":")).encode() + b"\n")
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                # The reader went away, or its disk is full: the fetch is none of its business.
                self._broken = True


class EventProgress(Tally):
    """Turns what a listener hears into events, and once a second into one of progress."""

    def __init__(self, stream: EventStream) -> None:
        """Write to ``stream``."""
        super().__init__()
        self._stream = stream
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Say that a stage starts, and how it goes from now on."""
        super().begin(task, files=files, size=size, have=have)
        self._stream.emit("stage", task=task, files=files, bytes=size, have=have)
        if self._ticker is None:
            self._ended.clear()
            self._ticker = threading.Thread(
                target=self._tick, name="grokdist-events-tick", daemon=True
            )
            self._ticker.start()

    def file_done(self, path: str, size: int, source: str) -> None:
        """Say that a file is complete and right."""
        super().file_done(path, size, source)
        self._stream.emit("file_verified", path=path, bytes=size, source=source)

    def source_failed(
        self, name: str, path: str | None, reason: str, *, wrong: bool, final: bool
    ) -> None:
        """Say that a source failed, or was banned for wrong bytes."""
        banned = wrong and final
        self._stream.emit(
            "source_banned" if banned else "source_failed",
            source=name,
            path=path,
            reason=reason,
            **({} if banned else {"final": final}),
        )

    def trees(self, done: int, files: int) -> None:
        """Say how far the hash trees are."""
        super().trees(done, files)
        self._stream.emit("trees", done=done, files=files)

    def note(self, message: str) -> None:
        """Pass on a word for people."""
        self._stream.emit("note", message=message)

    def end(self) -> None:
        """Say how the stage stood at its end."""
        super().end()
        self._ended.set()
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.join(_PARTING_S)
            self._say()

    def _tick(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._say()

    def _say(self) -> None:
        view = self.view()
        self._stream.emit(
            "progress",
            task=view.task,
            files=view.files,
            files_done=view.files_done,
            total=view.size,
            bytes=view.done,
            rate=round(view.rate),
            eta=None if view.eta is None else round(view.eta, 1),
            sources=[_source(source) for source in view.sources],
            active=[
                {"path": file.path, "total": file.size or None, "bytes": file.done}
                for file in view.active
            ],
        )


def _source(source: SourceView) -> dict[str, Any]:
    state = source.state
    return {
        "name": source.name,
        "bytes": source.received,
        "rate": round(source.rate),
        "connections": state.connections,
        "peers": state.peers,
        "condition": str(state.condition),
        "reason": state.reason or None,
        "resumes_in": None if state.resumes_in is None else round(state.resumes_in, 1),
    }


class Events:
    """The events of one command: its start, its progress, its end.

    Args:
        stream: where they go; None where nobody asked for them.
    """

    def __init__(self, stream: EventStream | None) -> None:
        self._stream = stream
        self._done: Mapping[str, Any] = {}
        self.listeners = () if stream is None else (EventProgress(stream),)
        """To be told of the progress."""

    def start(self, command: str, plan: Callable[[], Mapping[str, Any]]) -> None:
        """Say what is going to be done: the document that ``--dry-run --json`` prints."""
        if self._stream is not None:
            self._stream.emit(
                "start", version=VERSION, command=command, pid=os.getpid(), plan=plan()
            )

    def done(self, result: Mapping[str, Any]) -> None:
        """Remember the result that the last event gives."""
        self._done = result

    def verified(self, result: Mapping[str, Any]) -> None:
        """Say that all files are there and right; only hash trees may follow."""
        self.done(result)
        if self._stream is not None:
            self._stream.emit("verified", result=result)

    def end(self, error: BaseException | None) -> None:
        """Write the last event, which says how the command ends."""
        if self._stream is None:
            return
        for each in self.listeners:
            each.end()
        if error is None:
            self._stream.emit("done", exit_code=int(ExitCode.OK), result=self._done)
        elif isinstance(error, KeyboardInterrupt) or _interrupts(error):
            self._stream.emit("interrupted", exit_code=int(ExitCode.INTERRUPTED))
        else:
            code = exit_code_for(error) if isinstance(error, Exception) else ExitCode.FAILURE
            self._stream.emit(
                "failed",
                exit_code=int(code),
                error=type(error).__name__,
                message=str(error),
                hint=error.hint if isinstance(error, GrokdistError) else None,
            )


@contextlib.contextmanager
def event_stream(target: str | None) -> Iterator[Events]:
    """The events of the ``with``, to ``target``; without a target they go nowhere.

    How the ``with`` ends is told by the last event; an error goes on to whoever handles it.

    Raises:
        UsageError: the target cannot be written.
    """
    stream = None if target is None else EventStream(_open(target))
    events = Events(stream)
    try:
        yield events
    except BaseException as error:
        events.end(error)
        raise
    else:
        events.end(None)
    finally:
        if stream is not None:
            stream.close()


def beside(out: Output, target: str | None) -> Output:
    """The output for people while events go to ``target``: quiet where both would share stderr."""
    return Output(json=out.json, quiet=True) if target == "-" else out


def _open(target: str) -> int:
    """The descriptor that ``--events`` names.

    ``-`` is stderr, since stdout holds one document and nothing else. A file is appended to: a
    fetch that is run again goes on in the same log.
    """
    try:
        if target == "-":
            return os.dup(sys.stderr.fileno())
        if target.startswith("fd:"):
            found = _DESCRIPTOR.fullmatch(target)
            if found is None:
                raise ValueError("no file descriptor")
            return os.dup(int(found[1]))
        return os.open(
            Path(target).expanduser(),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o644,
        )
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"--events {target!r} cannot be written: {reason};"
            " expected a file, - for stderr or fd:N"
        ) from error


def _interrupts(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code == ExitCode.INTERRUPTED
