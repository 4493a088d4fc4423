"""Which bytes this machine takes from the origin now.

The rules, so that each byte leaves the origin about once and nobody waits for anybody:

1. What a member has is taken from the member, and what a member is bringing is left to it.
2. Of the rest everyone takes the chunks that are its own (``ownership``). A member counts while it
   answers, gives what is asked of it, has an origin that works, and still wants the file.
3. A member that has no chunk of its own left takes those of others which nobody has begun, its
   share among the idle ones; the owner sees that and leaves them.
4. A range that a member has been bringing for too long, by its own rate, may be brought by an
   idle member too, within a bound on the bytes that are brought twice.
5. A file that proved wrong is taken from the origin alone. Where no byte arrives here for long,
   whatever the others say of themselves, everything may be taken; the third time for good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from enum import Enum

from grokdist.transfer.ranges import Range
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.members import Members
from grokdist.transfer.share.ownership import meet, owner, without
from grokdist.transfer.share.settings import ShareSettings
from grokdist.transfer.share.shelf import Shelf

_OVERDUE = 4.0
_RACE = 0.05
_PATIENCE = 3
_HOPE_ALONE = 4
_HOPE_IN_COMPANY = 40


class Health(Enum):
    """How an origin does."""

    WELL = "well"
    """It brings bytes, or was not asked yet."""
    AILING = "ailing"
    """It fails now; it may get well."""
    LOST = "lost"
    """It is not asked any more."""


class Allotment:
    """The decisions of one machine; used from several threads.

    Args:
        content: the files of the share.
        members: the others.
        shelf: what is here.
        settings: bounds.
    """

    def __init__(
        self, content: Content, members: Members, shelf: Shelf, settings: ShareSettings
    ) -> None:
        self._content = content
        self._members = members
        self._shelf = shelf
        self._settings = settings
        self._lock = threading.Lock()
        self._owners: dict[int, tuple[str | None, ...]] = {}
        self._epoch = -1
        self._origins: dict[object, Health] = {}
        self._able = False
        self._alone = False
        self._doubted: set[int] = set()
        self._doubts = 0
        self._busy = time.monotonic()
        self._moved = 0.0
        self._stuck_since = 0.0
        self._patience = _PATIENCE
        payload = sum(file.size for file in content.files)
        self._race_bytes = int(_RACE * payload)
        self.settled = threading.Event()
        """Set when the members had time to find one another."""

    @property
    def able(self) -> bool:
        """True while this machine has an origin that works."""
        return self._able

    def origin(self, source: object, health: Health) -> None:
        """How an origin of this machine does."""
        with self._lock:
            self._origins[source] = health
            able = Health.WELL in self._origins.values()
            if able == self._able:
                return
            self._able = able
            self._epoch = -1
        self._shelf.nudge()

    @property
    def idle(self) -> bool:
        """True where no chunk of its own was left for a while."""
        if self._shelf.takings:
            return False
        return time.monotonic() - self._busy > self._settings.steal_after

    @property
    def hopeless(self) -> bool:
        """True where neither an origin nor any member will ever bring what is missing."""
        if self._able or self._still < _HOPE_ALONE * self._settings.stuck:
            return False
        with self._lock:
            lost = all(health is Health.LOST for health in self._origins.values())
        patience = _HOPE_IN_COMPANY if self._members.live else _HOPE_ALONE
        return lost and self._still > patience * self._settings.stuck

    @property
    def _still(self) -> float:
        """Seconds in which no byte arrived here, whatever others say of themselves."""
        if not self._moved:
            # The fetch itself begins only now: what was here had to be looked at first.
            self._moved = time.monotonic()
        return time.monotonic() - max(self._moved, self._shelf.moved)

    def moving(self) -> None:
        """Bytes arrived here."""
        self._moved = time.monotonic()

    def doubt(self, number: int) -> None:
        """A file proved wrong: nobody's word is taken for it any more."""
        with self._lock:
            self._doubted.add(number)
            self._doubts += 1

    @property
    def epoch(self) -> int:
        """Rises with whatever changes the answer of ``may_take`` at once and for many files."""
        return self._members.epoch + self._doubts + self._alone

    def doubted(self, number: int) -> bool:
        """True where a file proved wrong in this run."""
        with self._lock:
            return number in self._doubted

    def forgo(self) -> None:
        """No bytes are taken from members any more: everything is left to the origin."""
        self._alone = True

    def may_take(self, number: int, gaps: Sequence[Range]) -> list[Range]:
        """The parts of ``gaps`` that are to be taken from the origin now."""
        if self._alone or self.doubted(number):
            return list(gaps)
        if not self.settled.is_set():
            return []
        if self._stuck():
            return list(gaps)
        free = without(gaps, self._members.held(number))
        if not free:
            return []
        fresh, late = self._members.taken(number, _OVERDUE)
        begun = sorted((start, end) for _, start, end in (*fresh, *late))
        unbegun = without(free, begun)
        mine, others = self._divide(number, unbegun)
        if mine:
            self._busy = time.monotonic()
            return mine
        if not self.idle:
            return []
        if others:
            return others
        return self._race(meet(free, [(start, end) for _, start, end in late]))

    def _stuck(self) -> bool:
        """True where nothing has arrived for long; the third time the others are left alone."""
        if self._still <= self._settings.stuck:
            return False
        with self._lock:
            if self._stuck_since != self._moved:
                self._stuck_since = self._moved
                self._patience -= 1
                self._alone = self._alone or not self._patience
        return True

    def _divide(self, number: int, ranges: Sequence[Range]) -> tuple[list[Range], list[Range]]:
        """What of ``ranges`` is our own, and what falls to us among the idle members."""
        mine: list[Range] = []
        others: list[Range] = []
        if not ranges:
            return mine, others
        me, chunk = self._members.me, self._content.chunk
        owners = self._chunk_owners(number)
        sha256 = self._content.files[number].sha256
        idle = [me, *(m.id for m in self._members.live if m.status.idle and m.takes)]
        for start, end in ranges:
            for place in range(start // chunk, (end - 1) // chunk + 1):
                piece = max(start, place * chunk), min(end, (place + 1) * chunk)
                if owners[place] == me:
                    mine.append(piece)
                elif owner(idle, sha256, place) == me:
                    others.append(piece)
        return mine, others

    def _chunk_owners(self, number: int) -> tuple[str | None, ...]:
        """The owner of each chunk of a file."""
        with self._lock:
            if self._epoch != self._members.epoch:
                self._epoch = self._members.epoch
                self._owners.clear()
            found = self._owners.get(number)
            if found is None:
                file = self._content.files[number]
                ids = [m.id for m in self._members.live if m.takes and number not in m.skips]
                if self._able or not ids:
                    ids.append(self._members.me)
                chunks = -(-file.size // self._content.chunk)
                found = tuple(owner(ids, file.sha256, place) for place in range(chunks))
                self._owners[number] = found
            return found

    def begin(self, number: int, start: int, end: int) -> None:
        """A range that was allowed is being taken: what another member brings too is counted."""
        _, late = self._members.taken(number, _OVERDUE)
        twice = meet([(start, end)], [(low, high) for _, low, high in late])
        with self._lock:
            self._race_bytes -= sum(high - low for low, high in twice)

    def _race(self, late: Sequence[Range]) -> list[Range]:
        """The back half of an overdue range, as long as the bound lasts."""
        with self._lock:
            bound = self._race_bytes // (len(self._members.live) + 1)
        for start, end in late:
            middle = (start + end) // 2
            if end - middle <= bound:
                return [(middle, end)]
        return []
