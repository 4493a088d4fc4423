"""Bodies read straight from the socket: every byte, in order, as it comes, and what follows."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from urllib3.response import BaseHTTPResponse

from grokdist.transfer.sources.http_body import Body
from tests.servers.certificates import make_certificate, server_context
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, head
from tests.transfer.models import content

DATA = content("body", 1_500_000)


@pytest.fixture(params=["plain", "tls"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Serving]]:
    if request.param == "tls":
        pem = make_certificate(tmp_path)
        Serving.tls, Serving.trusted = server_context(pem), str(pem)
    yield Serving
    Serving.tls = Serving.trusted = None


class Serving:
    """A server and a pool for it; use it in a ``with``."""

    tls: ssl.SSLContext | None = None
    trusted: str | None = None

    def __init__(self, script: Script) -> None:
        self.server = RawServer(script, tls=self.tls)

    def __enter__(self) -> Serving:
        self.server.__enter__()
        self.pool = urllib3.PoolManager(ca_certs=self.trusted)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.clear()
        self.server.__exit__(None, None, None)

    def get(self) -> BaseHTTPResponse:
        return self.pool.request(
            "GET", self.server.url, preload_content=False, decode_content=False, timeout=5.0
        )


def _read(body: Body, size: int, block: int) -> bytes:
    buffer = memoryview(bytearray(block))
    data = b""
    while len(data) < size:
        count = body.read_into(buffer[: min(block, size - len(data))])
        if not count:
            break
        data += buffer[:count]
    return data


@pytest.mark.parametrize("block", [1000, 8192, 65_536, 1 << 20])
def test_all_bytes_come_and_the_connection_goes_on(serve: type[Serving], block: int) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:100]
        yield DATA[100:]

    with serve(script) as serving:
        for _ in range(3):
            response = serving.get()
            body = Body(response, 5.0)
            assert _read(body, len(DATA), block) == DATA
            body.finish()
        assert serving.server.connections == 1


def test_a_block_that_fills_slowly_is_handed_out_as_it_is(serve: type[Serving]) -> None:
    """So that slow lines count as alive, and little is lost when they break."""
    go_on = threading.Event()

    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_000]
        while not go_on.is_set():
            yield 0.01
        yield DATA[300_000:]

    with serve(script) as serving:
        body = Body(serving.get(), 30.0)
        got = b""
        buffer = memoryview(bytearray(1 << 20))
        while len(got) < 300_000:
            got += buffer[: body.read_into(buffer[: len(DATA) - len(got)])]
        assert got == DATA[:300_000]
        go_on.set()
        assert got + _read(body, len(DATA) - len(got), 1 << 20) == DATA


def test_a_block_that_drips_is_handed_out_too(serve: type[Serving]) -> None:
    enough = threading.Event()

    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:100_000]
        for place in range(100_000, 101_000):
            if enough.is_set():
                return
            yield DATA[place : place + 1]
            yield 0.01

    with serve(script) as serving:
        body, got = Body(serving.get(), 30.0), b""
        buffer = memoryview(bytearray(1 << 20))
        while len(got) <= 100_000:
            got += buffer[: body.read_into(buffer[: len(DATA) - len(got)])]
        enough.set()
        assert len(got) < 101_000
        assert DATA.startswith(got)


def test_the_end_of_the_connection_is_the_end(serve: type[Serving]) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_001]
        raise HangUp

    with serve(script) as serving:
        assert _read(Body(serving.get(), 5.0), len(DATA), 1 << 16) == DATA[:300_001]


def test_nothing_for_too_long_is_an_error(serve: type[Serving]) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_000]
        yield 30.0

    with serve(script) as serving:
        body = Body(serving.get(), 0.3)
        assert _read(body, 300_000, 1 << 16) == DATA[:300_000]
        with pytest.raises(TimeoutError, match=r"nothing came for 0\.3 s"):
            body.read_into(memoryview(bytearray(1 << 16)))


def test_what_is_not_plain_is_read_through_the_library(serve: type[Serving]) -> None:
    def chunked(asked: Asked) -> Iterator[bytes | float]:
        yield head(Transfer_Encoding="chunked")
        for place in range(0, len(DATA), 70_001):
            piece = DATA[place : place + 70_001]
            yield b"%x;note=x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    def closing(asked: Asked) -> Iterator[bytes | float]:
        yield head(Connection="close", Content_Length=len(DATA)) + DATA
        raise HangUp

    for script in (chunked, closing):
        with serve(script) as serving:
            assert _read(Body(serving.get(), 5.0), len(DATA), 1 << 16) == DATA


def test_more_than_the_length_poisons_nothing(serve: type[Serving]) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA + b"and more"

    with serve(script) as serving:
        for _ in range(2):
            body = Body(serving.get(), 5.0)
            assert _read(body, len(DATA), 1 << 16) == DATA
            body.finish()
