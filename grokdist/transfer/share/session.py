"""One machine's part in a share, from the first announcement to the last request served."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from grokdist.catalog.manifest import Manifest, SourceKind
from grokdist.errors import GrokdistError
from grokdist.transfer.plan import FileState, Plan
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.share.acquaintance import Acquaintance
from grokdist.transfer.share.allotment import Allotment
from grokdist.transfer.share.client import MemberClient
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.discovery import Announcement, Discovery
from grokdist.transfer.share.members import Members
from grokdist.transfer.share.peer_source import NAME, PeerSource
from grokdist.transfer.share.server import ShareServer
from grokdist.transfer.share.settings import ShareSettings
from grokdist.transfer.share.shelf import Shelf, first_hand
from grokdist.transfer.share.status import MAX_PEERS, Address, Status
from grokdist.transfer.share.wrapping import OwnedSource
from grokdist.transfer.sources.base import Source
from grokdist.transfer.tree import ModelTree

_HOLD_S = 0.1
_HOLD_PER_MEMBER_S = 0.01
_CALM_S = 0.5
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What was given to others.

    Attributes:
        bytes: payload bytes sent.
        members: machines known, also those that are gone.
        waiting: machines that were still at work at the end.
    """

    bytes: int
    members: int
    waiting: int


class ShareSession:
    """One machine's part in a share; use it in a ``with``.

    Nothing is said or answered before ``begin``.

    Args:
        manifest: what is fetched.
        directory: the model directory.
        settings: how to take part.
        note: told what people may want to know.

    Raises:
        StoreError: the port cannot be listened on.
    """

    def __init__(
        self,
        manifest: Manifest,
        directory: Path,
        settings: ShareSettings,
        *,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.note = note
        self._settings = settings
        self._directory = directory
        self._closing = threading.Event()
        self._complete = False
        self._skips: frozenset[int] = frozenset()
        self._discovery: Discovery | None = None
        self.id = secrets.token_hex(16)
        self.content = Content.of(manifest.files)
        self.shelf = Shelf(self.content, directory)
        self.members = Members(self.id, lambda text: self.note(text), self.shelf.nudge)
        self._allotment = Allotment(self.content, self.members, self.shelf, settings)
        self._server = ShareServer(
            self.content,
            self.shelf,
            describe=self._describe,
            greet=lambda _, address: self._acquaintance.add(address),
            settings=settings,
        )
        self._acquaintance = Acquaintance(self.members, self._client, settings)
        self._peers = PeerSource(
            self.content,
            self.members,
            self._acquaintance,
            self._allotment,
            self.shelf,
            slots=settings.slots,
        )
        self.listener = _Listener(self._peers, self.shelf)
        """To be told of the progress of the fetch."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where this machine answers."""
        return self._server.port

    @property
    def given(self) -> Given:
        """What was given to others so far."""
        return Given(
            bytes=self._server.served.bytes,
            members=len(self.members.all),
            waiting=sum(not member.status.complete for member in self.members.live),
        )

    def wrap(self, sources: Iterable[Source]) -> tuple[Source, ...]:
        """The sources of a fetch that shares: the origins, asked for our part, and the members.

        A folder of this machine costs nobody's line and is left as it is.
        """
        return (
            *(
                source
                if source.kind is SourceKind.LOCAL
                else OwnedSource(source, self.content, self._allotment, self.shelf)
                for source in sources
            ),
            self._peers,
        )

    def begin(self, plan: Plan) -> None:
        """Say what is here, and get to know the others; returns at once."""
        self._take_stock(plan)
        self._server.start()
        self._acquaintance.start()
        if self._settings.multicast:
            announcement = Announcement(
                share_id=self.content.share_id, member=self.id, port=self.port
            )
            try:
                self._discovery = Discovery(
                    announcement, lambda _, address: self._acquaintance.add(address), self._settings
                )
                self._discovery.start()
            except OSError as error:
                self.note(f"share: no multicast here ({error}); name machines with --share-peer")
        threading.Thread(target=self._settle, name="grokdist-settle", daemon=True).start()

    def finish(self) -> None:
        """Tell the others that all that was wanted is here."""
        self._complete = True
        self.shelf.nudge()

    def linger(self, stop: threading.Event, *, stay: bool = False) -> Given:
        """Serve the others until they are done, or nobody has asked for a while.

        Args:
            stop: ends it early.
            stay: wait for that while even if nobody is known who is not done.
        """
        # Nobody may be known yet because we have only just come.
        self._allotment.settled.wait(self._settings.settle)
        begun = calm = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            served = self._server.served
            if served.uploads or (not stay and self.given.waiting):
                calm = now
            if not stay and now - calm >= _CALM_S:
                break
            if not served.uploads and now - max(served.asked, begun) >= self._settings.linger:
                break
            stop.wait(_POLL_S)
        return self.given

    def close(self) -> None:
        """Leave the share."""
        self._closing.set()
        self.shelf.nudge()
        if self._discovery is not None:
            self._discovery.close()
        self._server.close()
        self._acquaintance.close()
        self.shelf.close()

    def _take_stock(self, plan: Plan) -> None:
        """Put on the shelf what earlier runs left; note what is not wanted here."""
        wanted = {self.content.number(file.entry) for file in plan.files}
        self._skips = frozenset(set(range(len(self.content.files))) - wanted)
        partial = []
        for file in plan.files:
            if file.state is FileState.VERIFIED:
                self.shelf.finish(file.entry.path)
            elif file.state is FileState.PARTIAL:
                partial.append(file.entry)
        if not partial:
            return
        with contextlib.suppress(GrokdistError, OSError), ModelTree(self._directory) as tree:
            for entry in partial:
                number = self.content.number(entry)
                if number is not None and entry.path == self.content.files[number].paths[0]:
                    self.shelf.add(number, first_hand(tree, entry, besides=NAME))

    def _settle(self) -> None:
        """Let the members find one another before anything is taken from the origin."""
        deadline = time.monotonic() + self._settings.settle
        while time.monotonic() < deadline and not self._closing.wait(_POLL_S):
            if not self._settings.multicast and self._acquaintance.introduced:
                break
        self._allotment.settled.set()

    def _describe(self, cursor: int, wait: float, host: str) -> bytes:
        """The status document for a member at ``host``."""
        live = self.members.live
        if cursor:
            # News of a moment in one answer: with many members there are many questions.
            self._closing.wait(_HOLD_S + _HOLD_PER_MEMBER_S * len(live))
            self.shelf.wait(cursor, wait, self._closing)
        cursor, whole, files = self.shelf.changes(cursor)
        return Status(
            member=self.id,
            port=self.port,
            cursor=cursor,
            whole=whole,
            files=files,
            takings=self.shelf.takings,
            skips=self._skips if whole else None,
            complete=self._complete,
            able=self._allotment.able,
            idle=self._allotment.idle,
            uploads=self._server.served.uploads,
            peers=_reachable([member.address for member in live], host),
        ).to_json()

    def _client(self, address: Address) -> MemberClient:
        return MemberClient(
            address,
            self.content,
            introduction=f"{self.id} {self.port}",
            key=self._settings.key,
            timeout=self._settings.silence,
        )


class _Listener(NoProgress):
    """Hears from the fetch which files proved right or wrong."""

    def __init__(self, peers: PeerSource, shelf: Shelf) -> None:
        self._peers = peers
        self._shelf = shelf

    def file_done(self, path: str, size: int, source: str) -> None:
        """Give the file to whoever wants it; if it had been wrong, find out who lied."""
        self._shelf.finish(path)
        self._peers.judge(path)

    def lost(self, path: str, count: int) -> None:
        """Give no more of a file that proved wrong."""
        self._peers.doubt(path)
        self._shelf.lose(path)


def _reachable(addresses: Sequence[Address], host: str) -> list[Address]:
    """The addresses that mean the same to a machine at ``host``: none of ours alone, no names."""
    here = ipaddress.ip_address(host).is_loopback
    found = []
    for address in addresses:
        with contextlib.suppress(ValueError):
            parsed = ipaddress.ip_address(address[0])
            if not parsed.is_global and (here or not parsed.is_loopback):
                found.append(address)
    return found[:MAX_PEERS]
