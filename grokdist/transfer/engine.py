"""Runs a plan: every wanted file from whichever source has it, hashed as it arrives.

What is here and right is taken stock of, a crew of workers brings the rest, and the receipt is
written. What is on disk is resumable at every moment: nothing that matters lives in memory alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import GrokdistError
from grokdist.transfer.adopt import link_files
from grokdist.transfer.claims import Patience
from grokdist.transfer.crew import Crew
from grokdist.transfer.failure import failure
from grokdist.transfer.front_to_back import fits_the_cache
from grokdist.transfer.holdings import HERE, Holdings
from grokdist.transfer.index import Hashed, Index
from grokdist.transfer.lease import Lease
from grokdist.transfer.lock import exclusive
from grokdist.transfer.name_clash import refuse_clashes
from grokdist.transfer.part import Part
from grokdist.transfer.part_files import forget_swarm, part_bytes
from grokdist.transfer.plan import FileState, Plan, make_plan
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.rate import RateLimiter
from grokdist.transfer.record import MANIFEST, RECEIPT, make_receipt, read_receipt
from grokdist.transfer.tree import ModelTree, StatMark, refusal
from grokdist.transfer.tree_builder import TreeBuilder
from grokdist.transfer.trees import load_tree
from grokdist.trust.receipt import Receipt
from grokdist.trust.sha256_build import prepare


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchResult:
    """What a fetch did.

    Attributes:
        directory: where the files are.
        files: number of wanted files; all of them are there and right.
        size: their bytes.
        fetched_bytes: bytes that sources delivered in this run, also those thrown away.
        seconds: wall time until every file was found right and named.
        trees: files that have a tree now, of those that can have one; see ``transfer.trees``.
        sources: bytes by source in this run.
        receipt: the receipt that was written.
    """

    directory: Path
    files: int
    size: int
    fetched_bytes: int
    seconds: float
    trees: int
    sources: Mapping[str, int]
    receipt: Receipt


def fetch(
    plan: Plan,
    progress: Progress | None = None,
    *,
    patience: Patience | None = None,
    on_verified: Callable[[FetchResult], None] | None = None,
) -> FetchResult:
    """Run a plan to its end: all wanted files there, right, and recorded in a receipt.

    On ``KeyboardInterrupt`` and on every error what has arrived stays and the same call goes on
    from there. A file that cannot be had does not keep the others from completing.

    Args:
        plan: from ``plan.make_plan``; its sources are closed at the end.
        progress: who listens.
        patience: how long to bear with sources that fail.
        on_verified: called once every file is there and right and the receipt is written, before
            the wait for trees that are still being built. Nothing that follows raises, unless the
            user interrupts it.

    Raises:
        ResourceError: the disk has no room; before the first byte, or when it fills up.
        StoreError: the directory is locked or cannot be written.
        UnsafePathError: a link inside the directory leads out of it.
        DigestMismatchError: no source delivered the right bytes of a file.
        NoSourceError: no source could be reached for a file.
    """
    listener = progress or NoProgress()
    waited: list[str] = []

    def waiting(message: str) -> None:
        waited.append(message)
        listener.note(message)

    try:
        plan.require_space()
        with (
            ModelTree.create(plan.request.directory) as tree,
            exclusive(tree, wait=plan.request.wait, on_wait=waiting) as lease,
        ):
            if waited:
                # Whoever was waited for brought some of it.
                plan = make_plan(plan.request, plan.live)
                plan.require_space()
            run = _Run(plan, tree, lease, listener, patience or Patience())
            return run.run(on_verified or (lambda _: None))
    except OSError as error:
        raise refusal(str(plan.request.directory), error) from error
    finally:
        plan.close()


class _Run:
    """One run of one plan."""

    def __init__(
        self,
        plan: Plan,
        tree: ModelTree,
        lease: Lease,
        progress: Progress,
        patience: Patience,
    ) -> None:
        self._plan = plan
        self._tree = tree
        self._lease = lease
        self._progress = progress
        self._index = Index.load(tree)
        self._limiter = RateLimiter(plan.request.max_rate)
        # Under a limit of ours a stream is slow by our own doing.
        self._patience = replace(patience, slowest=0) if plan.request.max_rate else patience
        self._old = read_receipt(tree)
        before = self._old.files if self._old is not None else ()
        self._old_sources = {file.path: file.sources for file in before}
        self._roots = self._known_roots()
        self._holdings = Holdings(tree, self._index, progress, self._roots)
        if plan.request.trees:
            prepare(plan.size)
        self._builder = (
            TreeBuilder(tree, on_done=self._grown, keep=fits_the_cache(plan.size))
            if plan.request.trees
            else None
        )
        self._origins: dict[str, tuple[str, ...]] = {}
        self._planted: set[str] = set()
        self._swarmed: set[str] = set()
        self._swarms = {each.name for each in plan.live if each.kind is SourceKind.TORRENT}
        self._fresh_roots: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._started = datetime.now(UTC)

    def run(self, on_verified: Callable[[FetchResult], None]) -> FetchResult:
        begun = time.monotonic()
        request = self._plan.request
        with contextlib.ExitStack() as stack:
            stack.callback(self._index.close)
            if self._builder is not None:
                stack.callback(self._builder.close)
            if self._tree.read_small(MANIFEST, 1 << 30) != request.trusted.raw:
                self._tree.write_small(MANIFEST, request.trusted.raw)
            refuse_clashes(self._tree, (file.entry.path for file in self._plan.files))
            wanted = self._holdings.take_stock(self._plan.files)
            if wanted and request.link:
                wanted = link_files(
                    self._tree, wanted, self._plan.live, self._progress, on_linked=self._linked
                )
            if wanted:
                self._fetch(self._urgent_first(wanted))
            self._plan.close()
            forget_swarm(self._tree)
            self._holdings.settle(
                [file.entry for file in self._plan.files if file.entry.path in self._swarmed]
            )
            receipt = self._record()
            result = FetchResult(
                directory=request.directory,
                files=len(self._plan.files),
                size=self._plan.size,
                fetched_bytes=sum(self._bytes.values()),
                seconds=time.monotonic() - begun,
                trees=_trees_in(receipt),
                sources=dict(self._bytes),
                receipt=receipt,
            )
            on_verified(result)
            receipt = self._grow_trees(receipt)
        return replace(result, receipt=receipt, trees=_trees_in(receipt))

    def _known_roots(self) -> dict[str, str]:
        """The tree roots that the manifest names, or an earlier fetch found for the same bytes."""
        digests = {file.entry.path: file.entry.sha256 for file in self._plan.files}
        roots = {
            file.path: file.pieces_root
            for file in (self._old.files if self._old is not None else ())
            if file.pieces_root is not None and digests.get(file.path) in (file.sha256, None)
        }
        for file in self._plan.files:
            if file.entry.pieces_root is not None:
                roots[file.entry.path] = file.entry.pieces_root
        return roots

    def _grown(self, path: str, root: str) -> None:
        """A tree is built; the bytes had the right digest, so its root is theirs."""
        with self._lock:
            self._roots[path] = root
            self._fresh_roots[path] = root

    def _grow_trees(self, receipt: Receipt) -> Receipt:
        """Have the trees that are still absent built, and their roots in the receipt.

        They follow the fetch from the page cache and never hold it up; what is verified is
        verified without them.
        """
        builder = self._builder
        if builder is None:
            return receipt
        rows = self._holdings.rows
        for file in self._plan.files:
            self._plant(file.entry, rows[file.entry.path].mark)
        builder.wait(threading.Event(), self._progress.trees)
        if (trouble := builder.trouble) is not None:
            self._progress.note(f"no more hash trees: {trouble}")
        for path, reason in builder.failures.items():
            self._progress.note(f"{path} has no hash tree: {reason}")
        if not self._fresh_roots:
            return receipt
        with self._lock:
            grown = receipt.with_roots(self._fresh_roots)
        try:
            self._tree.write_small(RECEIPT, grown.to_json())
        except (OSError, GrokdistError) as error:
            self._progress.note(f"the hash trees are not in the receipt: {error}")
            return receipt
        return grown

    def _urgent_first(self, wanted: list[FileEntry]) -> list[FileEntry]:
        """Begun files first, so that few stand half-finished; else the manifest's order."""
        begun = {file.entry.path for file in self._plan.files if file.state is FileState.PARTIAL}
        order = {file.entry.path: place for place, file in enumerate(self._plan.files)}
        return sorted(wanted, key=lambda entry: (entry.path not in begun, order[entry.path]))

    def _fetch(self, wanted: list[FileEntry]) -> None:
        begun = {
            file.entry.path for file in self._plan.files if file.state is not FileState.MISSING
        }
        self._progress.begin(
            "fetch",
            files=len(wanted),
            size=sum(entry.size for entry in wanted),
            have=sum(part_bytes(self._tree, entry) for entry in wanted if entry.path in begun),
        )
        for entry in wanted:
            if not entry.size:
                self._make_empty(entry)
        crew = Crew(
            self._tree,
            [entry for entry in wanted if entry.size],
            self._plan.live,
            patience=self._patience,
            limiter=self._limiter,
            progress=self._progress,
            preallocate=self._plan.request.preallocate,
            on_commit=self._committed,
            on_batch=self._index.flush,
            on_tick=self._lease.check,
        )
        try:
            crew.run()
        finally:
            self._bytes = dict(crew.source_bytes)
            self._progress.end()
        if crew.board.failed:
            raise failure(crew.board, crew.board.failed, len(self._plan.files))

    def _linked(self, entry: FileEntry, row: Hashed, source: str) -> None:
        """A file of a local source has its final name here too."""
        self._origins[entry.path] = (source,)
        self._holdings.add(entry, row)
        self._index.flush()
        self._holdings.forget_bad(entry)

    def _make_empty(self, entry: FileEntry) -> None:
        """An empty file needs no source; its digest is checked like any other."""
        part = Part(self._tree, entry)
        part.check()
        part.rename()
        self._committed(entry, part, part.let_go(), ())
        self._progress.file_done(entry.path, 0, DISK)

    def _committed(
        self, entry: FileEntry, part: Part, mark: StatMark, sources: tuple[str, ...]
    ) -> None:
        """A file has its final name."""
        with self._lock:
            self._origins[entry.path] = self._named(entry.path, sources)
        row = Hashed(mark=mark, digest=str(part.expected), sha256=part.sha256)
        self._holdings.add(entry, row)
        self._holdings.forget_bad(entry)
        if self._swarms & set(sources):
            # It is marked again once libtorrent has let go of it.
            self._swarmed.add(entry.path)
        else:
            self._plant(entry, mark)

    def _named(self, path: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The sources of a file; for bytes that were here, those that the last receipt names."""
        named: list[str] = []
        for name in sources:
            named += self._old_sources.get(path, ()) if name == HERE else (name,)
        return tuple(dict.fromkeys(named))

    def _plant(self, entry: FileEntry, mark: StatMark) -> None:
        """Have the tree of a file built, unless it is kept already."""
        if self._builder is None or not entry.size or entry.path in self._planted:
            return
        root = self._roots.get(entry.path)
        if root is None or load_tree(self._tree, entry.path, entry.size, root) is None:
            self._planted.add(entry.path)
            self._builder.add(entry.path, entry.size, mark)

    def _record(self) -> Receipt:
        """Write the index and the receipt; every wanted file is right at this point."""
        old = self._old
        receipt = make_receipt(
            self._plan.request,
            rows=self._holdings.rows,
            origins=self._origins,
            source_bytes=self._bytes,
            started=self._started,
            roots=self._fresh_roots,
            old=old,
        )
        self._index.keep(self._index.rows_of(file.path for file in receipt.files))
        if receipt != old:
            self._tree.write_small(RECEIPT, receipt.to_json())
        return receipt


def _trees_in(receipt: Receipt) -> int:
    return sum(file.pieces_root is not None for file in receipt.files)
