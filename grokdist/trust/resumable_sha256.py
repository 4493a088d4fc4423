"""SHA-256 whose state can be written down, so that a later process goes on without a second read.

hashlib keeps its state to itself. The OpenSSL library that hashlib is itself linked with also has
the older ``SHA256_Init/Update/Final`` calls on a public structure (``openssl/sha.h``), which is
what is used here. Where those are not to be had (a Python with OpenSSL linked in statically),
``resumable()`` says so and hashing starts again at the first byte: slower, never wrong.

What is written down is the chaining value of FIPS 180-4, 6.2.2: eight 32-bit words after a whole
number of 64-byte blocks, the same on every machine.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import struct
from dataclasses import dataclass
from typing import Self

from grokdist.trust.buffer_address import address

BLOCK = 64
"""Bytes of one block; states exist at multiples of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sha256State:
    """A point in the middle of a hash.

    Attributes:
        offset: bytes hashed so far, a multiple of 64.
        value: the chaining value, 32 bytes.
    """

    offset: int
    value: bytes

    def __post_init__(self) -> None:
        if self.offset < 0 or self.offset % BLOCK or len(self.value) != 32:
            raise ValueError("not a state of SHA-256")


class _Context(ctypes.Structure):
    """``SHA256_CTX`` of openssl/sha.h."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("data", ctypes.c_uint32 * 16),
        ("num", ctypes.c_uint),
        ("md_len", ctypes.c_uint),
        # Room for a library whose structure is larger than the published one.
        ("_spare", ctypes.c_char * 128),
    )


@dataclass(frozen=True, slots=True)
class _Library:
    """One library, called in two ways.

    Attributes:
        unlocked: lets go of the interpreter lock, and waits to have it again afterwards.
        at_once: keeps it, for calls that are over sooner.
    """

    unlocked: ctypes.CDLL
    at_once: ctypes.PyDLL


class ResumableSha256:
    """SHA-256 with the interface of hashlib and a state that can be saved.

    Args:
        state: where to go on; None for the first byte.

    Raises:
        RuntimeError: the library has not got it; ask ``resumable()`` first.
    """

    name = "sha256"
    digest_size = 32

    def __init__(self, state: Sha256State | None = None) -> None:
        library = _library()
        if library is None:
            raise RuntimeError("this Python's OpenSSL does not give access to SHA-256's state")
        self._library = library
        self._context = _Context()
        library.at_once.SHA256_Init(ctypes.byref(self._context))
        if state is not None:
            self._context.h[:] = struct.unpack(">8I", state.value)
            bits = state.offset * 8
            self._context.bits_low = bits & 0xFFFFFFFF
            self._context.bits_high = bits >> 32

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes; the interpreter lock is let go meanwhile."""
        with address(data) as (start, size):
            self._library.unlocked.SHA256_Update(
                ctypes.byref(self._context), ctypes.c_void_p(start), ctypes.c_size_t(size)
            )

    def state(self) -> Sha256State:
        """The state at the last whole block."""
        context = self._context
        offset = ((context.bits_high << 32 | context.bits_low) >> 3) - context.num
        return Sha256State(offset=offset, value=struct.pack(">8I", *context.h))

    def copy(self) -> Self:
        """A second hash that goes on from here."""
        other = type(self)()
        ctypes.pointer(other._context)[0] = self._context
        return other

    def digest(self) -> bytes:
        """The digest of all bytes so far."""
        context = self.copy()._context
        out = ctypes.create_string_buffer(32)
        self._library.at_once.SHA256_Final(out, ctypes.byref(context))
        return out.raw

    def hexdigest(self) -> str:
        """The digest in hex."""
        return self.digest().hex()


def resumable() -> bool:
    """True where this Python can save and load the state of SHA-256."""
    return _library() is not None


@functools.cache
def _library() -> _Library | None:
    """The OpenSSL that hashlib uses, if its old interface is there and does what it should."""
    try:
        import _hashlib

        found = _Library(ctypes.CDLL(_hashlib.__file__), ctypes.PyDLL(_hashlib.__file__))
        for name in ("SHA256_Init", "SHA256_Update", "SHA256_Final"):
            getattr(found.unlocked, name)
    except (ImportError, OSError, AttributeError):
        return None
    return found if _proves_right(found.unlocked) else None


def _proves_right(library: ctypes.CDLL) -> bool:
    """Compare with hashlib, over a save and a load: the structure's layout is an assumption."""
    data = bytes(range(256)) * 3
    context = _Context()
    library.SHA256_Init(ctypes.byref(context))
    library.SHA256_Update(ctypes.byref(context), data, ctypes.c_size_t(300))
    if context.num != 300 % BLOCK or context.bits_low != 300 * 8 or context.md_len != 32:
        return False
    other = _Context()
    library.SHA256_Init(ctypes.byref(other))
    other.h[:] = context.h[:]
    other.bits_low = 256 * 8
    library.SHA256_Update(ctypes.byref(other), data[256:], ctypes.c_size_t(len(data) - 256))
    out = ctypes.create_string_buffer(32)
    library.SHA256_Final(out, ctypes.byref(other))
    return out.raw == hashlib.sha256(data).digest()
