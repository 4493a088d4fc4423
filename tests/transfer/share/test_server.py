"""The server of a share over real sockets: what it gives, and how it bears hostile requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.errors import StoreError
from grokdist.transfer.share import server as server_module
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.keys import ShareKey
from grokdist.transfer.share.server import ShareServer, is_near, plain_host
from grokdist.transfer.share.settings import ShareSettings
from grokdist.transfer.share.shelf import Shelf
from grokdist.transfer.share.status import Address
from tests.servers.hub_server import wait_until
from tests.transfer.models import content, entry_of
from tests.transfer.share.machines import settings

DATA = content("a file", 700_000)
ENTRY = entry_of("ckpt-0/tensor00000_000", DATA)
SECRET = entry_of("secret", b"not on the shelf")
CONTENT = Content.of([ENTRY, SECRET])
BASE = f"/grokdist/1/{CONTENT.share_id}"


class Running:
    """A server with one file on its shelf."""

    def __init__(self, directory: Path, chosen: ShareSettings) -> None:
        place = directory / ENTRY.path
        place.parent.mkdir(parents=True)
        place.write_bytes(DATA)
        (directory / "secret").write_bytes(b"not on the shelf")
        self.greeted: list[tuple[str, Address]] = []
        self.shelf = Shelf(CONTENT, directory)
        self.shelf.finish(ENTRY.path)
        self.server = ShareServer(
            CONTENT,
            self.shelf,
            describe=lambda cursor, wait, host: json.dumps([cursor, wait, host]).encode(),
            greet=lambda identity, address: self.greeted.append((identity, address)),
            settings=chosen,
        )
        self.server.start()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def raw(self, data: bytes, *, end: bool = True) -> bytes:
        """Send bytes as they are, and perhaps an end; read until the server hangs up."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as connection:
            answer = b""
            # A server that hangs up before it has read all resets the connection.
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                if end:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    answer += more
            return answer

    def close(self) -> None:
        self.server.close()
        self.shelf.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "model", settings())
    yield made
    made.close()


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 700_000), (699_999, 700_000), (5, 300_000)])
def test_it_gives_ranges(running: Running, start: int, end: int) -> None:
    status, body = running.get(f"{BASE}/{ENTRY.sha256}", Range=f"bytes={start}-{end - 1}")
    assert (status, body) == (206, DATA[start:end])
    wait_until(lambda: running.server.served.bytes == end - start)


def test_it_gives_the_status_and_learns_who_asked(running: Running) -> None:
    headers = {"Grokdist-Member": f"{'ab' * 16} 4711"}
    status, body = running.get(f"{BASE}/status?since=7&wait=1500", **headers)
    assert (status, json.loads(body)) == (200, [7, 1.5, "127.0.0.1"])
    assert running.greeted == [("ab" * 16, ("127.0.0.1", 4711))]


@pytest.mark.parametrize(
    ("path", "ranged", "status"),
    [
        ("/", "", 404),
        ("/etc/passwd", "", 404),
        (f"{BASE}/", "", 404),
        (f"{BASE}", "", 404),
        (f"{BASE}/../../etc/passwd", "bytes=0-1", 404),
        (f"{BASE}/{ENTRY.path}", "bytes=0-1", 404),
        (f"{BASE}/{'0' * 64}", "bytes=0-1", 404),
        (f"/grokdist/1/{'0' * 40}/{ENTRY.sha256}", "bytes=0-1", 404),
        (f"/grokdist/2/{CONTENT.share_id}/{ENTRY.sha256}", "bytes=0-1", 404),
        (f"{BASE}/{ENTRY.sha256}", "", 400),
        (f"{BASE}/{ENTRY.sha256}", "bytes=0-", 400),
        (f"{BASE}/{ENTRY.sha256}", "bytes=-5", 400),
        (f"{BASE}/{ENTRY.sha256}", "bytes=0-1,4-5", 400),
        (f"{BASE}/{ENTRY.sha256}", "bytes=5-4", 416),
        (f"{BASE}/{ENTRY.sha256}", "bytes=0-700000", 416),
        (f"{BASE}/{ENTRY.sha256}", "bytes=0-9999999999999999999", 416),
        (f"{BASE}/{SECRET.sha256}", "bytes=0-1", 416),
        (f"{BASE}/status?since=-1", "", 400),
        (f"{BASE}/status?since=1&wait=99999999", "", 400),
        (f"{BASE}/status?since=1&since=2&a=1&b=2&c=3", "", None),
    ],
)
def test_it_refuses_what_is_not_on_the_shelf(
    running: Running, path: str, ranged: str, status: int | None
) -> None:
    request = f"GET {path} HTTP/1.1\r\nRange: {ranged}\r\n\r\n"
    answer = running.raw(request.encode())
    expected = b"" if status is None else f"HTTP/1.1 {status} ".encode()
    assert answer.startswith(expected)
    assert DATA[:2] not in answer
    # It goes on answering.
    assert running.get(f"{BASE}/status")[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/9.9 extra\r\n\r\n",
        b"POST /status HTTP/1.1\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: yes\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000,
        b"\xff\xfe\r\n\r\n",
    ],
)
def test_it_hangs_up_on_what_is_no_request(running: Running, data: bytes) -> None:
    answer = running.raw(data, end=False)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert running.get(f"{BASE}/status")[0] == 200


def test_requests_of_one_connection_are_answered_in_turn(running: Running) -> None:
    one = f"GET {BASE}/{ENTRY.sha256} HTTP/1.1\r\nRange: bytes=0-3\r\n\r\n"
    two = f"GET {BASE}/{ENTRY.sha256} HTTP/1.1\r\nRange: bytes=4-7\r\n\r\n"
    answer = running.raw((one + two).encode())
    assert answer.count(b"HTTP/1.1 206") == 2
    assert answer.index(DATA[:4]) < answer.index(DATA[4:8])


def test_one_that_drips_its_request_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_HEAD_S", 0.2)
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=5) as connection:
        wait_until(lambda: running.server.connections == 1)
        hung_up = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not hung_up.wait(0.02):
                    connection.sendall(b"G")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        wait_until(lambda: running.server.connections == 0)
        hung_up.set()
        dripping.join()


def test_one_that_does_not_read_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SEND_S", 0.2)
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET {BASE}/{ENTRY.sha256} HTTP/1.1\r\nRange: bytes=0-699999\r\n\r\n"
        for _ in range(40):
            connection.sendall(request.encode())
        wait_until(lambda: running.server.served.uploads == 1)
        wait_until(lambda: running.server.served.uploads == 0 and not running.server.connections)


def test_connections_of_one_address_are_bounded(tmp_path: Path) -> None:
    running = Running(tmp_path / "model", settings(per_address=3))
    held = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(3)]
    try:
        wait_until(lambda: running.server.connections == 3)
        assert running.raw(b"").startswith(b"HTTP/1.1 503")
        held.pop().close()
        wait_until(lambda: running.server.connections == 2)
        assert running.get(f"{BASE}/status")[0] == 200
    finally:
        for connection in held:
            connection.close()
        running.close()


def test_with_a_key_only_those_who_hold_it_are_answered(tmp_path: Path) -> None:
    key = ShareKey("a secret of sixteen letters")
    running = Running(tmp_path / "model", settings(key=key))
    target, ranged = f"{BASE}/{ENTRY.sha256}", "bytes=0-3"
    try:
        good = key.authorize(target, ranged)
        assert running.get(target, Range=ranged, Authorization=good) == (206, DATA[:4])
        other = ShareKey("another secret of ours").authorize(target, ranged)
        late = good.replace("time=1", "time=2")
        for wrong in ("", "GROKDIST", "Bearer x", other, late, key.authorize(target, "bytes=0-4")):
            assert running.get(target, Range=ranged, Authorization=wrong)[0] == 401
        assert running.get(f"{BASE}/status")[0] == 401
        status = f"{BASE}/status?since=0&wait=0"
        assert running.get(status, Authorization=key.authorize(status, ""))[0] == 200
    finally:
        running.close()


def test_a_file_that_became_a_link_is_not_followed(running: Running, tmp_path: Path) -> None:
    place = tmp_path / "model" / ENTRY.path
    place.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(bytes(700_000))
    place.symlink_to(elsewhere)
    assert running.get(f"{BASE}/{ENTRY.sha256}", Range="bytes=0-3")[0] == 416


def test_a_file_that_was_cut_short_is_not_given(running: Running, tmp_path: Path) -> None:
    os.truncate(tmp_path / "model" / ENTRY.path, 100)
    assert running.get(f"{BASE}/{ENTRY.sha256}", Range="bytes=0-700")[0] == 416


def test_a_port_that_is_taken_is_said(running: Running, tmp_path: Path) -> None:
    port = running.server.port
    with pytest.raises(StoreError, match=f"port {port}"):
        Running(tmp_path / "other", settings(port=port))


def test_only_private_networks_are_answered_unless_an_address_was_named() -> None:
    near = ["127.0.0.1", "10.1.2.3", "192.168.0.7", "172.16.0.1", "169.254.3.4", "::1", "fe80::1"]
    far = ["8.8.8.8", "2600::1", "1.1.1.1", "not an address"]
    assert [host for host in near + far if is_near(host)] == near
    assert plain_host("::ffff:10.0.0.1") == "10.0.0.1"
    assert plain_host("fe80::1%eth0") == "fe80::1"


def test_strangers_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tmp_path / "model", settings(bind=None))
    try:
        assert running.get(f"{BASE}/status")[0] == 200
        monkeypatch.setattr(server_module, "is_near", lambda _: False)
        assert running.raw(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    finally:
        running.close()


def test_closing_ends_a_transfer(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET {BASE}/{ENTRY.sha256} HTTP/1.1\r\nRange: bytes=0-699999\r\n\r\n"
        for _ in range(40):
            connection.sendall(request.encode())
        wait_until(lambda: running.server.served.uploads == 1)
        closer = threading.Thread(target=running.server.close)
        closer.start()
        closer.join(5)
        assert not closer.is_alive()
        wait_until(lambda: running.server.served.uploads == 0)
