"""All other members as one source: brings the ranges that some member has.

Each request goes to the member that has the bytes and least to do; one that fails, or drips, is
left alone for a while. Of what each member delivered a digest is kept (BLAKE2b: about 1 GB/s on
any processor), so that when a file proves wrong and is then had right from the origin, the member
whose bytes differ is known for certain and not asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.part import Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.share.acquaintance import Acquaintance
from grokdist.transfer.share.allotment import Allotment
from grokdist.transfer.share.client import BusyError
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.members import Member, Members
from grokdist.transfer.share.ownership import meet
from grokdist.transfer.share.shelf import Shelf
from grokdist.transfer.stop import Stop

NAME = "share"
_MOST = 16 << 20
_LEAST = 1 << 20
_BLOCK = 1 << 20
_DIGEST = 16
_GRACE_S = 5.0
_SLOWEST = 256 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """Bytes that a member delivered.

    Attributes:
        member: its id.
        start: the first byte.
        end: the byte after the last.
        digest: BLAKE2b of the bytes.
    """

    member: str
    start: int
    end: int
    digest: bytes


class PeerSource:
    """The members of a share, as one source of the fetch.

    Args:
        content: the files of the share.
        members: who has what.
        acquaintance: the connections to them.
        allotment: told when a file is in doubt, and asked.
        shelf: what is here; a file that proved right is read again from there.
        slots: ranges at once.
    """

    name = NAME
    kind = SourceKind.HTTPS
    secondhand = True

    def __init__(
        self,
        content: Content,
        members: Members,
        acquaintance: Acquaintance,
        allotment: Allotment,
        shelf: Shelf,
        *,
        slots: int,
    ) -> None:
        self.slots = slots
        self._content = content
        self._members = members
        self._acquaintance = acquaintance
        self._allotment = allotment
        self._shelf = shelf
        self._lock = threading.Lock()
        self._deliveries: dict[int, list[Delivery]] = {}

    @property
    def peers(self) -> int | None:
        """Members that answer."""
        return len(self._members.live)

    def offers(self, entry: FileEntry) -> bool:
        """True for the files of the share: any member may have them sooner or later."""
        return self._content.number(entry) is not None

    def pick(self, entry: FileEntry, missing: Sequence[Range]) -> Range | None:
        """The first missing range that a member has; see ``Source.pick``."""
        number = self._content.number(entry)
        if number is None:
            return None
        if not self._members.know(number):
            return missing[0] if self._allotment.hopeless else None
        chunk = self._content.chunk
        for start, end in meet(missing, self._members.offered(number, self._suspects(number))):
            # Crumbs are left until there is more, or no more to come.
            if end - start >= _LEAST or end % chunk == 0 or any(end == high for _, high in missing):
                return start, min(end, start + _MOST)
        if self._allotment.hopeless:
            return missing[0]
        return None

    def lets_go(self, entry: FileEntry, at: int) -> int:
        """Any byte; see ``Source.lets_go``."""
        return at

    def hold(self, rate: int) -> None:
        """Nothing: the engine holds up each stream; see ``Source.hold``."""

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Bring a range from those who have it; see ``Source.fetch``."""
        number = self._content.by_path[entry.path]
        while segment.remaining and not stop.is_set():
            suspects = self._suspects(number)
            chosen = self._members.choose(number, segment.offset, segment.end, suspects)
            if chosen is None:
                if self._allotment.hopeless:
                    self._allotment.forgo()
                    raise SourceError(
                        "no other machine has what is missing", source=NAME, permanent=True
                    )
                # That a member went away is no failure of the others: somebody will have it.
                segment.give_up(segment.offset)
                return
            member, upto = chosen
            ok = True
            try:
                self._bring(number, member, upto, segment, stop)
            except SourceError:
                ok = stop.is_set()
            finally:
                self._members.served(member, ok=ok)

    def close(self) -> None:
        """Nothing: the share goes on for the other members."""

    def doubt(self, path: str) -> None:
        """A file proved wrong, or bytes of it did."""
        number = self._content.by_path.get(path)
        if number is not None:
            with self._lock:
                delivered = bool(self._deliveries.get(number))
            if delivered:
                self._allotment.doubt(number)

    def judge(self, path: str) -> None:
        """A file proved right: whoever delivered other bytes of it is banned."""
        number = self._content.by_path.get(path)
        if number is None:
            return
        with self._lock:
            deliveries = self._deliveries.pop(number, [])
        if not deliveries or not self._allotment.doubted(number):
            return
        fd = self._shelf.open(number, 0, self._content.files[number].size)
        if fd is None:
            return
        try:
            liars = {
                delivery.member
                for delivery in deliveries
                if _digest_on_disk(fd, delivery.start, delivery.end) != delivery.digest
            }
        finally:
            os.close(fd)
        for liar in sorted(liars):
            self._members.ban(liar, f"delivered wrong bytes of {path}")

    def _suspects(self, number: int) -> frozenset[str]:
        """Who delivered bytes of a file that proved wrong."""
        if not self._allotment.doubted(number):
            return frozenset()
        with self._lock:
            return frozenset(each.member for each in self._deliveries.get(number, ()))

    def _bring(self, number: int, member: Member, upto: int, segment: Segment, stop: Stop) -> None:
        """Take bytes from one member, as far as it has them and the segment goes."""
        client = self._acquaintance.client(member.address)
        start = at = segment.offset
        hasher = hashlib.blake2b(digest_size=_DIGEST)
        deadline = time.monotonic() + _GRACE_S
        blocks = client.read(number, start, min(upto, segment.end), stop)
        try:
            with contextlib.closing(blocks):
                for block in blocks:
                    hasher.update(block)
                    at += len(block)
                    self._allotment.moving()
                    segment.append(block)
                    if not segment.remaining or stop.is_set():
                        break
                    if time.monotonic() > deadline + (at - start) / _SLOWEST:
                        raise SourceError("drips", source=client.name)
        except BusyError:
            if at == start:
                raise
        finally:
            if at > start:
                digest = hasher.digest()
                delivery = Delivery(member=member.id, start=start, end=at, digest=digest)
                with self._lock:
                    self._deliveries.setdefault(number, []).append(delivery)


def _digest_on_disk(fd: int, start: int, end: int) -> bytes:
    hasher = hashlib.blake2b(digest_size=_DIGEST)
    while start < end:
        data = os.pread(fd, min(_BLOCK, end - start), start)
        if not data:
            break
        hasher.update(data)
        start += len(data)
    return hasher.digest()
