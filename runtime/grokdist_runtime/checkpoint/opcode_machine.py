"""Steps through the pickle opcodes of one shard, one at a time, without running any of it.

28 opcodes of protocol 4 are known; everything else ends the reading. What REDUCE, NEWOBJ, SETITEMS
and BUILD may do is said in ``allow_list``. Payloads are stepped over, so the work is bounded by
the budgets below whatever the file's size. Nothing from Python's ``pickle`` is used.

Source: PEP 3154 and the opcode descriptions in CPython's ``pickletools``.
"""

from __future__ import annotations

from collections.abc import Callable

from grokdist_runtime.checkpoint import allow_list
from grokdist_runtime.checkpoint.allow_list import Payload, QuantisedWeight, State, kind
from grokdist_runtime.checkpoint.refusal import Refusal, printable
from grokdist_runtime.checkpoint.shard_file import StructureReader

MAX_OPCODES = 256
"""Opcodes in one shard; the release's layout has 131 at most."""

MAX_MEMO = 64
"""Remembered values in one shard; the release's layout has 40."""

MAX_STACK = 32
"""Values on the stack at once; the release's layout has 17."""

MAX_MARKS = 4
"""Open marks at once; the release's layout has 3."""

MAX_TUPLE_DEPTH = 3
"""How deep tuples may nest; the release's layout has 2."""

MAX_STRING = 64
"""Bytes in one string; the longest in the release's layout has 22."""

# The pickler closes a frame that has reached 64 KiB, and puts everything into frames but a payload
# of this length, and at most three bytes that are left between a full frame and such a payload.
_FULL_FRAME = 64 * 1024
_UNFRAMED_PAYLOAD = _FULL_FRAME + 5  # with its opcode and length
_UNFRAMED_BYTES = 3

# Names for the message alone: these are refused like any other unknown byte.
_REFUSED = {
    b"0": "POP",
    b"1": "POP_MARK",
    b"2": "DUP",
    b"F": "FLOAT",
    b"I": "INT",
    b"L": "LONG",
    b"P": "PERSID",
    b"Q": "BINPERSID",
    b"S": "STRING",
    b"T": "BINSTRING",
    b"U": "SHORT_BINSTRING",
    b"V": "UNICODE",
    b"X": "BINUNICODE",
    b"a": "APPEND",
    b"c": "GLOBAL",
    b"d": "DICT",
    b"e": "APPENDS",
    b"g": "GET",
    b"i": "INST",
    b"l": "LIST",
    b"o": "OBJ",
    b"p": "PUT",
    b"q": "BINPUT",
    b"r": "LONG_BINPUT",
    b"s": "SETITEM",
    b"]": "EMPTY_LIST",
    b"G": "BINFLOAT",
    b"\x80": "a second PROTO",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
    b"\x8a": "LONG1",
    b"\x8b": "LONG4",
    b"\x8d": "BINUNICODE8",
    b"\x8f": "EMPTY_SET",
    b"\x90": "ADDITEMS",
    b"\x91": "FROZENSET",
    b"\x92": "NEWOBJ_EX",
    b"\x96": "BYTEARRAY8",
    b"\x97": "NEXT_BUFFER",
    b"\x98": "READONLY_BUFFER",
}


class OpcodeMachine:
    """The stack, the memo and the frame of one shard.

    Attributes:
        opcode_offset: where the opcode being looked at stands, for the error message.
    """

    def __init__(self, reader: StructureReader) -> None:
        self.opcode_offset = 0
        self._reader = reader
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: list[object] = []
        self._frame_end = 0
        self._frame_length = 0
        self._unframed = 0
        self._opcodes: dict[bytes, Callable[[], None]] = {
            b"(": self._mark,
            b"\x94": self._memoize,
            b"h": lambda: self._recall(self._number(1)),
            b"j": lambda: self._recall(self._number(4)),
            b"\x8c": self._string,
            b"\x93": self._global,
            b"K": lambda: self._push(self._number(1)),
            b"M": lambda: self._push(self._number(2)),
            b"J": lambda: self._push(self._number(4, signed=True)),
            b"C": lambda: self._payload(self._number(1)),
            b"B": lambda: self._payload(self._number(4)),
            b"\x8e": lambda: self._payload(self._number(8)),
            b"N": lambda: self._push(None),
            b"\x88": lambda: self._push(True),
            b"\x89": lambda: self._push(False),
            b")": lambda: self._push(()),
            b"t": lambda: self._tuple(self._pop_mark()),
            b"\x85": lambda: self._tuple(self._pop(1)),
            b"\x86": lambda: self._tuple(self._pop(2)),
            b"\x87": lambda: self._tuple(self._pop(3)),
            b"}": lambda: self._push(State()),
            b"u": self._set_items,
            b"R": self._reduce,
            b"\x81": self._new_object,
            b"b": self._build,
        }

    def run(self) -> object:
        """Step to STOP, which must be the file's last byte; returns the one value left.

        Raises:
            Refusal: anything the layout does not have; ``opcode_offset`` says where.
        """
        start = self._reader.take(2)
        if start != b"\x80\x04":
            raise Refusal(f"the file starts with {printable(start)}", "pickle protocol 4, 80 04")
        for _ in range(MAX_OPCODES):
            self.opcode_offset = self._reader.position
            framed = self._reader.position < self._frame_end
            code = self._reader.take(1)
            step = self._opcodes.get(code)
            if code == b"\x95":
                self._frame(framed)
            elif code == b".":
                self._check_frame(framed)
                return self._stop()
            elif step is None:
                name = f" ({_REFUSED[code]})" if code in _REFUSED else ""
                raise Refusal(f"opcode {code.hex()}{name}", "one that the layout uses")
            else:
                step()
                self._check_frame(framed)
                self._check_limits()
        raise Refusal(f"more than {MAX_OPCODES} opcodes", f"at most {MAX_OPCODES}")

    def _stop(self) -> object:
        left = self._reader.size - self._reader.position
        if left:
            raise Refusal(f"{left} bytes after the end of the pickle", "none")
        if len(self._stack) != 1 or self._marks:
            raise Refusal(f"{len(self._stack)} values left at the end", "one")
        return self._stack[0]

    def _check_limits(self) -> None:
        if len(self._stack) > MAX_STACK:
            raise Refusal(f"{len(self._stack)} values on the stack", f"at most {MAX_STACK}")
        if len(self._marks) > MAX_MARKS:
            raise Refusal(f"{len(self._marks)} open marks", f"at most {MAX_MARKS}")
        if len(self._memo) > MAX_MEMO:
            raise Refusal(f"{len(self._memo)} remembered values", f"at most {MAX_MEMO}")

    def _frame(self, framed: bool) -> None:
        length = self._number(8)
        left = self._reader.size - self._reader.position
        if framed:
            raise Refusal("a frame within a frame", "one after the other")
        if not 0 < length <= left:
            raise Refusal(f"a frame of {length} bytes", f"1 to the {left} left in the file")
        self._frame_end = self._reader.position + length
        self._frame_length = length

    def _check_frame(self, framed: bool) -> None:
        """Check that the opcode just taken lies where the pickler would have put it."""
        if framed:
            if self._reader.position > self._frame_end:
                raise Refusal("an opcode that reaches beyond its frame", "one within its frame")
            return
        length = self._reader.position - self.opcode_offset
        self._unframed = 0 if length >= _UNFRAMED_PAYLOAD else self._unframed + length
        allowed = _UNFRAMED_BYTES if self._frame_length >= _FULL_FRAME else 0
        if self._unframed > allowed or self._reader.position == self._reader.size:
            raise Refusal("an opcode outside of any frame", "a frame around it")

    def _number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._reader.take(size), "little", signed=signed)

    def _string(self) -> None:
        length = self._number(1)
        if length > MAX_STRING:
            raise Refusal(f"a string of {length} bytes", f"at most {MAX_STRING}")
        text = self._reader.take(length)
        if not text.isascii():
            raise Refusal(f"the string {printable(text)}", "plain ASCII")
        self._push(text.decode("ascii"))

    def _payload(self, length: int) -> None:
        if length == 1:
            offset = self._reader.position
            placeholder = self._reader.take(1) == b"b"
            self._push(Payload(offset=offset, length=1, placeholder=placeholder))
        else:
            offset = self._reader.skip(length)
            self._push(Payload(offset=offset, length=length, placeholder=False))

    def _memoize(self) -> None:
        self._memo.append(self._top())

    def _recall(self, index: int) -> None:
        if index >= len(self._memo):
            raise Refusal(
                f"remembered value {index}", f"one of the {len(self._memo)} there are so far"
            )
        self._push(self._memo[index])

    def _tuple(self, items: list[object]) -> None:
        value = tuple(items)
        if _depth(value) > MAX_TUPLE_DEPTH:
            raise Refusal(
                f"tuples nested more than {MAX_TUPLE_DEPTH} deep", f"at most {MAX_TUPLE_DEPTH}"
            )
        self._push(value)

    def _global(self) -> None:
        module, name = self._pop(2)
        self._push(allow_list.find_global(module, name))

    def _reduce(self) -> None:
        function, arguments = self._pop(2)
        self._push(allow_list.reduce(function, arguments))

    def _new_object(self) -> None:
        cls, arguments = self._pop(2)
        self._push(allow_list.new_object(cls, arguments))

    def _build(self) -> None:
        (state,) = self._pop(1)
        allow_list.build(self._top(), state)

    def _set_items(self) -> None:
        items = self._pop_mark()
        allow_list.set_items(self._top(), items)

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _top(self) -> object:
        self._require(1)
        return self._stack[-1]

    def _pop(self, count: int) -> list[object]:
        self._require(count)
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _require(self, count: int) -> None:
        # An opcode's operands lie above the last mark, as in CPython.
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) - floor < count:
            raise Refusal("an opcode with too few operands", f"{count} on the stack")

    def _pop_mark(self) -> list[object]:
        if not self._marks:
            raise Refusal("an opcode that needs a mark", "a mark before it")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values


def root_value(machine: OpcodeMachine) -> allow_list.Array | QuantisedWeight:
    """Run a machine to its end; the shard's one value, complete.

    Raises:
        Refusal: it is anything but an array or a quantised weight, or is not complete.
    """
    value = machine.run()
    match value:
        case allow_list.Array(payload=Payload()):
            return value
        case QuantisedWeight(weight=allow_list.Array(), scales=allow_list.Array()):
            return value
    raise Refusal(f"a shard of {kind(value)} or one never filled", "an array or quantised weight")


def _depth(value: object) -> int:
    """Tuples within tuples; the parts were each limited when they were made."""
    if not isinstance(value, tuple):
        return 0
    return 1 + max((_depth(item) for item in value), default=0)
