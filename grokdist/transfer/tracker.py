"""A small BitTorrent tracker over HTTP (BEP 3, 7 in part, 23), for the demo and the tests.

It answers announces for IPv4 peers from memory and keeps nothing. It is not a public tracker:
no scrape, no UDP, no IPv6, no authentication. What a stranger can make it hold or do is bounded:
swarms, peers a swarm, requests at once, seconds and bytes a request.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote_to_bytes

MAX_SWARMS = 1_000
MAX_PEERS = 500
MAX_ANSWERED = 50
MAX_REQUESTS_AT_ONCE = 64
MAX_TARGET = 2_048
"""Longest request target, bytes; real announces take about 300."""

_TIMEOUT_S = 5.0

_Bencodable = int | bytes | list["_Bencodable"] | dict[bytes, "_Bencodable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Announce:
    """One announce, parsed.

    Attributes:
        info_hash: 20 bytes (of a v2 torrent: the first 20 of its SHA-256).
        peer_id: 20 bytes.
        address: IPv4 address that the request came from; what it says of itself is ignored.
        port: where the peer listens.
        left: bytes the peer still lacks; 0 for a seed.
        stopped: True where the peer leaves.
        compact: True for 6 bytes a peer, False for a list of dictionaries.
        wanted: how many peers it asks for.
    """

    info_hash: bytes
    peer_id: bytes
    address: str
    port: int
    left: int
    stopped: bool
    compact: bool
    wanted: int


@dataclass(kw_only=True, slots=True)
class _Peer:
    address: str
    port: int
    left: int
    seen: float


@dataclass(kw_only=True, slots=True)
class _Swarm:
    peers: OrderedDict[bytes, _Peer] = field(default_factory=OrderedDict)


def bencode(value: _Bencodable) -> bytes:
    """Encode a value as BEP 3 says, dictionary keys sorted."""
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            items = (bencode(key) + bencode(value[key]) for key in sorted(value))
            return b"d" + b"".join(items) + b"e"


def parse_announce(target: str, address: str) -> Announce:
    """Read the target of an announce request.

    Args:
        target: path and query as they came on the request line.
        address: the peer's address as the socket saw it.

    Raises:
        ValueError: a field is missing or not of its form; the message is fit for the peer.
    """
    path, _, query = target.partition("?")
    if path != "/announce":
        raise ValueError("unknown path; expected /announce")
    fields: dict[str, bytes] = {}
    for item in query.split("&", 32)[:32]:
        key, _, value = item.partition("=")
        # unquote_plus would turn a plus sign of a binary hash into a space.
        fields.setdefault(key, unquote_to_bytes(value))
    info_hash, peer_id = fields.get("info_hash", b""), fields.get("peer_id", b"")
    if len(info_hash) != 20:
        raise ValueError(f"info_hash has {len(info_hash)} bytes; expected 20")
    if len(peer_id) != 20:
        raise ValueError(f"peer_id has {len(peer_id)} bytes; expected 20")
    port = _number(fields, "port", None, 65_535)
    if port == 0:
        raise ValueError("port is 0; expected 1 to 65535")
    if ipaddress.ip_address(address).version != 4:
        raise ValueError("only IPv4 peers are served")
    return Announce(
        info_hash=info_hash,
        peer_id=peer_id,
        address=address,
        port=port,
        left=_number(fields, "left", 0, 1 << 62),
        stopped=fields.get("event") == b"stopped",
        compact=fields.get("compact", b"1") != b"0",
        wanted=min(_number(fields, "numwant", MAX_ANSWERED, 1 << 31), MAX_ANSWERED),
    )


def _number(fields: dict[str, bytes], name: str, default: int | None, most: int) -> int:
    raw = fields.get(name)
    if raw is None and default is not None:
        return default
    if raw is None or len(raw) > 20 or not raw.isdigit() or int(raw) > most:
        raise ValueError(f"{name} is not a number from 0 to {most}")
    return int(raw)


class PeerBook:
    """Who is in which swarm; safe to use from several threads.

    Args:
        interval_s: seconds between announces; a peer that misses three is forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, interval_s: int = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval_s
        self._clock = clock
        self._swarms: OrderedDict[bytes, _Swarm] = OrderedDict()
        self._lock = threading.Lock()

    def announce(self, request: Announce) -> bytes:
        """Record the peer and return the bencoded answer: the others, never itself."""
        with self._lock:
            others, seeds = self._record(request)
        random.shuffle(others)
        chosen = others[: 0 if request.stopped else request.wanted]
        return bencode(
            {
                b"interval": self._interval,
                # Peers that start at the same time must find each other soon.
                b"min interval": 1,
                b"complete": seeds,
                b"incomplete": len(others) + (not request.stopped) - seeds,
                b"peers": _compact(chosen) if request.compact else _listed(chosen),
            }
        )

    def __len__(self) -> int:
        return sum(len(swarm.peers) for swarm in self._swarms.values())

    def _record(self, request: Announce) -> tuple[list[tuple[bytes, _Peer]], int]:
        now = self._clock()
        swarm = self._swarms.setdefault(request.info_hash, _Swarm())
        self._swarms.move_to_end(request.info_hash)
        swarm.peers.pop(request.peer_id, None)
        while swarm.peers:
            oldest = next(iter(swarm.peers))
            if now - swarm.peers[oldest].seen <= 3 * self._interval:
                break
            del swarm.peers[oldest]
        # One machine may run several peers; one address and port is one peer.
        others = [
            (peer_id, peer)
            for peer_id, peer in swarm.peers.items()
            if (peer.address, peer.port) != (request.address, request.port)
        ]
        seeds = sum(peer.left == 0 for _, peer in others)
        if not request.stopped:
            swarm.peers[request.peer_id] = _Peer(
                address=request.address, port=request.port, left=request.left, seen=now
            )
            seeds += request.left == 0
            if len(swarm.peers) > MAX_PEERS:
                swarm.peers.popitem(last=False)
        if not swarm.peers:
            del self._swarms[request.info_hash]
        if len(self._swarms) > MAX_SWARMS:
            self._swarms.popitem(last=False)
        return others, seeds


def _compact(peers: list[tuple[bytes, _Peer]]) -> bytes:
    return b"".join(
        socket.inet_aton(peer.address) + peer.port.to_bytes(2, "big") for _, peer in peers
    )


def _listed(peers: list[tuple[bytes, _Peer]]) -> list[_Bencodable]:
    return [
        {b"peer id": peer_id, b"ip": peer.address.encode(), b"port": peer.port}
        for peer_id, peer in peers
    ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], book: PeerBook) -> None:
        self.book = book
        self._free = threading.BoundedSemaphore(MAX_REQUESTS_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        if len(self.path) > MAX_TARGET:
            self.send_error(414)
            return
        try:
            body = self.server.book.announce(parse_announce(self.path, self.client_address[0]))
        except ValueError as error:
            body = bencode({b"failure reason": str(error).encode()})
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: who fetches what is nobody's business."""


class Tracker:
    """A tracker that runs in threads of this process until it is closed.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        interval_s: seconds between a peer's announces.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, interval_s: int = 60) -> None:
        self.book = PeerBook(interval_s=interval_s)
        self._server = _Server((host, port), self.book)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="grokdist-tracker", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The announce URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/announce"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
