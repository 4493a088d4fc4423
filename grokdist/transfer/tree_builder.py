"""Builds the trees of files as they become complete, in a child process behind the fetch.

A second hash beside the first would halve a fetch that is bound by its processor. So a child of
the lowest priority does it from the pages that the fetch left in memory: on idle cores it keeps
up, on busy ones it finishes afterwards. The newest file goes first, since its pages are the
likeliest to be there still. Without the child there are no trees, and nothing else is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grokdist
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.trust.sha256_of_many import in_use

# Isolated from the environment and the working directory, and without site-packages: the child
# runs the code that this process runs, and the standard library.
_COMMAND = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from grokdist.transfer.tree_worker import main; main()"
)
_PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    path: str
    size: int
    mark: StatMark | None


class TreeBuilder:
    """Builds trees in a child process; all methods may be called from several threads.

    Args:
        tree: the model directory; held open by the caller until ``close``.
        on_done: told of each tree, its path and its root (64 hex digits), from a thread of the
            builder's own.
        keep: leave in memory what was read; False where all files together do not fit there.
        python: the interpreter to start.
    """

    def __init__(
        self,
        tree: ModelTree,
        *,
        on_done: Callable[[str, str], None],
        keep: bool = True,
        python: str = sys.executable,
    ) -> None:
        self._directory = tree.directory.absolute()
        self._on_done = on_done
        self._keep = keep
        self._python = python
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._current: _Job | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._closed = False
        self._trouble: str | None = None
        self._failures: dict[str, str] = {}
        self._done = 0
        self._files = 0

    @property
    def trouble(self) -> str | None:
        """Why no more trees are built, a clause for people; None while they are."""
        return self._trouble

    @property
    def failures(self) -> dict[str, str]:
        """Files whose tree was not built, and why; without those that ``trouble`` left over."""
        with self._changed:
            return dict(self._failures)

    @property
    def state(self) -> tuple[int, int]:
        """Files that are settled (built or failed), and files that were added."""
        with self._changed:
            return self._done, self._files

    def add(self, path: str, size: int, mark: StatMark | None = None) -> None:
        """Have the tree of a file built; returns at once.

        Args:
            path: the file, which has its final name and was found right.
            size: its bytes; an empty file has no tree and is passed over.
            mark: what the file system said of it when it was hashed; a file that is another by
                the time it is read gets no tree. None takes it as it stands now.
        """
        if size == 0:
            return
        with self._changed:
            if self._closed or self._trouble is not None:
                return
            self._files += 1
            self._waiting.append(_Job(path=path, size=size, mark=mark))
            if self._child is None:
                self._start()
            elif self._current is None:
                self._send()

    def wait(
        self,
        stop: threading.Event,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> bool:
        """Wait until all trees are built.

        Args:
            stop: ends the waiting (not the building) when it is set.
            on_progress: told how many files are settled, and of how many, at each change.

        Returns:
            True where every file that was added has its tree.
        """
        told = None
        while True:
            with self._changed:
                state = self._done, self._files
                over = self._done == self._files or self._trouble is not None or self._closed
                if not over and state == told:
                    # A plain event cannot be waited for together with a condition.
                    self._changed.wait(0.1)
                complete = self._done == self._files and not (self._failures or self._trouble)
            if state != told and on_progress is not None:
                on_progress(*state)
            told = state
            if over or stop.is_set():
                return over and complete

    def close(self) -> None:
        """End the child; a tree that is not finished is left unbuilt."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            child, self._child = self._child, None
            reader, self._reader = self._reader, None
            self._changed.notify_all()
        if child is None:
            return
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if reader is not None and reader is not threading.current_thread():
            reader.join(_PATIENCE)

    def _start(self) -> None:
        """Start the child and give it its first job; the lock is held."""
        root = Path(grokdist.__file__).absolute().parent.parent
        argv = [self._python, "-I", "-S", "-c", _COMMAND, str(root), str(self._directory)]
        try:
            self._child = subprocess.Popen(  # noqa: S603  # our own code and arguments
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Not a session of its own: there its low priority would count among its own only.
                process_group=0,
            )
        except (OSError, ValueError) as error:
            self._give_up(f"the process that builds them does not start: {error}")
            return
        self._reader = threading.Thread(
            target=self._read, args=(self._child.stdout,), name="grokdist-trees", daemon=True
        )
        self._reader.start()
        self._send()

    def _send(self) -> None:
        """Give the child the newest job; the lock is held.

        It has no other then, so one line always fits into the pipe and this never blocks.
        """
        child = self._child
        if child is None or child.stdin is None or not self._waiting:
            return
        job = self._current = self._waiting.pop()
        mark = None if job.mark is None else dataclasses.asdict(job.mark)
        library = in_use()
        line = json.dumps(
            {
                "path": job.path,
                "size": job.size,
                "mark": mark,
                "keep": self._keep,
                "library": None if library is None else str(library.path),
            }
        )
        try:
            os.write(child.stdin.fileno(), line.encode() + b"\n")
        except OSError:
            # The reader sees the end too, and says so.
            return

    def _read(self, answers: IO[bytes] | None) -> None:
        """Take the child's answers until it ends."""
        with answers or contextlib.nullcontext(()) as lines:
            for line in lines:
                try:
                    answer = json.loads(line)
                except ValueError:
                    break
                if not self._settle(answer):
                    break
        with self._changed:
            if not self._closed:
                self._give_up("the process that builds them ended")

    def _settle(self, answer: dict[str, Any]) -> bool:
        """Note what became of the current job and send the next one."""
        job = self._current
        if job is None:
            return False
        failure = answer.get("failed")
        if failure is None:
            try:
                self._on_done(job.path, str(answer.get("root")))
            except Exception as error:
                # Whoever listens must not end the building, nor leave a waiter waiting.
                failure = f"its root could not be kept: {error}"
        with self._changed:
            if failure is not None:
                self._failures[job.path] = str(failure)
            self._done += 1
            self._current = None
            self._send()
            self._changed.notify_all()
        return True

    def _give_up(self, reason: str) -> None:
        self._trouble = reason
        self._waiting.clear()
        self._current = None
        self._changed.notify_all()
