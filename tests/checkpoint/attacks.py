"""The attacks: every published way past a pickle scanner, and every way to misuse this format.

Each has the words that the refusal must hold, so that it is refused for what it does and not for
a slip in its making. All are small, but for a few that are long on purpose.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.checkpoint.pickle_assembler import (
    BFLOAT16,
    BUILD,
    DTYPE,
    EMPTY_DICT,
    EMPTY_TUPLE,
    FALSE,
    MARK,
    MEMOIZE,
    NDARRAY,
    NEWOBJ,
    NONE,
    QUANTISED,
    RECONSTRUCT,
    REDUCE,
    SETITEMS,
    STACK_GLOBAL,
    STOP,
    TRUE,
    array,
    bfloat16,
    call,
    dictionary,
    dtype,
    dtype_state,
    float32,
    frame,
    integer,
    named,
    new_array,
    pack,
    quantised,
    raw,
    scales,
    shape,
    shard,
    text,
    weight,
)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One hostile file.

    Attributes:
        name: what it is, with the record it comes from.
        data: the file.
        reason: part of the refusal's message; `` | `` stands between alternatives.
    """

    name: str
    data: bytes
    reason: str


# What scanners let through, by the record that tells of it: name, module, attribute.
CALLABLES = (
    ("os-system", "os", "system"),
    ("posix-system", "posix", "system"),
    ("nt-system", "nt", "system"),
    ("subprocess", "subprocess", "Popen"),
    ("builtins-eval", "builtins", "eval"),
    ("builtins-exec", "builtins", "exec"),
    ("builtins-import", "builtins", "__import__"),
    ("builtins-getattr", "builtins", "getattr"),
    ("python2-builtin", "__builtin__", "eval"),
    ("importlib", "importlib", "import_module"),
    ("marshal", "marshal", "loads"),
    ("pkgutil-resolve-name", "pkgutil", "resolve_name"),
    ("pickle-loads", "pickle", "loads"),
    ("copyreg", "copyreg", "__newobj__"),
    ("CVE-2025-1716-pip", "pip", "main"),
    ("CVE-2025-1716-pip-internal", "pip._internal", "main"),
    ("CVE-2025-71320-pydoc-locate", "pydoc", "locate"),
    ("CVE-2025-71320-methodcaller", "operator", "methodcaller"),
    ("operator-attrgetter", "operator", "attrgetter"),
    ("CVE-2025-71351-timeit", "timeit", "timeit"),
    ("CVE-2025-71352-trace", "trace", "Trace.run"),
    ("CVE-2025-71357-idlelib-shell", "idlelib.pyshell", "ModifiedInterpreter.runcode"),
    ("CVE-2025-71358-idlelib-calltip", "idlelib.calltip", "get_entity"),
    ("CVE-2025-71365-f2py-getlincoef", "numpy.f2py.crackfortran", "getlincoef"),
    ("CVE-2025-71372-f2py-eval", "numpy.f2py.crackfortran", "_eval_length"),
    ("CVE-2025-71378-cProfile-runctx", "cProfile", "runctx"),
    ("CVE-2026-22607-cProfile-run", "cProfile", "run"),
    ("CVE-2026-53873-profile", "profile", "run"),
    ("CVE-2025-56304-file-handler", "logging", "FileHandler"),
    ("CVE-2025-56315-uuid", "uuid", "_get_command_stdout"),
    ("CVE-2025-56315-imaplib", "imaplib", "IMAP4_stream"),
    ("CVE-2025-56315-pyrepl", "_pyrepl.pager", "pipe_pager"),
    ("CVE-2025-10157-submodule", "asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("CVE-2025-67747-marshal-types", "types", "FunctionType"),
    ("CVE-2025-67748-pty", "pty", "spawn"),
    ("CVE-2026-22606-runpy", "runpy", "run_path"),
    ("CVE-2026-22608-ctypes", "ctypes", "CDLL"),
    ("CVE-2026-22609-unlisted", "code", "InteractiveInterpreter"),
    ("CVE-2026-22612-builtins", "builtins", "breakpoint"),
    ("CVE-2026-14534-posixsubprocess", "_posixsubprocess", "fork_exec"),
    ("CVE-2026-14534-site", "site", "main"),
    ("CVE-2026-14534-atexit", "atexit", "register"),
    ("CVE-2026-14535-dead-allow-list", "shutil", "rmtree"),
    ("torch-load", "torch.serialization", "load"),
    ("socket", "socket", "create_connection"),
    ("webbrowser", "webbrowser", "open"),
    ("urllib", "urllib.request", "urlretrieve"),
)

# Near the allowed names: the same module, a submodule, a parent, an attribute, another spelling.
LOOKALIKES = (
    ("numpy-load", "numpy", "load"),
    ("numpy-fromfile", "numpy", "fromfile"),
    ("numpy-memmap", "numpy", "memmap"),
    ("numpy-runstring", "numpy.testing._private.utils", "runstring"),
    ("numpy-scalar", "numpy.core.multiarray", "scalar"),
    ("numpy-reconstruct-of-another-module", "numpy.core", "_reconstruct"),
    ("numpy-reconstruct-of-numpy", "numpy", "_reconstruct"),
    ("numpy-core-dtype", "numpy.core.multiarray", "dtype"),
    ("numpy-dotted-name", "numpy", "core.multiarray._reconstruct"),
    ("numpy-submodule-in-name", "numpy", "f2py.crackfortran.getlincoef"),
    ("numpy-method", "numpy", "ndarray.tofile"),
    ("numpy-2-frombuffer", "numpy._core.numeric", "_frombuffer"),
    ("numpy-upper-case", "Numpy", "ndarray"),
    ("numpy-space", "numpy ", "ndarray"),
    ("numpy-zero-byte", "numpy\0", "ndarray"),
    ("numpy-newline", "numpy\n", "ndarray"),
    ("numpy-relative", ".numpy", "ndarray"),
    ("numpy-empty-name", "numpy", ""),
    ("empty-module", "", "ndarray"),
    ("main-anything", "__main__", "os"),
    ("main-dunder", "__main__", "QuantizedWeight8bit.__class__"),
    ("main-subclass", "__main__", "QuantizedWeight4bit"),
    ("ml-dtypes-other", "ml_dtypes", "float8_e4m3fn"),
    ("ml-dtypes-module", "ml_dtypes._finfo", "finfo"),
    ("ml-dtypes-attribute", "ml_dtypes", "bfloat16.__class__"),
    ("swapped", "ndarray", "numpy"),
    ("joined", "numpy.ndarray", "numpy.ndarray"),
)


def all_attacks() -> tuple[Attack, ...]:
    """Every attack, with names that differ."""
    found = (
        *_globals(),
        *_memo(),
        *_stack_global(),
        *_opcodes(),
        *_reduce(),
        *_build(),
        *_dtypes(),
        *_geometry(),
        *_scales(),
        *_structure(),
        *_giants(),
        *_other_formats(),
    )
    assert len({attack.name for attack in found}) == len(found)
    return found


def _attack(name: str, data: bytes, reason: str) -> Attack:
    return Attack(name=name, data=data, reason=reason)


def _globals() -> Iterator[Attack]:
    for name, module, attribute in CALLABLES + LOOKALIKES:
        function = named(module, attribute)
        reason = f"global {module!r} {attribute!r}"[:40]
        yield _attack(f"called/{name}", shard(call(function, text("x"))), reason)
        yield _attack(f"as-dtype/{name}", shard(array(kind=dtype(function))), reason)
    os_system = named("os", "system")
    for place, value in {
        "alone": os_system,
        "as-constructor": array(new=new_array(os_system)),
        "as-array-type": array(new=new_array(subtype=os_system)),
        "as-dtype-function": array(kind=dtype(function=os_system)),
        "as-class": quantised(cls=os_system),
        "as-payload": array(data=call(os_system, text("x"))),
        "as-dimension": array(pack(call(os_system, text("x")), integer(3))),
        "as-key": quantised(dictionary(call(os_system, text("x")), weight())),
        "before-a-valid-array": call(os_system, text("x")) + array(),
        "after-a-valid-array": array() + call(os_system, text("x")),
    }.items():
        yield _attack(f"global-{place}", shard(value), "global 'os' 'system'")
    homoglyph = named("n\u03c5mpy", "ndarray")
    yield _attack("homoglyph-module", shard(homoglyph), "plain ASCII")
    yield _attack("surrogate-module", shard(named("numpy\ud800", "ndarray")), "plain ASCII")


def _memo() -> Iterator[Attack]:
    forward = "remembered value"
    yield _attack("memo-forward", shard(b"h\x00" + array()), forward)
    yield _attack("memo-one-too-far", shard(array() + MEMOIZE + b"h\x01" + BUILD), forward)
    yield _attack("memo-giant-index", shard(b"j\xff\xff\xff\xff"), forward)
    yield _attack("memo-of-nothing", shard(MEMOIZE + array()), "too few operands")
    yield _attack("memo-of-a-mark", shard(integer(1) + MARK + MEMOIZE), "too few operands")
    # A scanner that numbers these differently takes a harmless string for the module (#14, #22).
    binput = text("os") + b"q\x00" + text("numpy") + MEMOIZE + b"h\x00" + text("system")
    yield _attack("memo-binput-against-memoize", shard(binput + STACK_GLOBAL), "opcode 71")
    yield _attack("memo-put", shard(text("os") + b"p0\n"), "opcode 70")
    yield _attack("memo-long-binput", shard(text("os") + b"r\x00\x00\x00\x00"), "opcode 72")
    yield _attack("memo-get", shard(text("os") + MEMOIZE + b"g0\n"), "opcode 67")
    swapped = text("system") + MEMOIZE + text("os") + MEMOIZE + b"h\x01h\x00" + STACK_GLOBAL
    yield _attack("memo-names-by-number", shard(swapped), "global 'os' 'system'")
    both = array(shape(2, 3), dtype(), raw(bytes(6)) + MEMOIZE)
    again = new_array() + MARK + integer(1) + shape(2, 3) + dtype() + FALSE + b"h\x00tb"
    pair = quantised(dictionary(text("weight"), both, text("scales"), again))
    yield _attack("memo-one-payload-twice", shard(pair), "one payload for two arrays")
    itself = dictionary(text("weight"), weight() + MEMOIZE, text("scales"), b"h\x00")
    yield _attack("memo-weight-is-its-scales", shard(quantised(itself)), "weight of int8")


def _stack_global() -> Iterator[Attack]:
    reason = "two literal strings"
    # CVE-2025-71325: a scanner that looks back for the operands finds none at position 0.
    yield _attack("STACK_GLOBAL-first", shard(STACK_GLOBAL), "too few operands")
    yield _attack("STACK_GLOBAL-one-operand", shard(text("os") + STACK_GLOBAL), "too few operands")
    for name, module, attribute in (
        ("integer", integer(0), text("system")),
        ("raw", raw(b"os"), raw(b"system")),
        ("none", NONE, NONE),
        ("tuple", pack(text("os")), text("system")),
        ("global", NDARRAY, text("tofile")),
        ("reduced", array(), text("tofile")),
        ("dictionary", EMPTY_DICT, text("system")),
        ("dtype", dtype(), text("newbyteorder")),
    ):
        yield _attack(
            f"STACK_GLOBAL-computed-{name}", shard(module + attribute + STACK_GLOBAL), reason
        )
    old = b"U\x02os" + b"U\x06system" + STACK_GLOBAL
    yield _attack("STACK_GLOBAL-binstring", shard(old), "opcode 55")
    long = b"X\x02\x00\x00\x00os" + text("system") + STACK_GLOBAL
    yield _attack("STACK_GLOBAL-binunicode", shard(long), "opcode 58")
    marked = text("os") + MARK + text("system") + STACK_GLOBAL
    yield _attack("STACK_GLOBAL-across-a-mark", shard(marked), "too few operands")


def _opcodes() -> Iterator[Attack]:
    refused = {
        "GLOBAL": b"cos\nsystem\n",
        "GLOBAL-allowed-name": b"cnumpy\nndarray\n",
        "INST": MARK + b"ios\nsystem\n",
        "OBJ": MARK + NDARRAY + b"o",
        "NEWOBJ_EX": QUANTISED + EMPTY_TUPLE + EMPTY_DICT + b"\x92",
        "EXT1": b"\x82\x01",
        "EXT2": b"\x83\x01\x00",
        "EXT4": b"\x84\x01\x00\x00\x00",
        "PERSID": b"Pos.system\n",
        "BINPERSID": text("os.system") + b"Q",
        "POP": array() + integer(1) + b"0",
        "POP_MARK": array() + MARK + integer(1) + b"1",
        "DUP": array() + b"2",
        "INT": b"I01\n",
        "LONG": b"L1L\n",
        "LONG1": b"\x8a\x01\x02",
        "LONG4": b"\x8b\x01\x00\x00\x00\x02",
        "FLOAT": b"F1.0\n",
        "BINFLOAT": b"G" + bytes(8),
        "STRING": b"S'os'\n",
        "BINSTRING": b"T\x02\x00\x00\x00os",
        "UNICODE": b"Vos\n",
        "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2) + b"os",
        "EMPTY_LIST": b"]",
        "LIST": MARK + b"l",
        "APPEND": b"]" + integer(1) + b"a",
        "APPENDS": b"](" + integer(1) + b"e",
        "DICT": MARK + b"d",
        "SETITEM": EMPTY_DICT + text("weight") + weight() + b"s",
        "EMPTY_SET": b"\x8f",
        "ADDITEMS": b"\x8f(" + integer(1) + b"\x90",
        "FROZENSET": MARK + b"\x91",
        "BYTEARRAY8": b"\x96" + struct.pack("<Q", 6) + bytes(6),
        "NEXT_BUFFER": b"\x97",
        "READONLY_BUFFER": b"\x98",
        "PROTO-again": b"\x80\x04" + array(),
        "PROTO-5-inside": b"\x80\x05" + array(),
        "unassigned": b"\xff",
        "zero": b"\x00",
    }
    for name, opcodes in refused.items():
        yield _attack(f"opcode-{name}", shard(opcodes), ": opcode ")


def _reduce() -> Iterator[Attack]:
    for name, function in {
        "ndarray": NDARRAY,
        "bfloat16": BFLOAT16,
        "class": QUANTISED,
        "array": array(),
        "dtype-object": dtype(),
        "string": text("os.system"),
        "tuple": EMPTY_TUPLE,
        "none": NONE,
    }.items():
        yield _attack(f"REDUCE-on-{name}", shard(call(function, text("x"))), "REDUCE on")
    for name, value in {
        "subtype": new_array(subtype=DTYPE),
        "subtype-string": new_array(subtype=text("numpy.memmap")),
        "shape": new_array(start=shape(5)),
        "shape-boolean": new_array(start=pack(FALSE)),
        "shape-empty": new_array(start=EMPTY_TUPLE),
        "shape-giant": new_array(start=shape(2**31 - 1, 2**31 - 1)),
        "code": new_array(code=raw(b"O")),
        "code-text": new_array(code=text("b")),
        "code-long": new_array(code=raw(b"bb")),
        "nothing": RECONSTRUCT + EMPTY_TUPLE + REDUCE,
        "no-tuple": RECONSTRUCT + text("x") + REDUCE,
        "dictionary": RECONSTRUCT + EMPTY_DICT + REDUCE,
    }.items():
        yield _attack(f"_reconstruct-{name}", shard(value), "_reconstruct with other arguments")
    for name, cls, arguments in (
        ("ndarray", NDARRAY, EMPTY_TUPLE),
        ("dtype", DTYPE, EMPTY_TUPLE),
        ("reconstruct", RECONSTRUCT, EMPTY_TUPLE),
        ("string", text("os"), EMPTY_TUPLE),
        ("argument", QUANTISED, pack(text("x"))),
        ("no-tuple", QUANTISED, text("x")),
        ("false", QUANTISED, FALSE),
    ):
        yield _attack(f"NEWOBJ-{name}", shard(quantised(cls=cls, arguments=arguments)), "NEWOBJ on")
    yield _attack("NEWOBJ-by-REDUCE", shard(quantised(new=REDUCE)), "REDUCE on")


def _build() -> Iterator[Attack]:
    # GHSA-mhc9-48gj-9gp3: a BUILD appended to a valid pickle sets attributes of the result.
    extra = dictionary(text("weight"), weight(), text("scales"), scales())
    for name, target in {
        "array-again": array(),
        "quantised-again": quantised(),
        "dtype-again": dtype(),
        "global": NDARRAY,
        "class": QUANTISED,
        "dictionary": EMPTY_DICT,
        "string": text("x"),
        "tuple": EMPTY_TUPLE,
    }.items():
        yield _attack(f"BUILD-on-{name}", shard(target + extra + BUILD), "BUILD on")
    again = array() + MARK + integer(1) + shape(2, 3) + dtype() + FALSE + raw(bytes(6)) + b"tb"
    yield _attack("BUILD-array-twice", shard(again), "BUILD on")

    reason = "another state of an array"
    for name, value in {
        "dictionary": new_array() + extra + BUILD,
        "none": new_array() + NONE + BUILD,
        "empty": new_array() + EMPTY_TUPLE + BUILD,
        "extra-item": array(extra=NONE),
        "slots": new_array() + pack(NONE, extra) + BUILD,
        "list-of-objects": array(data=pack(text("x"))),
        "text-as-payload": array(data=text("abcdef")),
        "dtype-not-built": array(kind=call(DTYPE, text("i1"), FALSE, TRUE)),
        "dtype-a-string": array(kind=text("i1")),
        "dtype-a-global": array(kind=BFLOAT16),
        "shape-not-a-tuple": array(integer(6)),
        "order-a-number": array(fortran=integer(0)),
    }.items():
        yield _attack(f"BUILD-array-{name}", shard(value), reason)
    yield _attack("BUILD-array-version-0", shard(array(version=integer(0))), "version 0")
    yield _attack("BUILD-array-version-true", shard(array(version=TRUE)), "version True")
    yield _attack("BUILD-array-fortran", shard(array(fortran=TRUE)), "Fortran order")

    for name, state in {
        "empty": EMPTY_DICT,
        "tuple": pack(NONE, extra),
        "array": array(),
        "none": NONE,
    }.items():
        yield _attack(f"BUILD-quantised-{name}", shard(quantised(state)), "a state of")
    w, s = text("weight") + weight(), text("scales") + scales()
    for name, items in {
        "weight-only": w,
        "scales-only": s,
        "swapped": s + w,
        "weight-twice": w + w,
        "third-key": w + s + text("__class__") + array(),
        "class": text("__class__") + array() + s,
        "reduce": text("__reduce__") + array() + s,
        "key-raw": raw(b"weight") + weight() + s,
        "key-a-number": integer(1) + weight() + s,
        "value-text": text("weight") + text("x") + s,
        "value-global": text("weight") + NDARRAY + s,
        "value-not-filled": text("weight") + new_array() + s,
        "scales-not-filled": w + text("scales") + new_array(),
        "scales-none": w + text("scales") + NONE,
        "nothing": b"",
        "odd": w + text("scales"),
    }.items():
        state = EMPTY_DICT + MARK + items + SETITEMS
        yield _attack(f"SETITEMS-{name}", shard(quantised(state)), "SETITEMS of")
    twice = dictionary(w, s) + MARK + w + s + SETITEMS
    yield _attack("SETITEMS-twice", shard(quantised(twice)), "SETITEMS of")
    yield _attack("SETITEMS-on-array", shard(array() + MARK + w + s + SETITEMS), "SETITEMS of")
    yield _attack("SETITEMS-no-mark", shard(EMPTY_DICT + SETITEMS), "needs a mark")


def _dtypes() -> Iterator[Attack]:
    codes = ("O", "O8", "V8", "f8", "f2", "i2", "i4", "u1", "b1", "c8", "S6", "U2", "M8", "", "|i1")
    for code in (*codes, "i1,O", "object", "\x1b]0;x\x07"):
        name = code.encode().hex() or "empty"
        yield _attack(f"dtype-{name}", shard(array(kind=dtype(text(code)))), "dtype '")
    for name, kind in {
        "ndarray": NDARRAY,
        "class": QUANTISED,
        "number": integer(1),
        "fields": pack(pack(text("f"), text("O"))),
        "raw": raw(b"i1"),
    }.items():
        yield _attack(
            f"dtype-of-{name}", shard(array(kind=dtype(kind))), "dtype with other arguments"
        )
    yield _attack("dtype-aligned", shard(array(kind=dtype(align=TRUE))), "dtype 'i1'")
    yield _attack("dtype-not-copied", shard(array(kind=dtype(copy=FALSE))), "dtype 'i1'")
    for name, state in {
        "big-endian": dtype_state(">"),
        "native": dtype_state("="),
        "little-endian": dtype_state("<"),
        "version-4": dtype_state(version=integer(4), extra=EMPTY_DICT),
        "version-true": dtype_state(version=TRUE),
        "subarray": dtype_state(subarray=pack(dtype(), shape(2))),
        "names": dtype_state(names=pack(text("f"))),
        "fields": dtype_state(fields=EMPTY_DICT),
        "size": dtype_state(size=8),
        "alignment": dtype_state(alignment=8),
        "object-flag": dtype_state(flags=63),
        "size-zero": dtype_state(size=0),
        "metadata": dtype_state(extra=EMPTY_DICT),
        "short": pack(integer(3), text("|")),
        "dictionary": EMPTY_DICT,
        "none": NONE,
    }.items():
        yield _attack(
            f"dtype-state-{name}", shard(array(kind=dtype(state=state))), "state of dtype int8"
        )
    for name, state in {
        "big-endian": dtype_state(">", size=2, alignment=2, flags=80),
        "flags": dtype_state("<", size=2, alignment=2, flags=63),
        "size": dtype_state("<", size=4, alignment=2, flags=80),
        "own": dtype_state("<"),
    }.items():
        value = array(kind=dtype(BFLOAT16, state=state))
        yield _attack(f"bfloat16-state-{name}", shard(value), "state of dtype bfloat16")


def _geometry() -> Iterator[Attack]:
    for name, dims, data in (
        ("payload-short", shape(2, 3), bytes(5)),
        ("payload-long", shape(2, 3), bytes(7)),
        ("payload-empty", shape(2, 3), b""),
        ("wraps-at-64-bits", shape(65536, 65536, 65536, 65536), b""),
        ("wraps-to-itself", shape(2**30, 2**30, 16, 1), b""),
        ("giant", shape(*[2**31 - 1] * 4), b"x"),
    ):
        yield _attack(f"geometry-{name}", shard(array(dims, data=raw(data))), "a payload of")
    for name, item in {
        "zero": integer(0),
        "negative": integer(-1),
        "most-negative": integer(-(2**31)),
        "boolean": TRUE,
        "none": NONE,
        "text": text("6"),
        "tuple": shape(6),
    }.items():
        value = array(pack(item, integer(3)), data=raw(b""))
        yield _attack(f"geometry-dimension-{name}", shard(value), "a dimension of")
    yield _attack("geometry-no-dimensions", shard(array(EMPTY_TUPLE)), "0 dimensions")
    yield _attack("geometry-five", shard(array(shape(1, 1, 1, 2, 3))), "5 dimensions")
    for name, kind in (("float32", float32()), ("bfloat16", bfloat16())):
        yield _attack(
            f"geometry-bytes-of-another-dtype-{name}", shard(array(kind=kind)), "a payload of 6"
        )


def _scales() -> Iterator[Attack]:
    def pair(first: bytes, second: bytes) -> bytes:
        return shard(quantised(dictionary(text("weight"), first, text("scales"), second)))

    def of(*dims: int) -> bytes:
        return array(shape(*dims), bfloat16(), raw(bytes(2 * int(np.prod(dims)))))

    for name, dims in {
        "rank-1": (3,),
        "rank-3": (1, 4, 3),
        "columns": (4, 2),
        "groups-do-not-divide": (3, 3),
        "more-groups-than-rows": (16, 3),
    }.items():
        yield _attack(f"scales-{name}", pair(weight(), of(*dims)), "scales of shape")
    cube = array(shape(2, 4, 3), dtype(), raw(bytes(24)))
    yield _attack("scales-other-experts", pair(cube, of(1, 4, 3)), "scales of shape")
    line = array(shape(6), dtype(), raw(bytes(6)))
    yield _attack("scales-of-a-vector", pair(line, of(6)), "scales of shape")
    wide = array(shape(8, 3), float32(), raw(bytes(96)))
    yield _attack("scales-of-float32-weight", pair(wide, scales()), "weight of float32")
    small = array(shape(4, 3), dtype(), raw(bytes(12)))
    yield _attack("scales-of-int8", pair(weight(), small), "scales of int8")


def _structure() -> Iterator[Attack]:
    valid = shard(array())
    yield _attack("two-pickles", valid + valid, "after the end of the pickle")
    system = shard(call(named("os", "system"), text("x")))
    yield _attack("second-pickle-hostile", valid + system, "after the end of the pickle")
    yield _attack("zero-after-STOP", valid + b"\0", "1 bytes after the end")
    yield _attack("STOP-after-STOP", valid + STOP, "1 bytes after the end")
    yield _attack("bytes-in-last-frame", shard(array() + STOP), "1 bytes after")
    yield _attack("two-values", shard(array() + array()), "2 values left")
    yield _attack("no-value", shard(b""), "0 values left")
    yield _attack("open-mark", shard(array() + MARK), "1 values left")
    yield _attack("no-STOP", valid[:-1], "a frame of")
    yield _attack("no-STOP-no-frame", b"\x80\x04" + array(), "outside of any frame")
    yield _attack("no-frame", b"\x80\x04" + array() + STOP, "outside of any frame")
    yield _attack("STOP-alone", b"\x80\x04.", "outside of any frame")
    yield _attack("payload-beyond-end", b"\x80\x04C\xffx", "a payload")
    yield _attack("empty", b"", "the file ends")
    yield _attack("one-byte", b"\x80", "the file ends")
    for version in (0, 1, 2, 3, 5, 6, 255):
        start = bytes([0x80, version])
        yield _attack(f"protocol-{version}", shard(array(), start=start), "pickle protocol 4")
    for protocol in (0, 1, 2, 3, 5):
        data = pickle.dumps(np.zeros((2, 3), np.int8), protocol=protocol)
        yield _attack(f"real-protocol-{protocol}", data, "pickle protocol 4")
    yield _attack("no-PROTO", valid[2:], "pickle protocol 4")
    body = array() + STOP
    start = b"\x80\x04"
    yield _attack("frame-too-long", start + frame(body, len(body) + 1), "a frame of")
    yield _attack("frame-too-short", start + frame(body, len(body) - 1), "outside of any frame")
    yield _attack("frame-splits-opcode", start + frame(body, 3), "reaches beyond its frame")
    full = array(shape(65536), data=raw(bytes(65536)))
    yield _attack("frame-full-without-STOP", start + frame(full) + STOP, "outside of any frame")
    yield _attack("frame-empty", start + frame(b"", 0) + body, "a frame of 0")
    yield _attack("frame-in-frame", start + frame(frame(body)), "a frame within a frame")
    yield _attack("frame-giant", start + frame(body, 2**64 - 1), "a frame of")
    for name, value in {
        "an-integer": integer(1),
        "a-string": text("x"),
        "a-tuple": pack(array()),
        "a-dtype": dtype(),
        "a-global": NDARRAY,
        "a-dictionary": dictionary(text("weight"), weight(), text("scales"), scales()),
        "raw-bytes": raw(bytes(6)),
        "an-empty-array": new_array(),
        "an-empty-pair": QUANTISED + EMPTY_TUPLE + NEWOBJ,
    }.items():
        yield _attack(f"root-{name}", shard(value), "a shard of")
    yield _attack("object-array", pickle.dumps(np.array([len]), protocol=4), "dtype 'O8'")


def _giants() -> Iterator[Attack]:
    many = 200_000
    yield _attack("giant-opcodes", shard(NONE * many), "values on the stack")
    yield _attack("giant-balanced", shard((text("x") + text("y") + b"0") * many), "opcode 30")
    pairs = (integer(0) + b"\x85") * 20 + array()
    yield _attack("giant-stack", shard(pairs * 20), "values on the stack | nested")
    busy = b"".join([EMPTY_TUPLE, *([MEMOIZE] * many)])
    yield _attack("giant-memo", shard(busy), "remembered values")
    yield _attack("giant-marks", shard(MARK * many), "open marks")
    yield _attack("deep-tuples", shard(EMPTY_TUPLE + b"\x85" * many), "nested more than")
    laughs = text("ha") + MEMOIZE
    for index in range(30):
        laughs += b"h" + bytes([index]) + b"h" + bytes([index]) + b"\x86" + MEMOIZE
    yield _attack("billion-laughs", shard(laughs), "nested more than")
    frames = b"\x80\x04" + frame(EMPTY_TUPLE + MEMOIZE) * 60_000 + STOP
    yield _attack("giant-frames", frames, "values on the stack")
    wide = (MARK + NONE * 20 + b"t") * 13
    yield _attack("giant-steps-in-flat-tuples", shard(wide), "more than 256 opcodes")
    short = EMPTY_TUPLE + MEMOIZE * 60 + (b"\x85" + b"h\x00" + b"\x86") * 200
    yield _attack("giant-steps", shard(short), "nested more than | more than 256 opcodes")
    yield _attack("giant-recall", shard(array() + b"".join([b"N"] * 300)), "values on the stack")
    for name, length in (("4G", 2**32 - 1), ("8E", 2**63), ("16E", 2**64 - 1)):
        value = b"\x80\x04" + b"\x8e" + struct.pack("<Q", length) + b"x"
        yield _attack(f"giant-payload-{name}", value, "a payload of")
    yield _attack("giant-BINBYTES", b"\x80\x04B\xff\xff\xff\xffx", "a payload of")
    yield _attack("giant-string", shard(text("x" * 255)), "a string of 255")


def _other_formats() -> Iterator[Attack]:
    """What a scanner skips for its name or container: the reader has one format and no other."""
    hostile = b"cos\nsystem\n(S'x'\ntR."
    # CVE-2025-1944, -1945, -10156: a ZIP whose names, flags or CRC make the scanner give up.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", hostile)
    plain = buffer.getvalue()
    crc = zlib.crc32(hostile).to_bytes(4, "little")
    renamed = plain.replace(b"archive/data.pkl", b"archive/data.txt", 1)
    flagged = bytearray(plain)
    flagged[6] |= 1
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3, np.int8))
    reason = "pickle protocol 4"
    for name, data in {
        "raw-protocol-0": hostile,
        "zip": plain,
        "zip-CVE-2025-1944-name": renamed,
        "zip-CVE-2025-1945-flag": bytes(flagged),
        "zip-CVE-2025-10156-crc": plain.replace(crc, b"\0\0\0\0"),
        "npy": buffer.getvalue(),
        "gzip": gzip.compress(shard(array())),
        "zlib": zlib.compress(shard(array())),
        "bz2": bz2.compress(shard(array())),
        "xz": lzma.compress(shard(array())),
        "7z": b"7z\xbc\xaf\x27\x1c" + bytes(64),
        "safetensors": struct.pack("<Q", 2) + b"{}",
        "gguf": b"GGUF" + bytes(64),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "elf": b"\x7fELF" + bytes(64),
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "terminal-escape": b"\x1b]0;owned\x07" * 8,
    }.items():
        yield _attack(f"format-{name}", data, reason)
    # A ZIP reader looks at the end of a file, a pickle reader at its start.
    yield _attack("polyglot-zip", shard(array(), after=plain), "after the end of the pickle")
