"""The members of a share that this machine knows, and what each has."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from grokdist.transfer.ranges import Range
from grokdist.transfer.share.status import Address, Status, Taken

_TRIES = 3
_SHUN = 0.5
_LONGEST_SHUN = 30.0
_STILL_S = 10.0


@dataclass(kw_only=True, slots=True, eq=False)
class Taking:
    """A range that a member is bringing from the origin, as seen from here.

    Attributes:
        start: its next byte when it was first seen.
        offset: its next byte now.
        end: the byte after its last.
        since: monotonic time at which it was first seen.
        moved: monotonic time at which its next byte last changed.
    """

    start: int
    offset: int
    end: int
    since: float
    moved: float = 0.0

    def overdue(self, now: float, patience: float) -> bool:
        """True where it is older than ``patience`` and needs longer than that from now on."""
        age = now - self.since
        left, came = self.end - self.offset, self.offset - self.start
        return age > patience and left * age > came * patience


@dataclass(kw_only=True, slots=True, eq=False)
class Member:
    """Another machine.

    Attributes:
        id: its id.
        address: where it listens.
        status: the last thing it said, without the files.
        files: ranges by number.
        takings: what it brings from the origin, by number and end.
        skips: files that it neither has nor wants.
        alive: it answered not long ago.
        in_flight: our requests to it.
        failures: failures in a row of our requests for bytes.
        not_before: monotonic time before which it is not asked for bytes.
    """

    id: str
    address: Address
    status: Status
    files: dict[int, tuple[Range, ...]] = field(default_factory=dict)
    takings: dict[tuple[int, int], Taking] = field(default_factory=dict)
    skips: frozenset[int] = frozenset()
    alive: bool = True
    in_flight: int = 0
    failures: int = 0
    not_before: float = 0.0

    def usable(self, now: float) -> bool:
        """True where it can be asked for bytes now."""
        return self.alive and now >= self.not_before

    @property
    def takes(self) -> bool:
        """True where it goes on taking bytes from an origin, and gives them."""
        return (
            self.alive and self.status.able and not self.status.complete and self.failures < _TRIES
        )

    def trusty(self, now: float) -> bool:
        """True where it will sooner or later give what it has."""
        return self.alive and (self.failures < _TRIES or now >= self.not_before)


class Members:
    """All members but this machine; used from several threads.

    Args:
        me: our own id.
        note: where to tell people what they may want to know.
        changed: called when someone came or went, outside of any lock.
    """

    def __init__(
        self, me: str, note: Callable[[str], None], changed: Callable[[], None] = lambda: None
    ) -> None:
        self.me = me
        self._note = note
        self._tell = changed
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._known: set[int] = set()
        self._banned: set[str] = set()
        self._banned_at: set[Address] = set()
        self.epoch = 0
        """Rises when someone comes, goes, or changes what it wants."""

    def update(self, status: Status, address: Address) -> bool:
        """A member said something.

        Returns:
            False where it need not be asked at this address any more: it is banned, or answers
            at another address too.
        """
        before = self.epoch
        known = self._update(status, address, time.monotonic())
        if self.epoch != before:
            self._tell()
        return known

    def _update(self, status: Status, address: Address, now: float) -> bool:
        with self._lock:
            if status.member in self._banned or address in self._banned_at:
                return False
            member = self._members.get(status.member)
            if member is None:
                member = Member(id=status.member, address=address, status=status)
                self._members[status.member] = member
                self.epoch += 1
                self._note(f"share: {_spoken(address)} joined")
            elif member.alive and member.address != address:
                return False
            else:
                self.epoch += not member.alive
            took = member.takes
            member.alive = True
            if status.whole:
                member.files.clear()
            member.files.update(status.files)
            self._known.update(status.files)
            if status.skips is not None and status.skips != member.skips:
                member.skips = status.skips
                self.epoch += 1
            before = member.takings
            member.takings = {
                (number, end): _seen(before.get((number, end)), start, end, now)
                for number, start, end in status.takings
            }
            member.status = status
            member.address = address
            self.epoch += member.takes != took
        return True

    def gone(self, identity: str) -> None:
        """A member does not answer any more; it may come back."""
        with self._lock:
            member = self._members.get(identity)
            if member is not None and member.alive:
                member.alive = False
                self.epoch += 1
                if not member.status.complete:
                    self._note(f"share: {_spoken(member.address)} does not answer any more")

    def forget(self, identity: str) -> None:
        """Another member answers where this one did."""
        with self._lock:
            if self._members.pop(identity, None) is not None:
                self.epoch += 1

    def ban(self, identity: str, reason: str) -> None:
        """Have nothing more to do with a member."""
        with self._lock:
            member = self._members.pop(identity, None)
            self._banned.add(identity)
            if member is not None:
                self._banned_at.add(member.address)
                self.epoch += 1
                self._note(f"share: {_spoken(member.address)} {reason}; not asked again")

    def banned(self, address: Address) -> bool:
        """True where a member at this address is banned."""
        with self._lock:
            return address in self._banned_at

    @property
    def live(self) -> list[Member]:
        """The members that answer."""
        with self._lock:
            return [member for member in self._members.values() if member.alive]

    @property
    def all(self) -> list[Member]:
        """Also those that do not answer."""
        with self._lock:
            return list(self._members.values())

    def know(self, number: int) -> bool:
        """False where no member ever had a byte of a file."""
        return number in self._known

    def held(self, number: int) -> list[Range]:
        """The bytes of a file that will sooner or later be had from a member."""
        now = time.monotonic()
        with self._lock:
            return self._union(number, [m for m in self._members.values() if m.trusty(now)])

    def offered(self, number: int, but: frozenset[str]) -> list[Range]:
        """The bytes of a file that can be had now, from members that are not in ``but``."""
        now = time.monotonic()
        with self._lock:
            usable = [m for m in self._members.values() if m.usable(now) and m.id not in but]
            return self._union(number, usable)

    def _union(self, number: int, members: Iterable[Member]) -> list[Range]:
        union: list[Range] = []
        for start, end in sorted(each for m in members for each in m.files.get(number, ())):
            if union and start <= union[-1][1]:
                union[-1] = (union[-1][0], max(end, union[-1][1]))
            else:
                union.append((start, end))
        return union

    def taken(self, number: int, patience: float) -> tuple[list[Taken], list[Taken]]:
        """What members are bringing of a file: in good time, and overdue."""
        now = time.monotonic()
        fresh: list[Taken] = []
        late: list[Taken] = []
        with self._lock:
            for member in self._members.values():
                if not member.alive:
                    continue
                for (each, end), taking in member.takings.items():
                    # What does not move at all is as good as not begun.
                    if each == number and now - taking.moved < _STILL_S:
                        row = (number, taking.offset, end)
                        (late if taking.overdue(now, patience) else fresh).append(row)
        return sorted(fresh), sorted(late)

    def choose(
        self, number: int, start: int, end: int, but: frozenset[str] = frozenset()
    ) -> tuple[Member, int] | None:
        """The member to ask for a range: of those that have its start, the one with least to do.

        Returns:
            the member, whose ``in_flight`` has been counted up, and how far it has the bytes.
        """
        now = time.monotonic()
        with self._lock:
            found = [
                (member, min(high, end))
                for member in self._members.values()
                if member.usable(now) and member.id not in but
                for low, high in member.files.get(number, ())
                if low <= start < high
            ]
            if not found:
                return None
            member, upto = min(
                found,
                key=lambda each: (
                    each[0].in_flight + each[0].status.uploads,
                    -each[1],
                    random.random(),  # noqa: S311 - spreads load, hides nothing
                ),
            )
            member.in_flight += 1
            return member, upto

    def served(self, member: Member, *, ok: bool) -> None:
        """A request that ``choose`` counted has ended."""
        with self._lock:
            took = member.takes
            member.in_flight -= 1
            member.failures = 0 if ok else member.failures + 1
            self.epoch += member.takes != took
            if ok:
                return
            rest = min(_SHUN * 2 ** (member.failures - 1), _LONGEST_SHUN)
            member.not_before = time.monotonic() + rest


def _seen(before: Taking | None, start: int, end: int, now: float) -> Taking:
    if before is None:
        return Taking(start=start, offset=start, end=end, since=now, moved=now)
    if start > before.offset:
        before.offset, before.moved = start, now
    return before


def _spoken(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
