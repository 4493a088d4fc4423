"""Does a compiled program write weights to memory? Read out of the text of its optimised HLO.

A weight is int8 and should stay so: read once, widened in registers. What is looked for is an
instruction that the device runs (a fusion counts as one) and that writes an array as large as a
matrix, made of an int8 array as large without a sum on the way: a wider one is a dequantised
weight, one of int8 is a copy. What is summed is a product, however large, and no weight; what
happens inside a fusion or a custom kernel happens in registers. An update in place counts as what
is updated, not as the array around it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.$-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(
    r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.$-]+) = (?P<type>\(.*?\)|\S+) (?P<opcode>[\w-]+)"
    r"\((?P<operands>.*?)\)(?P<rest>.*)$"
)
_ARRAY = re.compile(r"(?P<dtype>[a-z]+[0-9]+[a-z0-9]*|pred)\[(?P<sizes>[0-9,]*)\]")
_REFERENCE = re.compile(r"%([\w.$-]+)")
_COMMENT = re.compile(r"/\*.*?\*/")
_RUNS = re.compile(
    r"(?:body|condition|to_apply|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%[\w.$-]+)"
)
_FUSED = re.compile(r"calls=%([\w.$-]+)")
_CONTROL = {"while", "conditional", "call"}
_SUMS = {"dot", "convolution", "reduce", "reduce-window", "custom-call"}
_NO_WRITE = {
    *_CONTROL,
    *_SUMS,
    "parameter",
    "bitcast",
    "tuple",
    "get-tuple-element",
    "constant",
    "optimization-barrier",
}

Array = tuple[str, int]
"""Element type and number of elements."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightWrite:
    """An instruction that writes a weight, or much of one, to memory.

    Attributes:
        name: The instruction's.
        dtype: What it writes; ``s8`` is a copy, anything else is a dequantised weight.
        elements: How many.
    """

    name: str
    dtype: str
    elements: int

    @property
    def widened(self) -> bool:
        """Whether the weight is written wider than it was."""
        return self.dtype not in ("s8", "u8", "s4", "u4")

    @property
    def nbytes(self) -> int:
        """Bytes written."""
        bits = int(re.sub(r"\D", "", self.dtype.split("e")[0]) or 8)
        return self.elements * bits // 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Instruction:
    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    argument: str
    rest: str
    root: bool


def weight_writes(text: str, least: int) -> list[WeightWrite]:
    """What writes an array of ``least`` elements or more that is made of int8 arrays as large.

    Args:
        text: Optimised HLO, as ``compiled.as_text()`` gives it.
        least: Elements of the smallest matrix that is looked for.
    """
    computations, entry = _parse(text)
    found = []
    for computation in sorted(_running(computations, entry)):
        around = computations[computation]
        for each in around.values():
            if each.opcode in _NO_WRITE:
                continue
            large = [
                any(dtype == "s8" and size >= least for dtype, size in _arrays(around, name))
                for name in each.operands
            ]
            for dtype, size in _moved(each, large, around, computations):
                if size >= least:
                    found.append(WeightWrite(name=each.name, dtype=dtype, elements=size))
    return found


def collectives(text: str) -> dict[str, int]:
    """How often each collective stands in the program; one in a loop's body counts once."""
    counts: dict[str, int] = {}
    computations, entry = _parse(text)
    for computation in _running(computations, entry):
        for each in computations[computation].values():
            name = each.opcode.removesuffix("-start")
            if name in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
                counts[name] = counts.get(name, 0) + 1
    return counts


def _parse(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    computations: dict[str, dict[str, _Instruction]] = {}
    current: dict[str, _Instruction] = {}
    entry = ""
    for line in text.splitlines():
        line = _COMMENT.sub("", line)
        if (head := _COMPUTATION.match(line)) is not None:
            current = computations.setdefault(head["name"], {})
            entry = head["name"] if head["entry"] else entry
        elif (match := _INSTRUCTION.match(line)) is not None:
            current[match["name"]] = _Instruction(
                name=match["name"],
                opcode=match["opcode"],
                arrays=tuple(_sizes(match["type"])),
                operands=tuple(_REFERENCE.findall(match["operands"])),
                argument=match["operands"],
                rest=match["rest"],
                root=bool(match["root"]),
            )
    if not entry:
        raise ValueError("the text has no ENTRY computation; expected optimised HLO")
    return computations, entry


def _running(computations: dict[str, dict[str, _Instruction]], entry: str) -> set[str]:
    """The entry, and every computation that control flow enters from it."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or name not in computations:
            continue
        found.add(name)
        for each in computations[name].values():
            if each.opcode in _CONTROL:
                for match in _RUNS.finditer(each.rest):
                    waiting += _REFERENCE.findall(match[1])
    return found


def _moved(
    each: _Instruction,
    large: list[bool],
    around: dict[str, _Instruction],
    computations: dict[str, dict[str, _Instruction]],
) -> Iterator[Array]:
    """Arrays that an instruction writes and that are made of its large operands without a sum."""
    fused = _FUSED.search(each.rest) if each.opcode == "fusion" else None
    if fused is None or fused[1] not in computations:
        operands = large[1:2] if each.opcode == "dynamic-update-slice" else large
        if any(operands):
            yield from _new(each, around)
        return
    inside = computations[fused[1]]
    (root,) = (one for one in inside.values() if one.root)
    for one in [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]:
        if _comes_from(one, large, inside):
            yield from _new(one, inside)


def _comes_from(each: _Instruction, large: list[bool], inside: dict[str, _Instruction]) -> bool:
    """Whether a value inside a fusion is made of a large parameter without a sum on the way."""
    seen: set[str] = set()
    waiting = [each.name]
    while waiting:
        one = inside[waiting.pop()]
        if one.name in seen or one.opcode in _SUMS:
            continue
        seen.add(one.name)
        if one.opcode == "parameter" and large[int(one.argument)]:
            return True
        updated = one.operands[1:2] if one.opcode == "dynamic-update-slice" else one.operands
        waiting += [name for name in updated if name in inside]
    return False


def _new(each: _Instruction, around: dict[str, _Instruction]) -> tuple[Array, ...]:
    while each.opcode == "bitcast" and each.operands[0] in around:
        each = around[each.operands[0]]
    if each.opcode == "dynamic-update-slice":
        return _arrays(around, each.operands[1])
    return each.arrays


def _arrays(instructions: dict[str, _Instruction], name: str) -> tuple[Array, ...]:
    return instructions[name].arrays if name in instructions else ()


def _sizes(text: str) -> Iterator[Array]:
    for match in _ARRAY.finditer(text):
        sizes = [int(size) for size in match["sizes"].split(",") if size]
        yield match["dtype"], math.prod(sizes)
