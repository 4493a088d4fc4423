"""The threads of a fetch: each takes claims for one source and sees them through.

A worker opens the part of a file, lets its source bring a segment of it, and hands a file of
which every byte is here to the committer, unless its digest is wrong. A fault of a source, of
whatever kind, ends that source's turn and nobody else's; a fault of the disk ends the fetch.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import DigestMismatchError, GrokdistError, SourceError
from grokdist.transfer.board import Board
from grokdist.transfer.claims import Claim, Patience, Wanted
from grokdist.transfer.commit import Committer, Finished
from grokdist.transfer.interrupts import held_back
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.part_files import expected_digest
from grokdist.transfer.preallocate import allocate
from grokdist.transfer.progress import Progress, SourceCondition, SourceState
from grokdist.transfer.ranges import brought_alone
from grokdist.transfer.rate import RateLimiter
from grokdist.transfer.sources.base import Source
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.trees import load_tree
from grokdist.trust.merkle import BLOCK

_POLL_S = 0.05
_TELL_EVERY_S = 1.0
_PARTING_S = 5.0
_SYNC_BYTES = 8 << 20
_SAVE_EVERY_S = 0.5

Commit = Callable[[FileEntry, Part, StatMark, tuple[str, ...]], None]


class Crew:
    """Brings files with several sources at once.

    Args:
        tree: the model directory.
        entries: the files, the most urgent first; none is empty.
        sources: the sources.
        patience: how long to bear with failing sources.
        limiter: the limit on all sources together.
        progress: who listens.
        preallocate: reserve the room of each file when it is begun.
        on_commit: told of each file that has its final name, on the committer's thread.
        on_batch: called there after some ``on_commit``.
        on_tick: called every now and then while work goes on; what it raises ends the work.
    """

    def __init__(
        self,
        tree: ModelTree,
        entries: Sequence[FileEntry],
        sources: Sequence[Source],
        *,
        patience: Patience,
        limiter: RateLimiter,
        progress: Progress,
        preallocate: bool,
        on_commit: Commit,
        on_batch: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._tree = tree
        self._files = len(entries)
        self._sources = sources
        self._secondhand = {source.name for source in sources if source.secondhand}
        self._limiter = limiter
        self._progress = progress
        self._preallocate = preallocate
        self._on_commit = on_commit
        self._on_batch = on_batch
        self._on_tick = on_tick
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._fatal: BaseException | None = None
        self._finished = threading.Event()
        self._behind = threading.Event()
        self._stretches: queue.SimpleQueue[tuple[Part, int, int] | None] = queue.SimpleQueue()
        self._banned: set[str] = set()
        self._shares = {
            source.name: limiter.share(source.name, source.hold)
            for source in sources
            if source.kind is SourceKind.TORRENT
        }
        self.board = Board(entries, sources, patience)

    @property
    def source_bytes(self) -> Mapping[str, int]:
        """Bytes that each source delivered, also those thrown away."""
        with self._lock:
            return dict(self._bytes)

    def run(self) -> None:
        """Bring all files, as far as sources have them; see ``board.failed`` for the others.

        Raises:
            GrokdistError: the disk is full, or refused.
            OSError: the same, from below.
        """
        self._committer = Committer(self._tree, self._end_all, on_batch=self._on_batch)
        resting = threading.Event()
        syncer = threading.Thread(
            target=self._sync, args=(resting,), name="grokdist-sync", daemon=True
        )
        hasher = threading.Thread(
            target=self._hash, args=(resting,), name="grokdist-hash", daemon=True
        )
        writer = threading.Thread(
            target=self._write_back, args=(resting,), name="grokdist-writeback", daemon=True
        )
        workers = [
            threading.Thread(
                target=self._work,
                args=(source,),
                name=f"grokdist-{source.name}-{place}",
                daemon=True,
            )
            for source in self._sources
            for place in range(source.slots)
        ]
        told = 0.0
        with held_back() as interrupted:
            try:
                syncer.start()
                hasher.start()
                writer.start()
                for worker in workers:
                    worker.start()
                while any(worker.is_alive() for worker in workers):
                    self._finished.wait(_POLL_S)
                    self._finished.clear()
                    interrupted()
                    self._on_tick()
                    self._limiter.tick()
                    for claim in self.board.tick():
                        path = claim.wanted.entry.path
                        self._progress.note(f"{claim.source.name}: {path}: nothing arrives")
                    if time.monotonic() - told >= _TELL_EVERY_S:
                        told = time.monotonic()
                        self._tell()
            finally:
                self.board.stop()
                deadline = time.monotonic() + _PARTING_S
                for worker in workers:
                    _join(worker, max(0.0, deadline - time.monotonic()))
                resting.set()
                self._behind.set()
                _join(syncer)
                _join(hasher)
                self._stretches.put(None)
                _join(writer)
                self._committer.close()
                for part in self.board.parts:
                    part.close(keep=True)
                self._tell()
        if self._fatal is not None:
            raise self._fatal
        self.board.abandon()

    def _work(self, source: Source) -> None:
        try:
            while (claim := self.board.claim(source)) is not None:
                self._bring(claim)
        except BaseException as error:
            self._end_all(error)
        finally:
            self._finished.set()

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            self._fatal = self._fatal or error
        self.board.stop()

    def _bring(self, claim: Claim) -> None:
        """Let the source of a claim bring its range, and see what became of the file."""
        wanted = claim.wanted
        if claim.segment is None and not self.board.opened(claim, self._open(claim)):
            self.board.put_back(claim)
            self._finish(wanted)
            return
        part, segment = wanted.part, claim.segment
        if part is None or segment is None:
            self.board.put_back(claim)
            return
        name, path = claim.source.name, wanted.entry.path
        self._progress.claim(name, path, segment.offset)
        segment.on_bytes = lambda count: self._count(claim, count)
        try:
            self._fetch(claim, part, segment)
        finally:
            self._progress.release(name, path)
        self._finish(wanted)

    def _open(self, claim: Claim) -> Part:
        """Open the part of a file and hash what an earlier process left unhashed."""
        wanted = claim.wanted
        part = wanted.part or Part(self._tree, wanted.entry)
        part.on_behind = self._behind.set
        part.on_stretch = lambda start, count: self._stretches.put((part, start, count))
        if self._preallocate:
            allocate(part.fileno(), wanted.entry.size)
        self._progress.file_begun(wanted.entry.path, size=wanted.entry.size, have=part.began)
        part.catch_up(claim.stop)
        return part

    def _fetch(self, claim: Claim, part: Part, segment: Segment) -> None:
        """Let the source work; release the claim, whatever happens."""
        board, entry = self.board, claim.wanted.entry
        try:
            board.watch(claim)
            claim.source.fetch(entry, segment, claim.stop)
            claim.watched = False
            part.catch_up(board.stopping)
            if board.stopping.is_set():
                board.put_back(claim)
            elif claim.robbed and not claim.received:
                self._fail(claim, "nothing arrives")
            elif not segment.remaining:
                board.delivered(claim)
            elif claim.robbed:
                board.put_back(claim)
            else:
                what = "nothing arrives" if claim.stalled else "ended early"
                self._fail(claim, f"{what} at {segment.offset} of {entry.size} bytes")
        except SourceError as error:
            part.catch_up(board.stopping)
            self._fail(
                claim,
                error.reason,
                permanent=error.permanent,
                whole=error.path is None,
                retry_after=error.retry_after,
            )
        except DigestMismatchError as error:
            # Announced, before a byte of it was taken.
            claim.wanted.got = error.got or "other bytes"
            reason = f"wrong bytes; expected {error.expected}, got {error.got}"
            self._fail(claim, reason, wrong=True)
        except (GrokdistError, OSError):
            board.put_back(claim)
            raise
        except Exception as error:
            # A fault in one source, of whatever kind, must not end the others.
            self._fail(claim, f"{type(error).__name__}: {error}", permanent=True)

    def _finish(self, wanted: Wanted) -> None:
        """Check a file of which every byte is here, and have it committed."""
        part = self.board.take_whole(wanted)
        if part is None:
            return
        try:
            part.check()
        except DigestMismatchError as error:
            self._wrong(wanted, part, error)
            return
        if wanted.on_trial is not None:
            self._convict(wanted, wanted.on_trial)
        entry, sources = wanted.entry, part.sources

        def done(mark: StatMark) -> None:
            self._on_commit(entry, part, mark, tuple(sources))
            self.board.done(wanted)
            self._progress.file_done(entry.path, entry.size, next(iter(sources), ""))

        self._committer.submit(Finished(part=part, named=part.on_named, done=done))

    def _wrong(self, wanted: Wanted, part: Part, error: DigestMismatchError) -> None:
        """The bytes are wrong: find out whose they are, at the cost of no more than their share.

        A source that brought all of a file is to blame. Where several did, the bytes of one after
        the other are fetched again from the rest, second-hand ones and then the smallest share
        first, until the digest is right; where it never is, the file comes from one source at a
        time.
        """
        wanted.got = error.got or "other bytes"
        shares = part.sources
        if wanted.on_trial is not None:
            self.board.reopen(wanted, wanted.on_trial)
            wanted.on_trial = None
        if self._proved(wanted, part):
            return
        # What an earlier run left may be of before the server was mended: begin anew first.
        if len(shares) == 1 and not part.began:
            part.discard()
            self._progress.lost(wanted.entry.path, wanted.entry.size)
            self._convict(wanted, next(iter(shares)))
            self.board.again(wanted, None)
            return
        suspects = [
            name
            for name in shares
            if name not in wanted.suspects and self.board.others_for(wanted, name)
        ]
        if wanted.alone or not suspects:
            wanted.alone = True
            part.discard()
            self._progress.lost(wanted.entry.path, wanted.entry.size)
            self._progress.note(f"{wanted.entry.path}: wrong bytes; from one source at a time now")
            self.board.again(wanted, None)
            return
        suspect = min(suspects, key=lambda name: (name not in self._secondhand, shares[name]))
        wanted.suspects.append(suspect)
        wanted.on_trial = suspect
        self.board.bar(wanted, suspect)
        self._progress.lost(wanted.entry.path, shares[suspect])
        self._progress.note(
            f"{wanted.entry.path}: wrong bytes from {' or '.join(shares)};"
            f" what {suspect} brought is fetched again from others"
        )
        part.drop(suspect)
        self.board.again(wanted, part)

    def _proved(self, wanted: Wanted, part: Part) -> bool:
        """Find the wrong bytes, and whose they are, by the tree whose root the manifest names.

        Only such a root proves anything: one that was noted here could be anybody's.
        """
        entry = wanted.entry
        root = entry.pieces_root
        known = load_tree(self._tree, entry.path, entry.size, root) if root else None
        damaged = known.damaged(part.fileno()) if known else []
        if not damaged:
            return False
        # A block that two brought together proves nothing against either of them.
        guilty = brought_alone(part.filled, damaged, BLOCK)
        for name, count in part.forget(damaged).items():
            self._progress.lost(entry.path, count)
            if name in wanted.chances and name in guilty:
                self._convict(wanted, name)
        self.board.again(wanted, part)
        return True

    def _convict(self, wanted: Wanted, name: str) -> None:
        path = wanted.entry.path
        reason = f"wrong bytes; expected {expected_digest(wanted.entry)}, got {wanted.got}"
        wanted.on_trial = None
        self.board.blame(wanted, name, reason)
        with self._lock:
            self._banned.add(name)
        self._progress.source_failed(name, path, reason, wrong=True, final=True)
        self._progress.note(f"{name}: {path}: {reason}; not asked again")

    def _count(self, claim: Claim, count: int) -> None:
        """Account for bytes that arrived, and hold the rate where the source can be held."""
        name = claim.source.name
        self.board.received(claim, count)
        if not count:
            return
        with self._lock:
            self._bytes[name] = self._bytes.get(name, 0) + count
        self._progress.advance(name, claim.wanted.entry.path, count)
        if (share := self._shares.get(name)) is not None:
            share.spend(count)
            return
        wait = self._limiter.spend(count)
        while wait > 0 and not claim.stop.is_set():
            claim.stop.wait(min(wait, 1.0))
            wait -= 1.0
            self.board.received(claim, 0)

    def _fail(
        self,
        claim: Claim,
        reason: str,
        *,
        permanent: bool = False,
        wrong: bool = False,
        whole: bool = False,
        retry_after: float | None = None,
    ) -> None:
        if self.board.stopping.is_set():
            self.board.put_back(claim)
            return
        name, path = claim.source.name, claim.wanted.entry.path
        standing = self.board.fail(
            claim,
            reason,
            permanent=permanent,
            wrong=wrong,
            whole=whole,
            retry_after=retry_after,
        )
        self._progress.source_failed(
            name, None if whole else path, reason, wrong=wrong, final=standing.closed
        )
        end = "; not asked again" if standing.closed else ""
        where = name if whole else f"{name}: {path}"
        self._progress.note(f"{where}: {reason}{end}")

    def _sync(self, resting: threading.Event) -> None:
        """Note what arrived, and have it on the disk soon after.

        A killed process then loses next to nothing, a power cut little, and committing a file
        finds most of it on the disk already.
        """
        while not resting.wait(_SAVE_EVERY_S):
            for part in self.board.parts:
                # A disk that refuses says so to the next write, which ends the fetch.
                with contextlib.suppress(OSError, GrokdistError):
                    if part.unsynced >= _SYNC_BYTES:
                        part.sync()
                    else:
                        part.save()

    def _write_back(self, resting: threading.Event) -> None:
        """Have the disk begin with each stretch, so that no stream waits for its queue."""
        while (stretch := self._stretches.get()) is not None:
            part, start, count = stretch
            if not resting.is_set():
                part.begin_writeback(start, count)

    def _hash(self, resting: threading.Event) -> None:
        """Hash what was brought ahead of a file's front, so that no stream waits for it."""
        while not resting.is_set():
            self._behind.wait()
            self._behind.clear()
            for wanted in self.board.opened_files:
                part = wanted.part
                if part is None or not part.behind:
                    continue
                try:
                    part.catch_up(self.board.stopping)
                    # Whoever brought the last byte did not wait for its hash.
                    self._finish(wanted)
                except BaseException as error:
                    self._end_all(error)

    def _tell(self) -> None:
        received = self.source_bytes
        for source in self._sources:
            view = self.board.view(source.name)
            condition = SourceCondition.IDLE
            if view.closed:
                condition = SourceCondition.GIVEN_UP
            elif view.resting:
                condition = SourceCondition.RESTING
            elif view.active:
                condition = SourceCondition.WORKING
            if view.closed and source.name in self._banned:
                condition = SourceCondition.BANNED
            told = condition in (SourceCondition.RESTING, SourceCondition.GIVEN_UP)
            state = SourceState(
                received=received.get(source.name, 0),
                connections=view.active,
                peers=source.peers,
                condition=condition,
                reason=view.reason if told else "",
                resumes_in=view.resting if condition is SourceCondition.RESTING else None,
            )
            self._progress.source(source.name, state)


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    """Wait for the end of a thread, if an interrupt let it begin at all."""
    if thread.is_alive():
        thread.join(timeout)
