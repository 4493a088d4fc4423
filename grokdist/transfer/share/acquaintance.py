"""Keeps in touch with the other members: one thread each, asking what is new.

Addresses come from the user, from announcements, from members that ask us, and from what members
tell of others; an address from the network is only ever asked for the one document, and their
number is bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from grokdist.errors import SourceError
from grokdist.transfer.share.client import MemberClient
from grokdist.transfer.share.members import Members
from grokdist.transfer.share.server import is_near
from grokdist.transfer.share.settings import ShareSettings
from grokdist.transfer.share.status import MAX_PEERS, Address
from grokdist.transfer.stop import Stop

_WAIT_S = 1.5
_SOON_S = 0.2
_LONGEST_S = 5.0
_FORGET_S = 120.0

MakeClient = Callable[[Address], MemberClient]


class Acquaintance:
    """The threads that ask; they run from ``add`` to ``close``.

    Args:
        members: where what they say is kept.
        make_client: makes a client for an address.
        settings: bounds, and the members that the user named.
    """

    def __init__(self, members: Members, make_client: MakeClient, settings: ShareSettings) -> None:
        self._members = members
        self._make_client = make_client
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[Address, MemberClient] = {}
        self._asked: set[Address] = set()
        self._named = set(settings.peers)
        self._answered: set[Address] = set()
        self._stop = Stop()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin with the members that the user named."""
        for address in self._settings.peers:
            self.add(address)

    def add(self, address: Address) -> None:
        """Get to know a member at an address, unless that was tried."""
        with self._lock:
            if (
                address in self._asked
                or len(self._asked) >= MAX_PEERS
                or self._stop.is_set()
                or not (address in self._named or self._settings.bind or is_near(address[0]))
            ):
                return
            self._asked.add(address)
            thread = threading.Thread(
                target=self._keep_asking, args=(address,), name="grokdist-member", daemon=True
            )
            self._threads.append(thread)
        thread.start()

    def client(self, address: Address) -> MemberClient:
        """The client for an address."""
        with self._lock:
            if address not in self._clients:
                self._clients[address] = self._make_client(address)
            return self._clients[address]

    @property
    def introduced(self) -> bool:
        """True when everyone that the user named has answered."""
        with self._lock:
            return self._named <= self._answered

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()
        with self._lock:
            threads, clients = list(self._threads), list(self._clients.values())
        for thread in threads:
            thread.join(2)
        for client in clients:
            client.close()

    def _keep_asking(self, address: Address) -> None:
        client = self.client(address)
        identity, cursor, failures = "", 0, 0
        heard = time.monotonic()
        while not self._stop.is_set() and not self._members.banned(address):
            try:
                status = client.status(cursor, _WAIT_S if cursor else 0.0, self._stop)
            except SourceError:
                if self._stop.is_set():
                    return
                failures += 1
                now = time.monotonic()
                # One broken connection is no death; silence for as long as a time-out is.
                if identity and (failures > 1 or now - heard >= self._settings.silence):
                    self._members.gone(identity)
                    identity, cursor = "", 0
                if now - heard > _FORGET_S and address not in self._named:
                    break
                self._stop.wait(min(_SOON_S * 2 ** min(failures, 5), _LONGEST_S))
                continue
            failures, heard = 0, time.monotonic()
            with self._lock:
                self._answered.add(address)
            if status.member == self._members.me:
                return
            if identity and status.member != identity:
                # It was started again; one that changes its name all the time is not followed.
                self._members.forget(identity)
                identity, cursor = "", 0
                self._stop.wait(_SOON_S)
                continue
            if not self._members.update(status, address):
                # It is asked at another of its addresses; this one may be needed later.
                identity, cursor = "", 0
                self._stop.wait(_LONGEST_S)
                continue
            identity, cursor = status.member, status.cursor
            for peer in status.peers:
                self.add(peer)
        with self._lock:
            self._asked.discard(address)
