"""Where the bytes of a buffer lie, for calls into C that must not copy them."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of CPython's stable ABI."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


@contextlib.contextmanager
def address(data: bytes | bytearray | memoryview) -> Iterator[tuple[int, int]]:
    """Address and length of bytes, which stay where they are inside the ``with``.

    Raises:
        BufferError: they do not lie one behind the other.
    """
    view = _PyBuffer()
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get(ctypes.py_object(data), ctypes.byref(view), 0)
    try:
        yield view.buf or 0, view.len
    finally:
        release(ctypes.byref(view))
