"""Bodies read straight from the socket: every byte, in order, as it comes, and what follows."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist.transfer.sources.http_direct import DirectConnections, DirectResponse
from grokdist.transfer.sources.http_wire import HttpError
from grokdist.transfer.stop import Stop
from tests.servers.certificates import make_certificate, server_context
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, head
from tests.transfer.http.bodies import read_all
from tests.transfer.models import content

DATA = content("body", 1_500_000)


@pytest.fixture(params=["plain", "tls"])
def serve(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[Serving]]:
    if request.param == "tls":
        pem = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        Serving.tls = server_context(pem)
    yield Serving
    Serving.tls = None


class Serving:
    """A server and connections to it; use it in a ``with``."""

    tls: ssl.SSLContext | None = None

    def __init__(self, script: Script, timeout: float = 5.0) -> None:
        self.server = RawServer(script, tls=self.tls)
        self._connections = DirectConnections(1, connect_timeout=5.0, read_timeout=timeout)
        self._responses: list[DirectResponse] = []

    def __enter__(self) -> Serving:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._responses:
            each.close()
        self._connections.close()
        self.server.__exit__(None, None, None)

    def get(self) -> DirectResponse:
        self._responses.append(self._connections.ask(self.server.url, {}, Stop()))
        return self._responses[-1]


@pytest.mark.parametrize("block", [1000, 8192, 65_536, 1 << 20])
def test_all_bytes_come_and_the_connection_goes_on(serve: type[Serving], block: int) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:100]
        yield DATA[100:]

    with serve(script) as serving:
        for _ in range(3):
            response = serving.get()
            assert read_all(response, block=block) == DATA
            response.finish()
        assert serving.server.connections == 1


def test_a_block_that_fills_slowly_is_handed_out_as_it_is(serve: type[Serving]) -> None:
    """So that slow lines count as alive, and little is lost when they break."""
    go_on = threading.Event()

    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_000]
        while not go_on.is_set():
            yield 0.01
        yield DATA[300_000:]

    with serve(script, timeout=30.0) as serving:
        body, got = serving.get(), b""
        buffer = memoryview(bytearray(1 << 20))
        while len(got) < 300_000:
            got += buffer[: body.read_into(buffer[: len(DATA) - len(got)])]
        assert got == DATA[:300_000]
        go_on.set()
        assert got + read_all(body) == DATA


def test_a_block_that_drips_is_handed_out_too(serve: type[Serving]) -> None:
    enough = threading.Event()

    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:100_000]
        for place in range(100_000, 101_000):
            if enough.is_set():
                return
            yield DATA[place : place + 1]
            yield 0.01

    with serve(script, timeout=30.0) as serving:
        body, got = serving.get(), b""
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
        assert read_all(serving.get()) == DATA[:300_001]


def test_nothing_for_too_long_is_an_error(serve: type[Serving]) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_000]
        yield 30.0

    with serve(script, timeout=0.3) as serving:
        body = serving.get()
        assert read_all(body, 300_000) == DATA[:300_000]
        with pytest.raises(TimeoutError, match=r"nothing came for 0\.3 s"):
            body.read_into(memoryview(bytearray(1 << 16)))


def _chunked(*pieces: bytes, end: bytes = b"0\r\nTrailer: x\r\n\r\n") -> Script:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Transfer_Encoding="chunked")
        for piece in pieces:
            yield b"%x;note=x\r\n%b\r\n" % (len(piece), piece)
        yield end

    return script


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_chunks_are_joined(serve: type[Serving], block: int) -> None:
    pieces = [DATA[place : place + 70_001] for place in range(0, len(DATA), 70_001)]
    with serve(_chunked(*pieces)) as serving:
        assert read_all(serving.get(), block=block) == DATA


@pytest.mark.parametrize(
    "end", [b"-1\r\n", b"0x1\r\n\r\n", b"\r\n", b"f" * 16 + b"\r\n", b"1" * 9000, b"1\r\nxy\r\n"]
)
def test_what_is_no_chunk_is_refused(serve: type[Serving], end: bytes) -> None:
    with serve(_chunked(DATA[:1000], end=end)) as serving, pytest.raises(HttpError):
        read_all(serving.get())


def test_a_body_may_end_with_the_connection(serve: type[Serving]) -> None:
    def closing(asked: Asked) -> Iterator[bytes | float]:
        yield head(Connection="close") + DATA
        raise HangUp

    with serve(closing) as serving:
        response = serving.get()
        assert read_all(response) == DATA
        response.finish()
        assert read_all(serving.get()) == DATA
        assert serving.server.connections == 2


@pytest.mark.parametrize("interim", [1, 15])
def test_an_answer_may_be_announced(serve: type[Serving], interim: int) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * interim
            + head(Content_Length=3)
            + b"abc"
        )

    with serve(script) as serving:
        assert read_all(serving.get()) == b"abc"


def test_announcements_without_an_answer_end(serve: type[Serving]) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n"

    with serve(script) as serving, pytest.raises(HttpError, match="not HTTP"):
        serving.get()


@pytest.mark.parametrize("data", [DATA, DATA[:3]], ids=["large", "with its head"])
def test_more_than_the_length_poisons_nothing(serve: type[Serving], data: bytes) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(data)) + data + head(Content_Length=1) + b"x"

    with serve(script) as serving:
        for _ in range(2):
            response = serving.get()
            assert read_all(response) == data
            response.finish()
        assert serving.server.connections == 2
