"""Runs a plan: every wanted file from whichever source has it, hashed as it arrives.

Each source gets its own worker threads; the board says who works on what. A worker opens the
part of a file, lets the source bring it to its end, and commits it, which is where wrong bytes
end. The main thread only watches for stalls and interrupts. What is on disk is resumable at every
moment: nothing that matters lives in memory alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import (
    DigestMismatchError,
    GrokdistError,
    SourceError,
)
from grokdist.transfer.board import Board, Claim, Patience
from grokdist.transfer.failure import failure
from grokdist.transfer.holdings import Holdings
from grokdist.transfer.index import Hashed, Index
from grokdist.transfer.lock import exclusive
from grokdist.transfer.part import PartFile, RehashStoppedError
from grokdist.transfer.plan import FileState, Plan
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.rate import RateLimiter
from grokdist.transfer.record import MANIFEST, RECEIPT, make_receipt, read_receipt
from grokdist.transfer.sources.base import Source
from grokdist.transfer.tree import ModelTree, refusal
from grokdist.trust.receipt import Receipt

_POLL = 0.1
_PARTING = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchResult:
    """What a fetch did.

    Attributes:
        directory: where the files are.
        files: number of wanted files; all of them are there and right.
        size: their bytes.
        fetched_bytes: bytes that sources delivered in this run, also those thrown away.
        seconds: wall time.
        sources: bytes by source in this run.
        receipt: the receipt that was written.
    """

    directory: Path
    files: int
    size: int
    fetched_bytes: int
    seconds: float
    sources: Mapping[str, int]
    receipt: Receipt


def fetch(
    plan: Plan, progress: Progress | None = None, *, patience: Patience | None = None
) -> FetchResult:
    """Run a plan to its end: all wanted files there, right, and recorded in a receipt.

    On ``KeyboardInterrupt`` and on every error what has arrived stays and the same call goes on
    from there. A file that cannot be had does not keep the others from completing.

    Args:
        plan: from ``plan.make_plan``; its sources are closed at the end.
        progress: who listens.
        patience: how long to bear with sources that fail.

    Raises:
        ResourceError: the disk has no room; before the first byte, or when it fills up.
        StoreError: the directory is locked or cannot be written.
        UnsafePathError: a link inside the directory leads out of it.
        DigestMismatchError: no source delivered the right bytes of a file.
        NoSourceError: no source could be reached for a file.
    """
    try:
        plan.require_space()
        with ModelTree.create(plan.request.directory) as tree, exclusive(tree):
            return _Run(plan, tree, progress or NoProgress(), patience or Patience()).run()
    except OSError as error:
        raise refusal(str(plan.request.directory), error) from error
    finally:
        plan.close()


class _Run:
    """One run of one plan."""

    def __init__(self, plan: Plan, tree: ModelTree, progress: Progress, patience: Patience) -> None:
        self._plan = plan
        self._tree = tree
        self._progress = progress
        self._index = Index.load(tree)
        self._limiter = RateLimiter(plan.request.max_rate)
        # Under a limit of ours a stream is slow by our own doing.
        self._patience = replace(patience, slowest=0) if plan.request.max_rate else patience
        self._holdings = Holdings(tree, self._index, progress)
        self._origins: dict[str, tuple[str, ...]] = {}
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._fatal: BaseException | None = None
        self._started = datetime.now(UTC)

    def run(self) -> FetchResult:
        begun = time.monotonic()
        request = self._plan.request
        with contextlib.closing(self._index):
            if self._tree.read_small(MANIFEST, 1 << 30) != request.trusted.raw:
                self._tree.write_small(MANIFEST, request.trusted.raw)
            wanted = self._holdings.take_stock(self._plan.files)
            if wanted:
                self._fetch(self._urgent_first(wanted))
            self._plan.close()
            self._holdings.settle(
                {
                    file.entry.path: file.entry
                    for file in self._plan.files
                    if file.entry.path in self._origins
                }
            )
            receipt = self._record()
        return FetchResult(
            directory=request.directory,
            files=len(self._plan.files),
            size=self._plan.size,
            fetched_bytes=sum(self._bytes.values()),
            seconds=time.monotonic() - begun,
            sources=dict(self._bytes),
            receipt=receipt,
        )

    def _urgent_first(self, wanted: list[FileEntry]) -> list[FileEntry]:
        """Begun files first, so that few stand half-finished; else the manifest's order."""
        begun = {file.entry.path for file in self._plan.files if file.state is FileState.PARTIAL}
        order = {file.entry.path: place for place, file in enumerate(self._plan.files)}
        return sorted(wanted, key=lambda entry: (entry.path not in begun, order[entry.path]))

    def _fetch(self, wanted: list[FileEntry]) -> None:
        have = {file.entry.path: file.have for file in self._plan.files}
        partial = {f.entry.path for f in self._plan.files if f.state is FileState.PARTIAL}
        self._progress.begin(
            "fetch",
            files=len(wanted),
            size=sum(entry.size for entry in wanted),
            have=sum(have[entry.path] for entry in wanted if entry.path in partial),
        )
        for entry in wanted:
            if not entry.size:
                self._make_empty(entry)
        board = Board([entry for entry in wanted if entry.size], self._plan.live, self._patience)
        finished = threading.Event()
        workers = [
            threading.Thread(
                target=self._work,
                args=(board, source, finished),
                name=f"grokdist-{source.name}-{place}",
                daemon=True,
            )
            for source in self._plan.live
            for place in range(min(source.slots, len(wanted)))
        ]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                finished.wait(_POLL)
                finished.clear()
                for claim in board.check_stalls():
                    path = claim.wanted.entry.path
                    self._progress.note(f"{claim.source.name}: {path}: nothing arrives")
        finally:
            board.stop()
            deadline = time.monotonic() + _PARTING
            for worker in workers:
                worker.join(max(0.0, deadline - time.monotonic()))
            self._progress.end()
        if self._fatal is not None:
            raise self._fatal
        if board.failed:
            raise failure(board, board.failed, len(self._plan.files))

    def _make_empty(self, entry: FileEntry) -> None:
        """An empty file needs no source; its digest is checked like any other."""
        part = PartFile(self._tree, entry)
        row = Hashed(mark=part.commit(), digest=str(part.expected), sha256=part.sha256)
        self._holdings.add(entry, row)
        self._progress.file_done(entry.path, 0, DISK)

    def _work(self, board: Board, source: Source, finished: threading.Event) -> None:
        try:
            while (claim := board.claim(source)) is not None:
                self._bring(board, claim)
        except BaseException as error:
            self._end_all(board, error)
        finally:
            finished.set()

    def _end_all(self, board: Board, error: BaseException) -> None:
        with self._lock:
            self._fatal = self._fatal or error
        board.stop()

    def _bring(self, board: Board, claim: Claim) -> None:
        """Let the source of a claim bring its file; commit it or say what went wrong."""
        entry, name = claim.wanted.entry, claim.source.name
        try:
            part = PartFile(self._tree, entry, stop=claim.stop)
        except RehashStoppedError:
            board.put_back(claim)
            return
        self._progress.claim(name, entry.path, part.offset)
        part.on_bytes = lambda count: self._count(board, claim, part, count)
        try:
            if claim.source.kind is not SourceKind.TORRENT:
                # A swarm of a process that died may have left its file.
                part.adopt_swarm()
            if part.remaining:
                board.watch(claim)
                claim.source.fetch(entry, part, claim.stop)
                claim.watched = False
            part.adopt_swarm()
            if not part.remaining:
                self._commit(board, claim, part)
            elif board.stopping.is_set():
                board.put_back(claim)
            else:
                what = "nothing arrives" if claim.stalled else "ended early"
                self._fail(board, claim, f"{what} at {part.offset} of {entry.size} bytes")
        except SourceError as error:
            part.adopt_swarm()
            self._fail(
                board,
                claim,
                error.reason,
                permanent=error.permanent,
                whole=error.path is None,
                retry_after=error.retry_after,
            )
        except DigestMismatchError as error:
            self._wrong(board, claim, part, error)
        except (GrokdistError, OSError):
            raise
        except Exception as error:
            # A fault in one source, of whatever kind, must not end the others.
            part.adopt_swarm()
            self._fail(board, claim, f"{type(error).__name__}: {error}", permanent=True)
        finally:
            part.close()

    def _commit(self, board: Board, claim: Claim, part: PartFile) -> None:
        entry = claim.wanted.entry
        sources = part.sources
        mark = part.commit()
        self._origins[entry.path] = sources
        self._holdings.add(entry, Hashed(mark=mark, digest=str(part.expected), sha256=part.sha256))
        self._holdings.forget_bad(entry)
        board.done(claim)
        self._progress.file_done(entry.path, entry.size, claim.source.name)

    def _count(self, board: Board, claim: Claim, part: PartFile, count: int) -> None:
        """Account for bytes that arrived, and hold the rate where the source can be held."""
        name = claim.source.name
        if count and not claim.received:
            part.note_source(name)
        board.received(claim, count)
        if not count:
            return
        with self._lock:
            self._bytes[name] = self._bytes.get(name, 0) + count
        self._progress.advance(name, claim.wanted.entry.path, count)
        wait = self._limiter.spend(count)
        # libtorrent reads its sockets itself and has the limit among its settings.
        while wait > 0 and not part.in_swarm and not claim.stop.is_set():
            claim.stop.wait(min(wait, 1.0))
            wait -= 1.0
            board.received(claim, 0)

    def _wrong(
        self, board: Board, claim: Claim, part: PartFile, error: DigestMismatchError
    ) -> None:
        """The bytes are wrong: start the file anew, without the source if it alone is to blame."""
        if claim.received or not part.remaining:
            part.discard()
        claim.wanted.got = error.got or "other bytes"
        # Announced, or delivered from the first byte to the last: nobody else can be meant.
        to_blame = not part.began or (part.remaining and not claim.received)
        claim.wanted.mixed += not to_blame
        reason = f"wrong bytes; expected {error.expected}, got {error.got}"
        self._fail(board, claim, reason, wrong=bool(to_blame or claim.wanted.mixed > 1))

    def _fail(
        self,
        board: Board,
        claim: Claim,
        reason: str,
        *,
        permanent: bool = False,
        wrong: bool = False,
        whole: bool = False,
        retry_after: float | None = None,
    ) -> None:
        path = claim.wanted.entry.path
        if board.stopping.is_set():
            board.put_back(claim)
            return
        standing = board.fail(
            claim,
            reason,
            permanent=permanent,
            wrong=wrong,
            whole=whole,
            retry_after=retry_after,
        )
        end = "; not asked again" if standing.closed else ""
        where = claim.source.name if whole else f"{claim.source.name}: {path}"
        self._progress.note(f"{where}: {reason}{end}")

    def _record(self) -> Receipt:
        """Write the index and the receipt; every wanted file is right at this point."""
        old = read_receipt(self._tree)
        receipt = make_receipt(
            self._plan.request,
            rows=self._holdings.rows,
            origins=self._origins,
            source_bytes=self._bytes,
            started=self._started,
            old=old,
        )
        self._index.keep(self._index.rows_of(file.path for file in receipt.files))
        if receipt != old:
            self._tree.write_small(RECEIPT, receipt.to_json())
        return receipt
