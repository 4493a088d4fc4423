"""The tracker: what it answers, and what it does not put up with."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import quote_from_bytes, urlsplit

import libtorrent as lt
import pytest

from grokdist.transfer import tracker as tracking
from grokdist.transfer.tracker import Announce, PeerBook, Tracker, bencode, parse_announce

HASH = bytes(range(236, 256))


def _announce(peer: int, *, port: int = 0, info_hash: bytes = HASH, **fields: object) -> Announce:
    values: dict[str, object] = {
        "info_hash": info_hash,
        "peer_id": b"-XX0000-%012d" % peer,
        "address": "127.0.0.1",
        "port": port or 10_000 + peer,
        "left": 1,
        "stopped": False,
        "compact": True,
        "wanted": 50,
    }
    return Announce(**(values | fields))  # type: ignore[arg-type]


def _ports(answer: bytes) -> set[int]:
    peers = lt.bdecode(answer)[b"peers"]  # type: ignore[index,call-overload]
    return {int.from_bytes(peers[at + 4 : at + 6], "big") for at in range(0, len(peers), 6)}


def _get(tracker: Tracker, target: str) -> dict[bytes, object]:
    with urllib.request.urlopen(tracker.url.removesuffix("/announce") + target) as response:  # noqa: S310
        answer = lt.bdecode(response.read())
    assert isinstance(answer, dict)
    return answer


def _query(peer: int, **more: object) -> str:
    fields = {"info_hash": HASH, "peer_id": b"-XX0000-%012d" % peer, "port": 10_000 + peer} | more
    return "/announce?" + "&".join(
        f"{key}={quote_from_bytes(value) if isinstance(value, bytes) else value}"
        for key, value in fields.items()
    )


def test_over_http() -> None:
    with Tracker() as tracker:
        first = _get(tracker, _query(1, left=0))
        second = _get(tracker, _query(2, left=5))
        third = _get(tracker, _query(3, compact=0, event="stopped"))
        fourth = _get(tracker, _query(4, compact=0))
    assert first == {
        b"interval": 60,
        b"min interval": 1,
        b"complete": 1,
        b"incomplete": 0,
        b"peers": b"",
    }
    assert second[b"peers"] == b"\x7f\x00\x00\x01" + (10_001).to_bytes(2, "big")
    assert (second[b"complete"], second[b"incomplete"]) == (1, 1)
    assert third[b"peers"] == []
    listed = fourth[b"peers"]
    assert isinstance(listed, list)
    assert sorted(peer[b"port"] for peer in listed) == [10_001, 10_002]
    assert {peer[b"ip"] for peer in listed} == {b"127.0.0.1"}


def test_never_names_the_caller() -> None:
    book = PeerBook()
    for _ in range(2):
        assert _ports(book.announce(_announce(1))) == set()
    # The same place under a new identity, as after a restart.
    assert _ports(book.announce(_announce(2, port=10_001))) == set()


def test_peers_leave_and_are_forgotten() -> None:
    now = 0.0
    book = PeerBook(interval_s=10, clock=lambda: now)
    book.announce(_announce(1))
    book.announce(_announce(2))
    book.announce(_announce(2, stopped=True))
    assert _ports(book.announce(_announce(3))) == {10_001}
    now = 25.0
    assert _ports(book.announce(_announce(3))) == {10_001}
    now = 40.0
    assert _ports(book.announce(_announce(3))) == set()
    book.announce(_announce(3, stopped=True))
    assert len(book) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_PEERS", 5)
    monkeypatch.setattr(tracking, "MAX_SWARMS", 3)
    book = PeerBook()
    for peer in range(50):
        book.announce(_announce(peer))
    assert len(book) == 5
    for swarm in range(50):
        book.announce(_announce(1, info_hash=bytes([swarm]) * 20))
    assert len(book) == 3


def test_wanted() -> None:
    book = PeerBook()
    for peer in range(100):
        book.announce(_announce(peer))
    assert len(_ports(book.announce(_announce(101, wanted=7)))) == 7
    assert parse_announce(_query(1, numwant=10_000), "127.0.0.1").wanted == 50


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/", "unknown path"),
        ("/announce", "info_hash"),
        ("/announce?info_hash=abc", "info_hash has 3 bytes"),
        (_query(1, peer_id=b"short"), "peer_id has 5 bytes"),
        (_query(1, port=0), "port is 0"),
        (_query(1, port=70_000), "port is not"),
        (_query(1, port="-1"), "port is not"),
        (_query(1, port="9" * 5_000), "port is not"),
        (_query(1, port="%D9%A3"), "port is not"),
        (_query(1, left="x"), "left is not"),
        (_query(1, numwant="1e3"), "numwant is not"),
        ("/announce?" + "&" * 40 + _query(1), "info_hash"),
    ],
)
def test_malformed(target: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_announce(target, "127.0.0.1")
    with Tracker() as tracker:
        if len(target) < tracking.MAX_TARGET:
            told = _get(tracker, target)[b"failure reason"]
            assert isinstance(told, bytes)
            assert reason.encode() in told


def test_says_of_itself_what_the_socket_saw() -> None:
    assert parse_announce(_query(1, ip="8.8.8.8"), "127.0.0.1").address == "127.0.0.1"
    with pytest.raises(ValueError, match="only IPv4"):
        parse_announce(_query(1), "::1")


def test_binary_hash_survives() -> None:
    # Plus signs and per cent signs are bytes of a hash like any other.
    odd = b"+% &=\x00\xff" + b"h" * 13
    assert parse_announce(_query(1, info_hash=odd), "127.0.0.1").info_hash == odd


def test_too_many_requests_and_silent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_REQUESTS_AT_ONCE", 1)
    with Tracker() as tracker:
        parts = urlsplit(tracker.url)
        place = (parts.hostname or "", parts.port or 0)
        with socket.create_connection(place) as silent, socket.create_connection(place) as second:
            second.settimeout(5)
            # The first says nothing and holds the only place: the second is sent away.
            assert second.recv(1) == b""
            silent.sendall(b"GET " + b"x" * 70_000)
        with socket.create_connection(place) as gone:
            gone.sendall(b"GET /announce HTTP/1.0\r\n")


def test_bencode() -> None:
    value = {b"b": [1, -2, b"x"], b"a": {b"": b""}}
    assert bencode(value) == b"d1:ad0:0:e1:bli1ei-2e1:xee"
    assert lt.bdecode(bencode(value)) == value
