"""Which source works on which file: the state that the workers of a fetch share.

A wanted file is free, claimed by one source, done, or failed. The board hands out claims, keeps
count of what each source did wrong with each file, lets a failing source rest, and ends when no
file is left that anyone may still bring. It moves no bytes and touches no disk.

Rules, all about not waiting for anybody:

1. A local source has the first say on what it offers: the network is used for the rest.
2. Streams take files from the front of the queue, swarms from the back.
3. A source that delivered wrong bytes for a file, or says that it has not got it, is not asked
   for that file again. Any other failure makes it rest, longer each time, and after a number of
   failures without a byte in between it is given up.
4. A claim on which nothing arrives is taken back: soon, if another source stands idle that could
   take the file; after the stall time otherwise.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer.sources.base import Source
from grokdist.transfer.stop import Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a fetch bears with sources that fail.

    Attributes:
        tries: failures in a row, without a byte in between, that end a source's turn.
        tries_unproven: the same for a source that has not delivered anything yet.
        rest: seconds of the first rest; doubled with each failure, plus or minus a quarter.
        longest_rest: seconds that a rest is never longer than.
        longest_retry_after: seconds that a source may ask us to wait.
        stall: seconds without progress after which a claim is taken back.
        slowest: bytes a second below which a stream counts as stalled.
        idle: seconds without a byte after which an idle source may take over.
    """

    tries: int = 8
    tries_unproven: int = 4
    rest: float = 0.5
    longest_rest: float = 30.0
    longest_retry_after: float = 600.0
    stall: float = 60.0
    slowest: int = 1024
    idle: float = 5.0


@dataclass(kw_only=True, slots=True, eq=False)
class Standing:
    """How a source stands, with one file or as a whole.

    Attributes:
        failures: failures in a row.
        not_before: monotonic time until which it rests.
        closed: True when it is not asked any more.
        wrong: True when that is because it delivered wrong bytes.
        reason: the last failure, for people.
    """

    failures: int = 0
    not_before: float = 0.0
    closed: bool = False
    wrong: bool = False
    reason: str = ""


@dataclass(kw_only=True, slots=True, eq=False)
class Wanted:
    """One file that is to be fetched, and how each source stands with it."""

    entry: FileEntry
    chances: dict[str, Standing]
    mixed: int = 0
    """Times that bytes of several sources together proved wrong, so that none could be blamed."""
    got: str = ""
    """The last wrong digest or size."""


@dataclass(kw_only=True, slots=True, eq=False)
class Claim:
    """One source working on one file.

    Attributes:
        wanted: the file.
        source: the source.
        stop: ends the work on this file.
        stalled: True when the claim was taken back for want of progress.
        received: bytes that arrived under this claim.
        watched: True while progress is expected of it.
        since: monotonic time of the start of the watch window.
        window: bytes that arrived in the watch window.
        last: monotonic time of the last byte.
        rests: rests that the source had taken when the claim was made.
    """

    wanted: Wanted
    source: Source
    stop: Stop = field(default_factory=Stop)
    stalled: bool = False
    received: int = 0
    watched: bool = False
    since: float = 0.0
    window: int = 0
    last: float = 0.0
    rests: int = 0


class Board:
    """The shared state of one fetch.

    Args:
        entries: the files wanted, the most urgent first.
        sources: the sources.
        patience: how long to bear with failing sources.
    """

    def __init__(
        self, entries: Iterable[FileEntry], sources: Sequence[Source], patience: Patience
    ) -> None:
        self.patience = patience
        self.stopping = threading.Event()
        self._sources = {source.name: source for source in sources}
        self._whole = {name: Standing() for name in self._sources}
        self._rests = dict.fromkeys(self._sources, 0)
        self._proven: set[str] = set()
        self._idle: dict[str, int] = dict.fromkeys(self._sources, 0)
        self._changed = threading.Condition()
        self._free: dict[str, Wanted] = {}
        self._claims: set[Claim] = set()
        self._failed: list[Wanted] = []
        for entry in entries:
            offers = {
                name: Standing() for name, each in self._sources.items() if each.offers(entry)
            }
            wanted = Wanted(entry=entry, chances=offers)
            if offers:
                self._free[entry.path] = wanted
            else:
                self._failed.append(wanted)

    @property
    def failed(self) -> tuple[Wanted, ...]:
        """The files that no source could bring, by path."""
        with self._changed:
            return tuple(sorted(self._failed, key=lambda wanted: wanted.entry.path))

    def whole(self, name: str) -> Standing:
        """How the source as a whole stands."""
        return self._whole[name]

    def claim(self, source: Source) -> Claim | None:
        """The next file for ``source`` to work on; waits while there may be one later.

        Returns:
            a claim to be ended with one of the four methods below, or None when nothing is left
            for this source.
        """
        with self._changed:
            while not self.stopping.is_set():
                now = time.monotonic()
                found, wait = self._find(source, now)
                if found is not None:
                    del self._free[found.entry.path]
                    claim = Claim(
                        wanted=found, source=source, last=now, rests=self._rests[source.name]
                    )
                    self._claims.add(claim)
                    return claim
                if wait is None:
                    return None
                self._idle[source.name] += 1
                try:
                    self._changed.wait(max(wait, 0.005))
                finally:
                    self._idle[source.name] -= 1
        return None

    def watch(self, claim: Claim) -> None:
        """Expect progress of a claim from now on."""
        with self._changed:
            claim.since = claim.last = time.monotonic()
            claim.watched = True

    def received(self, claim: Claim, count: int) -> None:
        """Count bytes that arrived; without bytes, a sign of life."""
        # Called by the one thread that owns the claim: no lock for what only it writes.
        claim.last = time.monotonic()
        claim.received += count
        claim.window += max(count, 1)

    def done(self, claim: Claim) -> None:
        """The file is complete and right."""
        with self._changed:
            self._proven.add(claim.source.name)
            self._whole[claim.source.name].failures = 0
            self._release(claim)

    def put_back(self, claim: Claim) -> None:
        """Return the file to the queue without a word on the source (a stop)."""
        with self._changed:
            self._release(claim)
            self._free = {claim.wanted.entry.path: claim.wanted, **self._free}

    def fail(
        self,
        claim: Claim,
        reason: str,
        *,
        permanent: bool = False,
        wrong: bool = False,
        whole: bool = False,
        retry_after: float | None = None,
    ) -> Standing:
        """The source failed on the file; decide whether, when and by whom it is tried again.

        Args:
            claim: the claim, which ends.
            reason: for people.
            permanent: asking again cannot help.
            wrong: it delivered wrong bytes.
            whole: the source as a whole failed, not only on this file.
            retry_after: seconds that it asked us to wait.

        Returns:
            how the source stands now, as a whole or with the file.
        """
        with self._changed:
            self._release(claim)
            name = claim.source.name
            standing = self._whole[name] if whole else claim.wanted.chances[name]
            enough = self.patience.slowest * self.patience.stall if claim.stalled else 1
            if claim.received >= max(enough, 1):
                self._proven.add(name)
                standing.failures = 0
            standing.reason = reason
            # Files of one source fail together when it goes away: that is one failure, not four.
            if permanent or not whole or claim.rests == self._rests[name]:
                self._rests[name] += whole
                self._rest(standing, name, retry_after, closed=permanent or wrong)
            standing.wrong = standing.wrong or wrong
            self._free = {claim.wanted.entry.path: claim.wanted, **self._free}
            self._drop_hopeless()
            return standing

    def stop(self) -> None:
        """End all work soon."""
        with self._changed:
            self.stopping.set()
            claims = list(self._claims)
            self._changed.notify_all()
        for claim in claims:
            claim.stop.set()

    def check_stalls(self) -> tuple[Claim, ...]:
        """Take back the claims on which nothing arrives; to be called every now and then."""
        now = time.monotonic()
        stalled = []
        with self._changed:
            for claim in self._claims:
                if not claim.watched or claim.stalled:
                    continue
                if self._hangs(claim, now):
                    claim.stalled = True
                    stalled.append(claim)
                if now - claim.since >= self.patience.stall:
                    claim.since, claim.window = now, 0
        for claim in stalled:
            claim.stop.set()
        return tuple(stalled)

    def _hangs(self, claim: Claim, now: float) -> bool:
        if now - claim.last >= self.patience.stall:
            return True
        if claim.source.kind is SourceKind.LOCAL:
            return False
        slow = claim.window < self.patience.slowest * self.patience.stall
        if now - claim.since >= self.patience.stall and slow:
            return claim.source.kind is not SourceKind.TORRENT
        return now - claim.last >= self.patience.idle and any(
            count and name != claim.source.name and self._may(name, claim.wanted, now)
            for name, count in self._idle.items()
        )

    def _may(self, name: str, wanted: Wanted, now: float) -> bool:
        chance = wanted.chances.get(name)
        whole = self._whole[name]
        if chance is None or chance.closed or whole.closed:
            return False
        return max(chance.not_before, whole.not_before) <= now

    def _find(self, source: Source, now: float) -> tuple[Wanted | None, float | None]:
        """A file for ``source``, or the seconds to wait for one, or neither."""
        whole = self._whole[source.name]
        if whole.closed:
            return None, None
        rest = whole.not_before - now
        soonest: float | None = None
        from_back = source.kind is SourceKind.TORRENT
        for wanted in reversed(self._free.values()) if from_back else self._free.values():
            chance = wanted.chances.get(source.name)
            if chance is None or chance.closed:
                continue
            wait = max(rest, chance.not_before - now)
            if source.kind is not SourceKind.LOCAL and self._local_may(wanted):
                wait = max(wait, 3600.0)
            if wait <= 0:
                return wanted, None
            soonest = wait if soonest is None else min(soonest, wait)
        if soonest is None and any(self._could(source.name, claim) for claim in self._claims):
            soonest = 3600.0
        return None, soonest

    def _could(self, name: str, claim: Claim) -> bool:
        chance = claim.wanted.chances.get(name)
        return chance is not None and not chance.closed

    def _local_may(self, wanted: Wanted) -> bool:
        return any(
            self._sources[name].kind is SourceKind.LOCAL
            and not chance.closed
            and not self._whole[name].closed
            for name, chance in wanted.chances.items()
        )

    def _rest(
        self, standing: Standing, name: str, retry_after: float | None, *, closed: bool
    ) -> None:
        patience = self.patience
        standing.failures += 1
        tries = patience.tries if name in self._proven else patience.tries_unproven
        if closed or standing.failures >= tries:
            standing.closed = True
            return
        rest = min(patience.rest * 2 ** (standing.failures - 1), patience.longest_rest)
        rest *= random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, hides nothing
        if retry_after is not None:
            rest = max(rest, min(retry_after, patience.longest_retry_after))
        standing.not_before = time.monotonic() + rest

    def _drop_hopeless(self) -> None:
        """Fail the free files that no source is left for."""
        free = {}
        for path, wanted in self._free.items():
            if any(
                not chance.closed and not self._whole[name].closed
                for name, chance in wanted.chances.items()
            ):
                free[path] = wanted
            else:
                self._failed.append(wanted)
        self._free = free
        self._changed.notify_all()

    def _release(self, claim: Claim) -> None:
        self._claims.discard(claim)
        self._changed.notify_all()
