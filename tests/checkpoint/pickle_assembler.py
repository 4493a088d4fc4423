"""Puts shards together opcode by opcode, so that a test can make any one part wrong.

Every part has a default that the release's layout has: ``shard(array())`` is a valid file. Nothing
is remembered (no memo), which the format allows and the reader accepts.
"""

from __future__ import annotations

import struct

STOP = b"."
REDUCE = b"R"
BUILD = b"b"
MARK = b"("
NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
MEMOIZE = b"\x94"
STACK_GLOBAL = b"\x93"
NEWOBJ = b"\x81"
EMPTY_TUPLE = b")"
EMPTY_DICT = b"}"
SETITEMS = b"u"


def frame(opcodes: bytes, length: int | None = None) -> bytes:
    return b"\x95" + struct.pack("<Q", len(opcodes) if length is None else length) + opcodes


def shard(value: bytes, *, start: bytes = b"\x80\x04", after: bytes = b"") -> bytes:
    return start + frame(value + STOP) + after


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(encoded)]) + encoded


def integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"J" + struct.pack("<i", value)


def raw(data: bytes) -> bytes:
    if len(data) < 256:
        return b"C" + bytes([len(data)]) + data
    return b"B" + struct.pack("<I", len(data)) + data


def pack(*items: bytes) -> bytes:
    """A tuple of the items."""
    if not items:
        return EMPTY_TUPLE
    if len(items) > 3:
        return MARK + b"".join(items) + b"t"
    return b"".join(items) + bytes([0x84 + len(items)])


def shape(*dims: int) -> bytes:
    return pack(*(integer(dim) for dim in dims))


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + STACK_GLOBAL


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + pack(*arguments) + REDUCE


RECONSTRUCT = named("numpy.core.multiarray", "_reconstruct")
NDARRAY = named("numpy", "ndarray")
DTYPE = named("numpy", "dtype")
BFLOAT16 = named("ml_dtypes", "bfloat16")
QUANTISED = named("__main__", "QuantizedWeight8bit")


def new_array(
    function: bytes = RECONSTRUCT,
    subtype: bytes = NDARRAY,
    start: bytes = shape(0),
    code: bytes = raw(b"b"),
) -> bytes:
    return call(function, subtype, start, code)


def dtype_state(
    order: str = "|",
    *,
    version: bytes = integer(3),
    subarray: bytes = NONE,
    names: bytes = NONE,
    fields: bytes = NONE,
    size: int = -1,
    alignment: int = -1,
    flags: int = 0,
    extra: bytes = b"",
) -> bytes:
    numbers = integer(size) + integer(alignment) + integer(flags)
    body = version + text(order) + subarray + names + fields + numbers + extra
    return MARK + body + b"t"


def dtype(
    code: bytes = text("i1"),
    *,
    function: bytes = DTYPE,
    align: bytes = FALSE,
    copy: bytes = TRUE,
    state: bytes | None = None,
) -> bytes:
    built = dtype_state() if state is None else state
    return call(function, code, align, copy) + built + BUILD


def float32() -> bytes:
    return dtype(text("f4"), state=dtype_state("<"))


def bfloat16(flags: int = 80) -> bytes:
    return dtype(BFLOAT16, state=dtype_state("<", size=2, alignment=2, flags=flags))


def array(
    dims: bytes = shape(2, 3),
    kind: bytes | None = None,
    data: bytes = raw(bytes(6)),
    *,
    new: bytes | None = None,
    version: bytes = integer(1),
    fortran: bytes = FALSE,
    extra: bytes = b"",
) -> bytes:
    built = dtype() if kind is None else kind
    state = MARK + version + dims + built + fortran + data + extra + b"t"
    return (new_array() if new is None else new) + state + BUILD


def weight() -> bytes:
    """An int8 weight of shape (8, 3)."""
    return array(shape(8, 3), dtype(), raw(bytes(24)))


def scales() -> bytes:
    """Its bfloat16 scales, in 4 groups."""
    return array(shape(4, 3), bfloat16(), raw(bytes(24)))


def quantised(
    state: bytes | None = None,
    *,
    cls: bytes = QUANTISED,
    arguments: bytes = EMPTY_TUPLE,
    new: bytes = NEWOBJ,
) -> bytes:
    built = dictionary(text("weight"), weight(), text("scales"), scales())
    return cls + arguments + new + (built if state is None else state) + BUILD


def dictionary(*items: bytes) -> bytes:
    return EMPTY_DICT + MARK + b"".join(items) + SETITEMS
