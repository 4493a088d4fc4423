"""Watches the names of a model's files for as long as a command runs: inotify, by ctypes.

A file gets its final name in one step, once, when its bytes are right. So a name that is made
empty, written to, taken away, or given a second time is a loss, however short; and each file that
was given its name is compared as soon as that is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_OVERFLOW = 0x4000
_HEAD = struct.Struct("iIII")
_SAID = {
    _MODIFY: "was written to under its name",
    _MOVED_FROM: "lost its name",
    _CREATE: "was made under its name",
    _DELETE: "was taken away",
}


class Watch:
    """Watches a model directory; use it in a ``with`` and read ``losses`` after it.

    Args:
        directory: the model; its folders must be there already.
        files: contents by path.
        repairs: True where a file may lose its name, since a wrong one had it before.
    """

    def __init__(
        self, directory: Path, files: Mapping[str, bytes], *, repairs: bool = False
    ) -> None:
        self.losses: list[str] = []
        self.named = 0
        self._directory = directory
        self._files = files
        self._spared = _MOVED_FROM | _DELETE if repairs else 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._folders: dict[int, str] = {}
        mask = _MOVED_TO | sum(_SAID)
        for above in sorted({path.rpartition("/")[0] for path in files}):
            place = self._libc.inotify_add_watch(
                self._fd, os.fsencode(directory / above), ctypes.c_uint32(mask)
            )
            if place < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
            self._folders[place] = f"{above}/" if above else ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._read()
        os.close(self._fd)

    def _run(self) -> None:
        while not self._ended.is_set():
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._fd, 1 << 16):
                place = 0
                while place < len(data):
                    folder, mask, _, length = _HEAD.unpack_from(data, place)
                    place += _HEAD.size + length
                    name = data[place - length : place].rstrip(b"\0").decode()
                    self._seen(self._folders.get(folder, "") + name, mask)

    def _seen(self, path: str, mask: int) -> None:
        if mask & _OVERFLOW:
            self.losses.append("more happened than could be watched")
        if path not in self._files:
            return
        for bit, said in _SAID.items():
            if mask & bit & ~self._spared:
                self.losses.append(f"{path} {said}")
        if mask & _MOVED_TO:
            self.named += 1
            self.losses += wrong(self._directory, {path: self._files[path]})


def wrong(directory: Path, files: Mapping[str, bytes]) -> list[str]:
    """Files that have their names and a wrong byte."""
    found = []
    for path, data in files.items():
        with contextlib.suppress(FileNotFoundError):
            if (directory / path).read_bytes() != data:
                found.append(f"{path} has a wrong byte under its name")
    return found
