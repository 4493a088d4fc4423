"""Members find each other on the local network, by announcements to a multicast group.

An announcement says which share a machine takes part in, by the digest of its list of digests,
and on which port it listens; where it is, is the address that the datagram came from. It leaves
the network segment at no time (TTL 1). With a key it is signed, and others are not heeded. Like
local service discovery of BitTorrent (BEP 14), for any content and IPv4 only: where multicast
does not pass, members are named with ``--share-peer``.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from grokdist.transfer.share.keys import ShareKey
from grokdist.transfer.share.settings import GROUP, ShareSettings
from grokdist.transfer.share.status import Address

_MOST = 1024
_FIRST_S = (0.0, 0.25, 0.75, 1.5)
_EVERY_S = 5.0
_ANSWER_S = 0.5
_AGE_S = 300.0


class Announcement:
    """What a machine says to the group; written and read here.

    Args:
        share_id: the share.
        member: the sender's id.
        port: where it listens.
    """

    def __init__(self, *, share_id: str, member: str, port: int) -> None:
        self.share_id = share_id
        self.member = member
        self.port = port

    def to_bytes(self, key: ShareKey | None) -> bytes:
        """The datagram."""
        now = int(time.time())
        document: dict[str, Any] = {
            "grokdist": 1,
            "share": self.share_id,
            "member": self.member,
            "port": self.port,
        }
        if key is not None:
            document["time"] = now
            document["mac"] = key.mac(*self._signed(now))
        return json.dumps(document, separators=(",", ":")).encode()

    def _signed(self, now: int) -> tuple[str, ...]:
        return "announce", self.share_id, self.member, str(self.port), str(now)

    @classmethod
    def read(cls, data: bytes, key: ShareKey | None) -> Announcement | None:
        """An announcement that makes sense and, with a key, is signed by it; else None."""
        try:
            document = json.loads(data)
            found = cls(
                share_id=document["share"], member=document["member"], port=document["port"]
            )
            if document["grokdist"] != 1 or type(found.port) is not int:
                return None
            if not (0 < found.port < 65536 and isinstance(found.member, str)):
                return None
            if key is not None:
                sent = document["time"]
                if type(sent) is not int or abs(time.time() - sent) > _AGE_S:
                    return None
                if not key.matches(document["mac"], *found._signed(sent)):
                    return None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None
        return found


class Discovery:
    """Announces this machine, and hears others; runs from ``start`` to ``close``.

    Args:
        announcement: what to say.
        heard: told of the id and address of a member of the same share.
        settings: key, port of the group, and the address to keep to.

    Raises:
        OSError: multicast cannot be used here.
    """

    def __init__(
        self,
        announcement: Announcement,
        heard: Callable[[str, Address], None],
        settings: ShareSettings,
    ) -> None:
        self._announcement = announcement
        self._heard = heard
        self._settings = settings
        self._closing = threading.Event()
        self._answer = threading.Event()
        self._known: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._interfaces = self._join()
        except OSError:
            self._socket.close()
            raise
        self._threads = [
            threading.Thread(target=target, name="grokdist-discovery", daemon=True)
            for target in (self._listen, self._speak)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Fall silent."""
        self._closing.set()
        self._answer.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2)
        self._socket.close()

    def _join(self) -> list[bytes]:
        """Join the group on every interface; returns how each is named to the system."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("", self._settings.group_port))
        self._socket.settimeout(0.5)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        group = socket.inet_aton(GROUP)
        bind = self._settings.bind
        if bind is not None and ":" not in bind:
            places = [struct.pack("4s4si", group, socket.inet_aton(bind), 0)]
        else:
            places = [
                struct.pack("4s4si", group, b"\0\0\0\0", index)
                for index, _ in socket.if_nameindex()
            ]
        joined = []
        for place in places:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, place)
                joined.append(place)
        if not joined:
            raise OSError("no interface takes part in multicast")
        return joined

    def _speak(self) -> None:
        begun = time.monotonic()
        first = list(_FIRST_S)
        last = 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            due = begun + first[0] if first else last + _EVERY_S
            if self._answer.is_set():
                due = min(due, last + _ANSWER_S)
            if now < due:
                if self._answer.is_set():
                    self._closing.wait(due - now)
                else:
                    self._answer.wait(due - now)
                continue
            if first:
                first.pop(0)
            self._answer.clear()
            last = now
            data = self._announcement.to_bytes(self._settings.key)
            for place in self._interfaces:
                # An interface without an address, or one that went away, is no reason to stop.
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, place)
                    self._socket.sendto(data, (GROUP, self._settings.group_port))

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                data, (host, _) = self._socket.recvfrom(_MOST + 1)
            except TimeoutError:
                continue
            except OSError:
                if self._closing.wait(0.2):
                    return
                continue
            if len(data) > _MOST:
                continue
            found = Announcement.read(data, self._settings.key)
            mine = self._announcement
            if found is None or found.share_id != mine.share_id or found.member == mine.member:
                continue
            self._heard(found.member, (host, found.port))
            if found.member not in self._known and len(self._known) < 4096:
                self._known.add(found.member)
                # A newcomer need not wait for our next turn.
                self._answer.set()
