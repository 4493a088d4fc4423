"""SHA-256 of many messages of one length at once: ``native/sha256_of_many.cc`` from Python.

Everything works without it: hashlib does the same, one message after the other. Imports next to
nothing, since the process that builds hash trees does.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
from pathlib import Path

from grokdist.trust.buffer_address import address

_BLOCK = 64
_DIGEST = 32


class Sha256OfMany:
    """The library, which was compared with hashlib.

    Args:
        path: the shared library. It is run, so it must lie in a directory that is this user's
            alone.

    Raises:
        OSError: it cannot be loaded, or this processor cannot run it.
        ValueError: others may have written it, or it is another library.
    """

    def __init__(self, path: Path) -> None:
        status = path.parent.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise ValueError(f"{path.parent} can be entered by others than this user")
        self.path = path
        library = ctypes.CDLL(str(path))
        try:
            works, self._hash = library.sha256_of_many_works, library.sha256_of_many
        except AttributeError as error:
            raise ValueError(f"{path} is another library") from error
        if not works():
            raise OSError("this processor has no AVX-512")
        self._compare()

    def digests(self, data: bytes | bytearray | memoryview, length: int) -> bytes:
        """The digests of messages that lie one behind the other, concatenated.

        The interpreter lock is let go meanwhile.

        Args:
            data: the messages.
            length: bytes of each, a multiple of 64.

        Raises:
            ValueError: ``data`` is not a whole number of messages, or ``length`` does not do.
        """
        with address(data) as (where, size):
            if length <= 0 or length % _BLOCK or size % length:
                raise ValueError(f"{size} bytes are not messages of {length}, a multiple of 64")
            out = ctypes.create_string_buffer(size // length * _DIGEST)
            self._hash(
                ctypes.c_void_p(where),
                ctypes.c_size_t(size // length),
                ctypes.c_size_t(length // _BLOCK),
                out,
            )
        return out.raw

    def _compare(self) -> None:
        data = bytes(range(251)) * 64
        for length in (_BLOCK, 3 * _BLOCK):
            count = len(data) // length
            expected = [
                hashlib.sha256(data[start : start + length]).digest()
                for start in range(0, count * length, length)
            ]
            if self.digests(data[: count * length], length) != b"".join(expected):
                raise ValueError(f"{self.path} gives other digests than hashlib")


_used: Sha256OfMany | None = None


def use(library: Sha256OfMany | None) -> None:
    """Have this process hash with it, or with hashlib alone."""
    global _used
    _used = library


def in_use() -> Sha256OfMany | None:
    """What this process hashes many messages with; None is hashlib."""
    return _used
