"""What a member says of itself: which bytes it has now and which it is about to take.

One JSON document. Files are numbers in ``Content.files``, which both sides number alike. A
document is either whole or says only what changed since the cursor that was asked for, so that
it stays small with 10,000 files. Whatever comes from another machine is checked here, and what
is believed is bounded: a member that lies here costs time, never a wrong byte.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grokdist.errors import SourceError
from grokdist.transfer.ranges import Range
from grokdist.transfer.share.content import Content

MAX_STATUS = 16 << 20
MAX_PEERS = 256
_MAX_RANGES = 4096
_MAX_TAKINGS = 256
_ID = re.compile(r"[0-9a-f]{32}")

Address = tuple[str, int]
Taken = tuple[int, int, int]
"""Number of the file, first byte, byte after the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What a member says of itself.

    Attributes:
        member: its id, 32 hex digits, new with every start.
        port: where it listens.
        cursor: what to ask with next time.
        whole: True where what is not listed is not there; False where it is unchanged.
        files: ranges by number of the file; these it brought from the origin itself, or proved.
        takings: ranges that it is bringing from the origin.
        skips: files that it neither has nor wants; None where unchanged.
        complete: it has all it wants.
        able: it has an origin that works.
        idle: it has no chunk of its own left to take.
        uploads: requests that it is serving.
        peers: other members that it knows.
    """

    member: str
    port: int
    cursor: int
    whole: bool
    files: Mapping[int, tuple[Range, ...]] = field(default_factory=dict)
    takings: Sequence[Taken] = ()
    skips: frozenset[int] | None = None
    complete: bool = False
    able: bool = True
    idle: bool = False
    uploads: int = 0
    peers: Sequence[Address] = ()

    def to_json(self) -> bytes:
        """The document."""
        document = {
            "member": self.member,
            "port": self.port,
            "cursor": self.cursor,
            "whole": self.whole,
            "files": [
                [number, *(edge for pair in ranges for edge in pair)]
                for number, ranges in self.files.items()
            ],
            "takings": [list(each) for each in self.takings],
            "skips": None if self.skips is None else sorted(self.skips),
            "complete": self.complete,
            "able": self.able,
            "idle": self.idle,
            "uploads": self.uploads,
            "peers": [list(each) for each in self.peers],
        }
        return json.dumps(document, separators=(",", ":")).encode()


def parse_status(data: bytes, content: Content) -> Status:
    """Read a document.

    Raises:
        SourceError: it is not one, or speaks of files or bytes that the share has not got.
    """
    try:
        document = json.loads(data)
        return _status(document, content)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise SourceError(f"sent a status that makes no sense ({error})", source="share") from None


def _status(document: Any, content: Content) -> Status:
    if not isinstance(document, dict):
        raise TypeError("no object")
    sizes = content.files
    member = document["member"]
    if not isinstance(member, str) or not _ID.fullmatch(member):
        raise ValueError("no member id")
    rows = _list(document["files"], len(sizes))
    files = {}
    for row in rows:
        number = _whole(row[0], len(sizes))
        files[number] = _ranges(row[1:], sizes[number].size)
    takings = []
    for number, start, end in _list(document["takings"], _MAX_TAKINGS):
        size = sizes[_whole(number, len(sizes))].size
        takings.append((number, *_ranges([start, end], size)[0]))
    skips = document["skips"]
    if skips is not None:
        skips = frozenset(_whole(each, len(sizes)) for each in _list(skips, len(sizes)))
    return Status(
        member=member,
        port=_whole(document["port"], 65536),
        cursor=_whole(document["cursor"], 1 << 62),
        whole=_flag(document["whole"]),
        files=files,
        takings=takings,
        skips=skips,
        complete=_flag(document["complete"]),
        able=_flag(document["able"]),
        idle=_flag(document["idle"]),
        uploads=_whole(document["uploads"], 1 << 20),
        peers=[_address(each) for each in _list(document["peers"], MAX_PEERS)],
    )


def _ranges(edges: list[Any], size: int) -> tuple[Range, ...]:
    if len(edges) % 2 or len(edges) > 2 * _MAX_RANGES:
        raise ValueError("ranges are pairs")
    numbers = [_whole(edge, size + 1) for edge in edges]
    if any(low >= high for low, high in itertools.pairwise(numbers)):
        raise ValueError("ranges are not in order")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _address(value: Any) -> Address:
    """An address as others saw it: numbers only, and none of the open network."""
    host, port = value
    if not isinstance(host, str) or ipaddress.ip_address(host).is_global:
        raise ValueError("an address of the open network")
    return host, _whole(port, 65536)


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"expected a list of at most {most}")
    return value


def _whole(value: Any, below: int) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise ValueError(f"expected a number below {below}")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("expected true or false")
    return value
