"""Gives finished files their final names: synced first, many in one go where they are many.

A file that was found right is handed over and its worker goes on at once; waiting for the disk is
this thread's. What comes meanwhile is taken together next time: a folder that gets many small
files is synced once for all of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from grokdist.transfer.part import Part
from grokdist.transfer.part_files import PARTS
from grokdist.transfer.tree import ModelTree, StatMark, split

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A part whose digest was found right.

    Attributes:
        part: the part.
        named: called when the file has its final name, before its mark is taken.
        done: called with what the file system then says of it.
    """

    part: Part
    named: Callable[[], None]
    done: Callable[[StatMark], None]


class Committer:
    """One thread that commits files in the order in which they are handed over.

    Args:
        tree: the model directory.
        on_error: told of the error that ended the thread.
        on_batch: called after every ``done`` of the files that were committed together.
    """

    def __init__(
        self,
        tree: ModelTree,
        on_error: Callable[[BaseException], None],
        *,
        on_batch: Callable[[], None],
    ) -> None:
        self._tree = tree
        self._on_error = on_error
        self._on_batch = on_batch
        self._queue: list[Finished] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="grokdist-commit", daemon=True)
        self._thread.start()

    def submit(self, finished: Finished) -> None:
        """Commit a file soon."""
        with self._changed:
            self._queue.append(finished)
            self._changed.notify()

    def close(self) -> None:
        """Commit what was handed over; returns once that is done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._commit(batch)
        except BaseException as error:
            self._on_error(error)

    def _next(self) -> list[Finished]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            return batch

    def _commit(self, batch: list[Finished]) -> None:
        try:
            self._name(batch)
        finally:
            for each in batch:
                each.part.close()
        self._on_batch()

    def _name(self, batch: list[Finished]) -> None:
        for each in batch:
            os.fsync(each.part.fileno())
        folders = set()
        for each in batch:
            path = each.part.entry.path
            each.part.rename()
            above = split(path)[:-1]
            folders |= {above, (*split(PARTS), *above)}
        for folder in folders:
            with self._tree.folder(folder) as handle:
                os.fsync(handle)
        for each in batch:
            each.named()
            each.done(each.part.let_go())
