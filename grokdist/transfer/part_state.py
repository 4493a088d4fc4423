"""What is known of a part, kept beside it so that another process can go on.

The state file has four slots with a checksum each, each written in one write: two in turn for what
a killed process leaves, and two in turn for what a power cut does. The one before is whole
whatever happens to the one being written, and what was synced is touched by nothing that was not.
A slot says which ranges were written,
by which source, and which of them were synced to the disk; and it has the state of the SHA-256 of
the file's beginning. It is a record, not a proof: whoever may write it may write the part, and
the digest of the whole file is compared with the manifest's in any case.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import Any

from grokdist.errors import UnsafePathError
from grokdist.transfer.boot import boot_id
from grokdist.transfer.ranges import RangeMap
from grokdist.transfer.tree import ModelTree
from grokdist.trust.resumable_sha256 import Sha256State

_SLOT = 16_384
_SLOTS = 4
_DURABLE, _VOLATILE = (0, 1), (2, 3)
_SUM = 32
_MAX_NAME = 512


@dataclass(frozen=True, kw_only=True)
class Written:
    """Bytes that are here.

    Attributes:
        ranges: where they are, and which source brought them.
        state: the hash of the file's beginning, as far as it was taken.
    """

    ranges: RangeMap = field(default_factory=RangeMap)
    state: Sha256State | None = None


@dataclass(frozen=True, kw_only=True)
class PartState:
    """What one slot says.

    Attributes:
        digest: what the file is to be; a part of another content is of no use.
        size: bytes of the whole file.
        written: what was written; good while the machine runs.
        synced: what was on the disk for certain.
        boot: the run of the machine in which it was written.
    """

    digest: str
    size: int
    written: Written
    synced: Written
    boot: str

    @property
    def usable(self) -> Written:
        """What this process may build on."""
        return self.written if self.boot and self.boot == boot_id() else self.synced


class StateFile:
    """The state file of one part, held open.

    Args:
        tree: the model directory.
        name: path of the state file in it.
    """

    def __init__(self, tree: ModelTree, name: str) -> None:
        self._tree = tree
        self._name = name
        self._sequence = 0
        self._turn = {True: _DURABLE[0], False: _VOLATILE[0]}
        self._fd = -1
        self._here = True
        self._anew = False

    def load(self) -> PartState | None:
        """The newest whole slot; None where there is none, or it makes no sense.

        Raises:
            UnsafePathError: something else than a regular file stands there.
        """
        found = _read(self._tree, self._name)
        self._here = found is not None
        data = found or b""
        slots = [_parse(data[place * _SLOT : (place + 1) * _SLOT]) for place in range(_SLOTS)]
        ages = [-1 if slot is None else slot[0] for slot in slots]
        self._turn = {
            durable: min(pair, key=ages.__getitem__)
            for durable, pair in ((True, _DURABLE), (False, _VOLATILE))
        }
        newest = max(slots, key=lambda slot: -1 if slot is None else slot[0])
        if newest is None:
            return None
        self._sequence, state = newest
        return state

    def save(self, state: PartState, *, durable: bool = False) -> None:
        """Write the next slot.

        Args:
            state: what to write.
            durable: return only when it is on the disk.

        Raises:
            OSError: the disk refused.
        """
        self._open()
        self._sequence += 1
        body = _body(self._sequence, state)
        place = self._turn[durable]
        self._turn[durable] = place ^ 1
        os.pwrite(self._fd, body, _SLOT * place)
        if durable:
            os.fsync(self._fd)

    def reserve(self) -> None:
        """Take room on the disk now: when it is full, what is here must still be noted.

        Raises:
            OSError: the disk is full already, or refused.
        """
        self._open()
        size = os.fstat(self._fd).st_size
        if size < _SLOTS * _SLOT:
            os.pwrite(self._fd, bytes(_SLOTS * _SLOT - size), size)

    def _open(self) -> None:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if self._anew else 0)
            self._fd = self._tree.open(self._name, flags, create_folders=True)
            self._here = True
            self._anew = False

    def forget(self) -> None:
        """Begin without what an earlier process left, once there is something to note."""
        self._here, self._anew = False, True

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.close()
        if self._here:
            self._tree.remove(self._name)
            self._here = False

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_state(tree: ModelTree, name: str) -> PartState | None:
    """Read a state file without keeping it open; anything unusable is None."""
    with contextlib.suppress(UnsafePathError):
        return StateFile(tree, name).load()
    return None


def _read(tree: ModelTree, name: str) -> bytes | None:
    try:
        fd = tree.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.pread(fd, _SLOTS * _SLOT, 0)
    finally:
        os.close(fd)


def _body(sequence: int, state: PartState) -> bytes:
    document = {
        "sequence": sequence,
        "digest": state.digest,
        "size": state.size,
        "boot": state.boot,
        "written": _document(state.written),
        "synced": _document(state.synced),
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    if len(text) > _SLOT - _SUM:
        # More ranges than fit: what is left out is fetched again.
        half = replace(state, written=_shortened(state.written), synced=_shortened(state.synced))
        return _body(sequence, half)
    text = text.ljust(_SLOT - _SUM)
    return hashlib.sha256(text).digest() + text


def _shortened(written: Written) -> Written:
    kept = list(written.ranges)
    return replace(written, ranges=RangeMap(kept[: len(kept) // 2]))


def _document(written: Written) -> dict[str, object]:
    names: dict[str, int] = {}
    rows = [
        (start, end, names.setdefault(label[:_MAX_NAME], len(names)))
        for start, end, label in written.ranges
    ]
    state = written.state
    return {
        "sources": list(names),
        "ranges": rows,
        "sha256": None if state is None else [state.offset, state.value.hex()],
    }


def _parse(slot: bytes) -> tuple[int, PartState] | None:
    if len(slot) != _SLOT or hashlib.sha256(slot[_SUM:]).digest() != slot[:_SUM]:
        return None
    try:
        document = json.loads(slot[_SUM:])
        size = document["size"]
        if not isinstance(size, int) or size < 0:
            raise ValueError
        state = PartState(
            digest=str(document["digest"]),
            size=size,
            boot=str(document["boot"]),
            written=_written(document["written"], size),
            synced=_written(document["synced"], size),
        )
        return int(document["sequence"]), state
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
        return None


def _written(document: dict[str, Any], size: int) -> Written:
    names = [str(name) for name in document["sources"]]
    ranges = RangeMap()
    for row in document["ranges"]:
        start, end, number = (int(each) for each in row)
        if not 0 <= start < end <= size:
            raise ValueError
        ranges.add(start, end, names[number])
    state = None
    if document["sha256"] is not None:
        offset, value = document["sha256"]
        state = Sha256State(offset=int(offset), value=bytes.fromhex(value))
        if state.offset > ranges.contiguous(0):
            state = None
    return Written(ranges=ranges, state=state)
