"""Write one shard in the original checkpoint layout, byte for byte.

A shard is a protocol 4 pickle of one NumPy array, or of ``__main__.QuantizedWeight8bit`` holding
an int8 ``weight`` and its ``scales``. The layout is worked out from shapes and dtypes alone, as
literal bytes and payload gaps in file order, so a header can be made for a tensor of any size
without holding it; :func:`write_shard` fills the gaps from arrays and
:func:`write_sparse_shard` leaves them as holes. No pickler runs here.

Sources: PEP 3154 for framing; CPython's pickler for when a frame ends; NumPy's ``__reduce__``
for the array's and dtype's state. Reading is in ``shard``.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np

from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE
from grokdist_runtime.errors import CheckpointError

_FRAME_TARGET = 64 * 1024
_FRAME_MINIMUM = 4  # fewer bytes than this are written without a frame header
_COPY_BYTES = 16 * 1024 * 1024
_MAX_RANK = 4
_MAX_DIM = 2**31 - 1

_RECONSTRUCT_MODULE = {1: "numpy.core.multiarray", 2: "numpy._core.multiarray"}

Segment = bytes | int
"""Literal bytes, or the length in bytes of a payload that stands here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardLayout:
    """Where everything of one shard stands.

    Attributes:
        segments: the file in order: literal bytes, and payload lengths as ints.
        size: the file's length in bytes.
        offset: byte offset of the array's (or the weight's) raw data.
        scales_offset: byte offset of the scales' raw data, None for a plain array.
    """

    segments: tuple[Segment, ...]
    size: int
    offset: int
    scales_offset: int | None


def shard_layout(
    shape: Sequence[int],
    dtype: str,
    *,
    scales_shape: Sequence[int] | None = None,
    scales_dtype: str = "bfloat16",
    numpy_major: Literal[1, 2] = 1,
    bfloat16_flags: Literal[64, 80] = 64,
) -> ShardLayout:
    """Work out the bytes around the payloads of a shard.

    Args:
        shape: the array's shape, 1 to 4 dimensions.
        dtype: ``int8``, ``float32`` or ``bfloat16``; with scales only ``int8``.
        scales_shape: shape of the scales for a quantised weight; None writes a plain array.
        scales_dtype: ``bfloat16`` or ``float32``.
        numpy_major: 1 names ``numpy.core.multiarray`` as the release does, 2 names
            ``numpy._core.multiarray`` as NumPy 2 does.
        bfloat16_flags: what ml_dtypes records for its type: 80 up to its version 0.5, which the
            release was written with, 64 since 0.6.

    Raises:
        CheckpointError: a shape or dtype that the layout cannot hold.
    """
    _check_array(shape, dtype)
    emitter = _Emitter(_RECONSTRUCT_MODULE[numpy_major], bfloat16_flags)
    if scales_shape is None:
        emitter.array(shape, dtype)
    else:
        _check_array(scales_shape, scales_dtype)
        if dtype != "int8" or scales_dtype == "int8":
            raise CheckpointError(
                f"cannot write a quantised weight of {dtype} with scales of {scales_dtype}; "
                "expected int8 with bfloat16 or float32"
            )
        emitter.quantised_weight(shape, scales_shape, scales_dtype)
    return emitter.finish()


def write_shard(
    path: Path,
    array: np.ndarray[Any, Any],
    *,
    scales: np.ndarray[Any, Any] | None = None,
    numpy_major: Literal[1, 2] = 1,
    bfloat16_flags: Literal[64, 80] = 64,
) -> ShardLayout:
    """Write an array, or an int8 weight with its scales, as one shard file.

    The data is streamed: at most 16 MiB is copied, and only where the array is not contiguous.
    The file appears under its name only when it is whole.

    Args:
        path: the file to make or replace.
        array: the tensor, little-endian; int8, float32 or bfloat16.
        scales: bfloat16 or float32 scales of an int8 weight.
        numpy_major: see :func:`shard_layout`.
        bfloat16_flags: see :func:`shard_layout`.

    Raises:
        CheckpointError: a shape or dtype that the layout cannot hold.
    """
    layout = shard_layout(
        array.shape,
        _type_name(array),
        scales_shape=None if scales is None else scales.shape,
        scales_dtype="bfloat16" if scales is None else _type_name(scales),
        numpy_major=numpy_major,
        bfloat16_flags=bfloat16_flags,
    )
    payloads = iter([array] if scales is None else [array, scales])

    def chunks() -> Iterator[bytes | memoryview]:
        for segment in layout.segments:
            if isinstance(segment, bytes):
                yield segment
            else:
                yield from _raw_chunks(next(payloads))

    _write_whole(path, chunks(), layout.size)
    return layout


def write_sparse_shard(path: Path, layout: ShardLayout) -> None:
    """Write a shard whose payloads are holes (they read as zeros and take no disk space)."""
    _write_whole(path, layout.segments, layout.size)


def _write_whole(path: Path, chunks: Iterable[bytes | memoryview | int], size: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                if isinstance(chunk, int):
                    file.seek(chunk, os.SEEK_CUR)
                else:
                    file.write(chunk)
            file.truncate(size)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _type_name(array: np.ndarray[Any, Any]) -> str:
    for name, dtype in (
        ("int8", np.dtype(np.int8)),
        ("float32", np.dtype("<f4")),
        ("bfloat16", np.dtype(ml_dtypes.bfloat16)),
    ):
        if array.dtype == dtype:
            return name
    return str(array.dtype)


def _check_array(shape: Sequence[int], dtype: str) -> None:
    if dtype not in ITEM_SIZE:
        raise CheckpointError(
            f"cannot write dtype {dtype!r}; expected one of {', '.join(ITEM_SIZE)}"
        )
    if not 1 <= len(shape) <= _MAX_RANK or not all(1 <= dim <= _MAX_DIM for dim in shape):
        raise CheckpointError(
            f"cannot write shape {tuple(shape)}; expected 1 to {_MAX_RANK} dimensions "
            f"of 1 to {_MAX_DIM}"
        )


def _raw_chunks(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """The array's bytes in C order, copied piecewise only where they are not contiguous."""
    if array.flags.c_contiguous:
        raw = array.reshape(-1).view(np.uint8)
        for start in range(0, raw.size, _COPY_BYTES):
            yield raw[start : start + _COPY_BYTES].data
    elif array.nbytes <= _COPY_BYTES or array.ndim == 1:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    else:
        for part in array:
            yield from _raw_chunks(part)


class _Emitter:
    """Emits the opcodes that CPython's pickler would, with its memo numbers and frames.

    The pickler looks at the frame before it saves each object: at 64 KiB or more it closes the
    frame there. A bytes object of 64 KiB or more stands outside every frame.
    """

    def __init__(self, reconstruct_module: str, bfloat16_flags: int) -> None:
        self._reconstruct_module = reconstruct_module
        self._bfloat16_flags = bfloat16_flags
        self._memo: dict[object, int] = {}
        self._memo_size = 0
        self._segments: list[Segment] = [b"\x80\x04"]
        self._frame: list[Segment] = []
        self._frame_size = 0
        self._offsets: list[int] = []

    def finish(self) -> ShardLayout:
        self._write(b".")
        self._close_frame()
        merged: list[Segment] = []
        offsets: list[int] = []
        size = 0
        for segment in self._segments:
            if isinstance(segment, int):
                offsets.append(size)
                merged.append(segment)
                size += segment
                continue
            if merged and isinstance(merged[-1], bytes):
                merged[-1] += segment
            else:
                merged.append(segment)
            size += len(segment)
        return ShardLayout(
            segments=tuple(merged),
            size=size,
            offset=offsets[0],
            scales_offset=offsets[1] if len(offsets) > 1 else None,
        )

    def quantised_weight(
        self, shape: Sequence[int], scales_shape: Sequence[int], scales_dtype: str
    ) -> None:
        self._global("__main__", "QuantizedWeight8bit")
        self._save(b")")  # the empty argument tuple
        self._write(b"\x81")  # NEWOBJ
        self._memoize(None)
        self._save(b"}")  # the empty state dict
        self._memoize(None)
        self._write(b"(")
        self._text("weight")
        self.array(shape, "int8")
        self._text("scales")
        self.array(scales_shape, scales_dtype)
        self._write(b"u")  # SETITEMS
        self._write(b"b")  # BUILD

    def array(self, shape: Sequence[int], dtype: str) -> None:
        self._global(self._reconstruct_module, "_reconstruct")
        self._global("numpy", "ndarray")
        self._tuple([0])
        self._placeholder()
        self._write(b"\x87")  # TUPLE3
        self._memoize(None)
        self._write(b"R")
        self._memoize(None)
        self._save(b"(")
        self._integer(1)  # version of the array's state
        self._tuple(shape)
        self._dtype(dtype)
        self._save(b"\x89")  # not in Fortran order
        self._payload(math.prod(shape) * ITEM_SIZE[dtype])
        self._memoize(None)
        self._write(b"t")
        self._memoize(None)
        self._write(b"b")

    def _dtype(self, dtype: str) -> None:
        self._global("numpy", "dtype")
        if dtype == "bfloat16":
            self._global("ml_dtypes", "bfloat16")
        else:
            self._text({"int8": "i1", "float32": "f4"}[dtype])
        self._save(b"\x89")  # align
        self._save(b"\x88")  # copy
        self._write(b"\x87")
        self._memoize(None)
        self._write(b"R")
        self._memoize(None)
        self._save(b"(")
        self._integer(3)  # version of the dtype's state
        self._text("|" if dtype == "int8" else "<")
        for _ in range(3):  # no subarray, names or fields
            self._save(b"N")
        # Size, alignment, flags: NumPy leaves -1 for its own types and tells an extension's.
        own, extension = (-1, -1, 0), (2, 2, self._bfloat16_flags)
        for value in extension if dtype == "bfloat16" else own:
            self._integer(value)
        self._write(b"t")
        self._memoize(None)
        self._write(b"b")

    def _placeholder(self) -> None:
        """The one-byte ``b"b"`` that NumPy passes to ``_reconstruct`` as a type code."""
        if not self._get(b"b"):
            self._save(b"C\x01b")
            self._memoize(b"b")

    def _global(self, module: str, name: str) -> None:
        if self._get((module, name)):
            return
        self._text(module)
        self._text(name)
        self._write(b"\x93")  # STACK_GLOBAL
        self._memoize((module, name))

    def _text(self, text: str) -> None:
        if not self._get(text):
            encoded = text.encode()
            self._save(b"\x8c" + bytes([len(encoded)]) + encoded)
            self._memoize(text)

    def _tuple(self, items: Sequence[int]) -> None:
        if len(items) > 3:
            self._save(b"(")
        for item in items:
            self._integer(item)
        self._write({1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(items), b"t"))
        self._memoize(None)

    def _integer(self, value: int) -> None:
        if 0 <= value < 2**8:
            self._save(b"K" + struct.pack("<B", value))
        elif 0 <= value < 2**16:
            self._save(b"M" + struct.pack("<H", value))
        else:
            self._save(b"J" + struct.pack("<i", value))

    def _payload(self, length: int) -> None:
        self._boundary()
        if length < 2**8:
            head = b"C" + struct.pack("<B", length)
        elif length < 2**32:
            head = b"B" + struct.pack("<I", length)
        else:
            head = b"\x8e" + struct.pack("<Q", length)
        if length >= _FRAME_TARGET:
            self._close_frame()
            self._segments += [head, length]
        else:
            self._write(head)
            self._frame.append(length)
            self._frame_size += length

    def _get(self, key: object) -> bool:
        if key not in self._memo:
            return False
        self._save(b"h" + bytes([self._memo[key]]))
        return True

    def _memoize(self, key: object) -> None:
        if key is not None:
            self._memo[key] = self._memo_size
        self._memo_size += 1
        self._write(b"\x94")

    def _save(self, data: bytes) -> None:
        self._boundary()
        self._write(data)

    def _boundary(self) -> None:
        if self._frame_size >= _FRAME_TARGET:
            self._close_frame()

    def _write(self, data: bytes) -> None:
        self._frame.append(data)
        self._frame_size += len(data)

    def _close_frame(self) -> None:
        if self._frame_size:
            if self._frame_size >= _FRAME_MINIMUM:
                self._segments.append(b"\x95" + struct.pack("<Q", self._frame_size))
            self._segments += self._frame
            self._frame = []
            self._frame_size = 0
