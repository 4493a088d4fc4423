"""Which source brings which bytes: the state that the workers of a fetch share.

A wanted file is free while some of its bytes are neither here nor being brought, busy while all
that is missing is claimed, and in the end done or failed. The board hands out claims, keeps count
of what each source did wrong with each file, lets a failing source rest, and ends when nothing is
left that anyone may still bring. It moves no bytes.

Rules, all about not waiting for anybody:

1. A local source has the first say on what it offers: the network is used for the rest.
2. Streams take files from the front of the queue, swarms from the back, each a whole file.
3. A source with nothing left to take helps with what others work on: with a large file it takes
   a stretch behind the one that the owner is left with; with the last of a file it takes the
   share that both bring in the same time, all of it where the owner hardly moves.
4. A source that delivered wrong bytes for a file, or says that it has not got it, is not asked
   for that file again. Any other failure makes it rest, longer each time, and after a number of
   failures without a byte in between it is given up.
5. A claim on which nothing arrives is taken back: soon, if another source stands idle that could
   take it; after the stall time otherwise.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Sequence

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.transfer import portions
from grokdist.transfer.claims import Claim, Patience, SourceView, Standing, Wanted
from grokdist.transfer.concurrency import Concurrency
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.ranges import Range
from grokdist.transfer.sources.base import Source

_TICK_S = 0.25
_YOUTH_S = 0.5
"""Age at which a claim's rate begins to tell something."""
_WHOLE_KINDS = (SourceKind.LOCAL, SourceKind.TORRENT)
_WORTH_S = 1.0
"""Seconds that a claim must still take for help with it to be worth a request."""
_PARKED_MOST = 32


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
        self._active: dict[str, int] = dict.fromkeys(self._sources, 0)
        self._received: dict[str, int] = dict.fromkeys(self._sources, 0)
        self._pace: dict[str, float] = {}
        self._lanes = {
            source.name: Concurrency(
                source.slots, adapts=source.kind in (SourceKind.HUB, SourceKind.HTTPS)
            )
            for source in sources
        }
        self._ticked = time.monotonic()
        self._changed = threading.Condition()
        self._free: dict[str, Wanted] = {}
        self._busy: dict[str, Wanted] = {}
        self._parked: dict[str, Wanted] = {}
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

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are open."""
        return tuple(wanted.part for wanted in self.opened_files if wanted.part is not None)

    @property
    def opened_files(self) -> tuple[Wanted, ...]:
        """The files whose parts are open."""
        with self._changed:
            opened = [*self._free.values(), *self._busy.values()]
            return tuple(wanted for wanted in opened if wanted.part is not None)

    def whole(self, name: str) -> Standing:
        """How the source as a whole stands."""
        return self._whole[name]

    def view(self, name: str) -> SourceView:
        """How a source is doing."""
        with self._changed:
            standing = self._whole[name]
            return SourceView(
                active=self._active[name],
                resting=max(0.0, standing.not_before - time.monotonic()),
                closed=standing.closed,
                reason=standing.reason,
            )

    def claim(self, source: Source) -> Claim | None:
        """What ``source`` is to work on next; waits while there may be something later.

        Returns:
            a claim, to be ended with one of the methods below, or None when nothing is left for
            this source. Where its ``segment`` is None, the part is to be opened and handed to
            ``opened``.
        """
        with self._changed:
            while not self.stopping.is_set():
                claim, wait = self._find(source, time.monotonic())
                if claim is not None:
                    return claim
                if wait is None:
                    return None
                # One that has all the connections it may have does not stand idle.
                idle = not self._full(source.name)
                self._idle[source.name] += idle
                try:
                    self._changed.wait(max(wait, 0.005))
                finally:
                    self._idle[source.name] -= idle
        return None

    def opened(self, claim: Claim, part: Part) -> bool:
        """The part of the claim's file is open: choose the range.

        Returns:
            False where the source has nothing to bring of what is missing.
        """
        with self._changed:
            wanted = claim.wanted
            wanted.part = part
            missing = part.gaps()
            chosen = claim.source.pick(wanted.entry, missing) if missing else None
            if chosen is not None:
                chosen = self._portion(claim.source, wanted, chosen)
                claim.segment = part.claim(*chosen, claim.source.name)
                self._settle(wanted)
            return chosen is not None

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

    def delivered(self, claim: Claim) -> None:
        """The source brought all that it claimed."""
        with self._changed:
            self._proven.add(claim.source.name)
            self._whole[claim.source.name].failures = 0
            self._release(claim)

    def take_whole(self, wanted: Wanted) -> Part | None:
        """Take a file of which every byte is here and hashed, to be checked and committed.

        Returns:
            its part, to one caller; None to the others and while bytes are missing.
        """
        with self._changed:
            if wanted.taken or wanted.part is None or not wanted.part.whole:
                return None
            wanted.taken = True
            self._free.pop(wanted.entry.path, None)
            self._busy[wanted.entry.path] = wanted
            return wanted.part

    def done(self, wanted: Wanted) -> None:
        """The file has its final name."""
        with self._changed:
            self._busy.pop(wanted.entry.path, None)
            wanted.part = None
            if not self._free:
                self._changed.notify_all()

    def put_back(self, claim: Claim) -> None:
        """End a claim without a word on the source (a stop)."""
        with self._changed:
            self._release(claim)

    def again(self, wanted: Wanted, part: Part | None) -> None:
        """A file that was taken is wanted again, its bytes were wrong.

        Args:
            wanted: the file.
            part: what is left of it, open; None to begin anew.
        """
        with self._changed:
            wanted.part = part
            wanted.taken = False
            self._settle(wanted)
            self._drop_hopeless()

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
            wrong: it announced or delivered wrong bytes.
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
            # What was on its way when the source was given up tells less than why it was.
            if not standing.permanent:
                standing.reason, standing.permanent = reason, permanent or wrong
            if retry_after is not None:
                self._lanes[name].refused()
            # Files of one source fail together when it goes away: that is one failure, not four.
            if permanent or not whole or claim.rests == self._rests[name]:
                self._rests[name] += whole
                self._rest(standing, name, retry_after, closed=permanent or wrong)
            standing.wrong = standing.wrong or wrong
            self._drop_hopeless()
            return standing

    def blame(self, wanted: Wanted, name: str, reason: str) -> None:
        """``name`` brought wrong bytes of a file: it is not asked for it again."""
        with self._changed:
            standing = wanted.chances.setdefault(name, Standing())
            standing.closed = standing.wrong = standing.permanent = True
            standing.reason = reason

    def bar(self, wanted: Wanted, name: str) -> None:
        """Do not ask ``name`` for a file while its bytes are on trial."""
        with self._changed:
            chance = wanted.chances.setdefault(name, Standing())
            wanted.barred = not chance.closed
            chance.closed = True

    def reopen(self, wanted: Wanted, name: str) -> None:
        """The trial of ``name`` found nothing against it."""
        with self._changed:
            if wanted.barred:
                wanted.chances[name].closed = False
            wanted.barred = False

    def abandon(self) -> None:
        """Count as failed what is neither done nor failed though nobody works any more."""
        with self._changed:
            self._failed += [*self._free.values(), *self._busy.values()]
            self._free, self._busy = {}, {}

    def others_for(self, wanted: Wanted, name: str) -> bool:
        """True where a source besides ``name`` may bring the file, first-hand."""
        with self._changed:
            return any(
                other != name and not chance.closed and not self._whole[other].closed
                for other, chance in wanted.chances.items()
                if other in self._whole and not self._sources[other].secondhand
            )

    def stop(self) -> None:
        """End all work soon."""
        with self._changed:
            self.stopping.set()
            claims = list(self._claims)
            self._changed.notify_all()
        for claim in claims:
            claim.stop.set()

    def tick(self) -> tuple[Claim, ...]:
        """Look at rates and stalls; to be called every now and then.

        Returns:
            the claims that were taken back because nothing arrives.
        """
        now = time.monotonic()
        stalled = []
        with self._changed:
            if now - self._ticked >= _TICK_S:
                self._take_rates(now)
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

    def _take_rates(self, now: float) -> None:
        """Take each claim's rate, each source's rate a claim, and the connections it gets."""
        elapsed = now - self._ticked
        self._ticked = now
        sums: dict[str, list[float]] = {}
        for claim in self._claims:
            rate = (claim.received - claim.counted) / elapsed
            self._received[claim.source.name] += claim.received - claim.counted
            claim.counted = claim.received
            # The first moments are mostly the request.
            if not claim.watched or (claim.rate is None and now - claim.since < _YOUTH_S):
                continue
            claim.rate = rate if claim.rate is None else 0.6 * claim.rate + 0.4 * rate
            sums.setdefault(claim.source.name, []).append(claim.rate)
        for name, rates in sums.items():
            self._pace[name] = sum(rates) / len(rates)
        for name, lane in self._lanes.items():
            if lane.observe(now, self._received[name], self._active[name]):
                self._changed.notify_all()

    def _hangs(self, claim: Claim, now: float) -> bool:
        if now - claim.last >= self.patience.stall:
            return True
        if claim.source.kind is SourceKind.LOCAL:
            return False
        slow = claim.window < self.patience.slowest * self.patience.stall
        if now - claim.since >= self.patience.stall and slow:
            return claim.source.kind is not SourceKind.TORRENT
        return now - claim.last >= self.patience.idle and any(
            count
            and name != claim.source.name
            and self._may(name, claim.wanted, now)
            and self._would(name, claim)
            for name, count in self._idle.items()
        )

    def _would(self, name: str, claim: Claim) -> bool:
        """True where a source would bring some of what is left of a claim."""
        segment = claim.segment
        if segment is None or not segment.remaining:
            return True
        left = [(segment.offset, segment.end)]
        return self._sources[name].pick(claim.wanted.entry, left) is not None

    def _may(self, name: str, wanted: Wanted, now: float) -> bool:
        chance = wanted.chances.get(name)
        whole = self._whole[name]
        if chance is None or chance.closed or whole.closed:
            return False
        return max(chance.not_before, whole.not_before) <= now

    def _find(self, source: Source, now: float) -> tuple[Claim | None, float | None]:
        """A claim for ``source``, or the seconds to wait for one, or neither."""
        whole = self._whole[source.name]
        if whole.closed:
            return None, None
        if self._full(source.name):
            return None, 3600.0
        rest = whole.not_before - now
        soonest: float | None = None
        from_back = source.kind is SourceKind.TORRENT
        for wanted in reversed(self._free.values()) if from_back else self._free.values():
            chance = wanted.chances.get(source.name)
            if chance is None or chance.closed:
                if self._could(source.name, wanted):
                    soonest = _TICK_S if soonest is None else min(soonest, _TICK_S)
                continue
            wait = max(rest, chance.not_before - now)
            if source.kind is not SourceKind.LOCAL and self._local_may(wanted):
                wait = max(wait, 3600.0)
            if wait <= 0:
                claim = self._take(source, wanted, now)
                if claim is not None:
                    return claim, None
                wait = _TICK_S
            soonest = wait if soonest is None else min(soonest, wait)
        if rest <= 0 and (claim := self._help(source, now)) is not None:
            return claim, None
        if soonest is None or soonest > _TICK_S:
            could = [claim for claim in self._claims if self._could(source.name, claim.wanted)]
            if could:
                soonest = _TICK_S if rest <= 0 else min(rest, soonest or rest)
            elif any(self._could(source.name, wanted) for wanted in self._busy.values()):
                # Its bytes are being checked, and may prove wrong.
                soonest = _TICK_S
        return None, soonest

    def _full(self, name: str) -> bool:
        return self._active[name] >= self._lanes[name].allowed

    def _take(self, source: Source, wanted: Wanted, now: float) -> Claim | None:
        """Claim what ``source`` picks of the missing bytes of a free file."""
        if (wanted.alone and wanted.claims) or self._at_it(source, wanted):
            return None
        if wanted.part is None:
            if wanted.claims or source.pick(wanted.entry, [(0, wanted.entry.size)]) is None:
                return None
            # Nobody else may open it meanwhile.
            self._free.pop(wanted.entry.path)
            self._busy[wanted.entry.path] = wanted
            return self._claimed(source, wanted, None, now)
        missing = wanted.part.gaps()
        chosen = source.pick(wanted.entry, missing) if missing else None
        if chosen is None:
            return None
        start, end = self._portion(source, wanted, chosen)
        segment = wanted.part.claim(start, end, source.name)
        claim = self._claimed(source, wanted, segment, now)
        self._settle(wanted)
        return claim

    def _at_it(self, source: Source, wanted: Wanted) -> bool:
        """True where a swarm works on a file: it brings one range of it at a time."""
        return source.kind is SourceKind.TORRENT and any(
            claim.source is source for claim in wanted.claims
        )

    def _portion(self, source: Source, wanted: Wanted, chosen: Range) -> Range:
        """How much of a free range one claim gets: all of it, unless others stand idle by it."""
        start, end = chosen
        pace = self._pace.get(source.name, 0.0)
        short = not portions.worth_sharing(end - start, pace)
        lanes = sum(
            lane.allowed - self._active[name]
            for name, lane in self._lanes.items()
            if name in wanted.chances and self._sources[name].kind not in _WHOLE_KINDS
        )
        whole = short or wanted.alone or source.kind in _WHOLE_KINDS
        if whole or len(self._free) >= lanes:
            return chosen
        return start, min(end, start + portions.stretch(pace))

    def _help(self, source: Source, now: float) -> Claim | None:
        """Take a share of the claim that would take longest, if that ends it sooner."""
        slowest, longest = None, _WORTH_S
        for claim in self._claims:
            if not self._helpable(source, claim, now):
                continue
            remaining = claim.segment.remaining if claim.segment else 0
            left = remaining / claim.rate if claim.rate else 3600.0
            if remaining and left > longest:
                slowest, longest = claim, left
        if slowest is None or slowest.segment is None or slowest.wanted.part is None:
            return None
        chosen = self._cut(source, slowest, slowest.segment)
        if chosen is None:
            self._relieve(source, slowest, now)
            return None
        if not slowest.segment.remaining:
            slowest.robbed = True
            # It may be blocked in a read that never returns.
            slowest.stop.set()
        wanted = slowest.wanted
        segment = slowest.wanted.part.claim(*chosen, source.name)
        claim = self._claimed(source, wanted, segment, now)
        self._settle(wanted)
        return claim

    def _relieve(self, source: Source, slowest: Claim, now: float) -> None:
        """Take a file from a swarm that asked its peers for all of it, and is slow as a whole.

        It cannot be cut while its pieces are on their way: it is stopped, and what it did not
        bring is then free for whoever is quicker. Its rate is looked at as a whole, since it
        brings one of its files after the other rather than all alike.
        """
        swarm, segment = slowest.source, slowest.segment
        ours = self._pace.get(source.name, 0.0) * (1 + self._idle[source.name])
        if swarm.kind is not SourceKind.TORRENT or segment is None or not ours:
            return
        claims = [each for each in self._claims if each.source is swarm and each.segment]
        if any(each.robbed for each in claims):
            # What was taken last is not free yet.
            return
        remaining = sum(each.segment.remaining for each in claims if each.segment)
        rate = sum(each.rate or 0.0 for each in claims)
        left = remaining / rate if rate else 3600.0
        if left > _WORTH_S + 2 * segment.remaining / ours:
            slowest.robbed = True
            slowest.stop.set()
            chance = slowest.wanted.chances[swarm.name]
            chance.not_before = max(chance.not_before, now + left)

    def _helpable(self, source: Source, claim: Claim, now: float) -> bool:
        return (
            claim.segment is not None
            and claim.rate is not None
            and claim.watched
            and not claim.stalled
            and not claim.wanted.alone
            and claim.source.kind is not SourceKind.LOCAL
            and not self._at_it(source, claim.wanted)
            and self._may(source.name, claim.wanted, now)
        )

    def _cut(self, source: Source, victim: Claim, segment: Segment) -> Range | None:
        """Shorten a claim; returns the range behind it that ``source`` takes."""
        theirs = victim.rate or 0.0
        # Of a source whose pace is not known, less would leave a dying one half of the rest.
        ours = self._pace.get(source.name) or max(theirs, float(portions.LEAST))
        end = segment.end
        cut = portions.cut(segment.offset, end, theirs=theirs, ours=ours)
        if cut is None:
            return None
        cut = victim.source.lets_go(victim.wanted.entry, cut)
        if cut >= end:
            return None
        chosen = source.pick(victim.wanted.entry, [(cut, end)])
        if chosen is None:
            return None
        begin = segment.give_up(chosen[0])
        upto = min(chosen[1], begin + portions.stretch(ours))
        return (begin, upto) if begin < upto else None

    def _claimed(
        self, source: Source, wanted: Wanted, segment: Segment | None, now: float
    ) -> Claim:
        claim = Claim(
            wanted=wanted,
            source=source,
            segment=segment,
            last=now,
            rests=self._rests[source.name],
        )
        wanted.claims.add(claim)
        self._claims.add(claim)
        self._active[source.name] += 1
        return claim

    def _settle(self, wanted: Wanted) -> None:
        """Put a file among the free ones or the busy ones, as it has bytes to claim or not."""
        path = wanted.entry.path
        if wanted.part is None or wanted.part.gaps():
            self._busy.pop(path, None)
            if path not in self._free:
                self._free = {path: wanted, **self._free}
        else:
            self._free.pop(path, None)
            self._busy[path] = wanted

    def _could(self, name: str, wanted: Wanted) -> bool:
        """True where a source may be asked for a file, now or after its trial."""
        chance = wanted.chances.get(name)
        on_trial = wanted.barred and wanted.on_trial == name
        return chance is not None and (on_trial or not chance.closed)

    def _local_may(self, wanted: Wanted) -> bool:
        return any(
            self._sources[name].kind is SourceKind.LOCAL
            and not chance.closed
            and not self._whole[name].closed
            for name, chance in wanted.chances.items()
            if name in self._sources
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
            hopeless = not any(
                not chance.closed and not self._whole[name].closed
                for name, chance in wanted.chances.items()
                if name in self._whole
            )
            if hopeless and wanted.barred and not wanted.claims:
                # Nobody is left to bring what the source on trial brought: it may do so itself.
                hopeless = not self._end_trial(wanted)
            if not hopeless or wanted.claims:
                free[path] = wanted
                continue
            self._failed.append(wanted)
            if wanted.part is not None:
                wanted.part.close(keep=True)
                wanted.part = None
        self._free = free
        self._changed.notify_all()

    def _end_trial(self, wanted: Wanted) -> bool:
        """Let the source on trial bring the file again; False where it is given up itself."""
        name, wanted.on_trial, wanted.barred = wanted.on_trial, None, False
        if name is None or self._whole[name].closed:
            return False
        wanted.chances[name].closed = False
        return True

    def _release(self, claim: Claim) -> None:
        self._claims.discard(claim)
        self._active[claim.source.name] -= 1
        self._received[claim.source.name] += claim.received - claim.counted
        claim.counted = claim.received
        wanted = claim.wanted
        wanted.claims.discard(claim)
        part = wanted.part
        if claim.segment is not None and part is not None:
            part.release(claim.segment)
        if not wanted.taken:
            self._settle(wanted)
            if part is not None and not wanted.claims and wanted.entry.path in self._free:
                self._park(wanted)
        # Whoever ends a claim looks for the next one himself: with small files, to wake all the
        # others each time costs more than the files. They have something new to find where bytes
        # are free again, and where no free file is left.
        if not self._free or wanted.entry.path in self._free:
            self._changed.notify_all()

    def _park(self, wanted: Wanted) -> None:
        """Keep the part of a file that nobody works on open, and close the one longest so."""
        self._parked.pop(wanted.entry.path, None)
        self._parked[wanted.entry.path] = wanted
        while len(self._parked) > _PARKED_MOST:
            oldest = self._parked.pop(next(iter(self._parked)))
            if oldest.part is not None and not oldest.claims and not oldest.taken:
                oldest.part.close(keep=True)
                oldest.part = None
