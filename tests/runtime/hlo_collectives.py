"""The collectives of a compiled program, and the loops they stand in, read from its HLO text."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_COLLECTIVE = re.compile(
    r" = (?P<result>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast|ragged-all-to-all)(?:-start)?\("
)
_CALLED = re.compile(r"(\w+)=(?:%([\w.-]+)|\{(%[^}]*)\})")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
# Three ways to write groups of devices: listed, counted, or along named axes of a mesh.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """One instruction that devices must do together.

    Attributes:
        kind: ``all-reduce``, ``all-gather`` and so on.
        arrays: Dtype and shape of each result; several where XLA has joined some into one.
        devices: How many do it together; 0 where the text does not say.
        loops: Trips of each loop around it, the outer one first; -1 where XLA cannot tell.
    """

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    devices: int
    loops: tuple[int, ...]


def collectives(hlo: str) -> list[Collective]:
    """All that a program comes by; those of a computation that is called, once for each call."""
    computations: dict[str, list[str]] = {}
    entry = current = ""
    for line in hlo.splitlines():
        if (match := _COMPUTATION.match(line)) is not None:
            current = match[2]
            computations[current] = []
            entry = current if match[1] else entry
        elif line.startswith("  "):
            computations[current].append(line)
    return list(_walk(computations, entry, ()))


def _walk(
    computations: dict[str, list[str]], name: str, loops: tuple[int, ...]
) -> Iterator[Collective]:
    for line in computations[name]:
        if (match := _COLLECTIVE.search(line)) is not None:
            arrays = tuple(
                (dtype, tuple(int(size) for size in shape.split(",") if size))
                for dtype, shape in _ARRAY.findall(match["result"])
            )
            yield Collective(
                kind=match["kind"], arrays=arrays, devices=_group_size(line), loops=loops
            )
        trips = _TRIPS.search(line)
        for how, one, several in _CALLED.findall(line):
            inner = loops
            if how in ("body", "condition"):
                inner = (*loops, int(trips[1]) if trips else -1)
            for called in [one] if one else re.findall(r"%([\w.-]+)", several):
                if called in computations:
                    yield from _walk(computations, called, inner)


def _group_size(line: str) -> int:
    if (match := _LISTED.search(line)) is not None:
        return len(match[1].split(","))
    if (match := _COUNTED.search(line)) is not None:
        return int(match[1])
    if (match := _NAMED.search(line)) is not None:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
    return 0
