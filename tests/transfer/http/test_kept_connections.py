"""Connections that a server closes while the next request is on its way: nobody's fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.errors import NoSourceError, SourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.http_transport import Answer, HttpTransport
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.stop import Stop
from tests.servers.certificates import make_certificate, server_context
from tests.servers.hub_server import wait_until
from tests.servers.proxy_server import HttpProxy
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, honest
from tests.transfer.http.bodies import read_all
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, plan_for

FILES = {name: content(name, 50_000) for name in "abcd"}
STRICT = replace(HASTY, tries=1, tries_unproven=1)
"""One failure ends a source."""


def _closes(*begun: bytes, reset: bool = False) -> Script:
    """Answers one request a connection, as if it closed it a moment after it took the next."""

    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.kept:
            yield from begun
            raise HangUp(reset=reset)
        yield from honest(FILES)(asked)

    return script


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def _source(url: str) -> HttpsSource:
    return HttpsSource(url, slots=1, settings=QUICK_HTTP)


def _kept(server: RawServer) -> int:
    """Requests that came over a connection which had carried another."""
    return sum(each.kept > 0 for each in server.asked)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_request_is_sent_again_on_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path, tls: bool, reset: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with RawServer(_closes(reset=reset), tls=server_context(pem) if tls else None) as server:
        fetch(plan_for(FILES, tmp_path, _source(server.url)), patience=STRICT)
        assert (_kept(server), server.connections) == (len(FILES) - 1, len(FILES))
    assert_complete(tmp_path, FILES)


def test_through_a_tunnel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path) -> None:
    with (
        RawServer(_closes(), tls=server_context(pem)) as server,
        HttpProxy(server.port) as proxy,
    ):
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        fetch(plan_for(FILES, tmp_path, _source("https://mirror.test/")), patience=STRICT)
        assert (_kept(server), len(proxy.asked)) == (len(FILES) - 1, len(FILES))
    assert_complete(tmp_path, FILES)


def _read(answer: Answer | None) -> bytes:
    """The body, after which the connection is kept."""
    assert answer is not None
    data = read_all(answer.response)
    answer.response.finish()
    answer.let_go()
    return data


def test_no_other_kept_connection_is_tried() -> None:
    """They are most likely closed as well."""
    given_back: list[Answer | None] = []

    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.kept and given_back:
            # While this one is on its way, another thread is done with its own.
            _read(given_back.pop())
        yield from _closes()(asked)

    with RawServer(script) as server:
        transport = HttpTransport("https:x", 1, QUICK_HTTP)
        first, second = (transport.get(f"{server.url}{name}", {}, Stop()) for name in "ab")
        _read(first)
        given_back.append(second)
        assert _read(transport.get(f"{server.url}c", {}, Stop())) == FILES["c"]
        assert not given_back
        assert (_kept(server), server.connections) == (1, 3)
        transport.close()


def test_one_that_was_seen_to_be_closed_is_not_taken_for_a_kept_one() -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.path == "a":
            yield from honest(FILES)(asked)
        raise HangUp

    with RawServer(script) as server:
        transport = HttpTransport("https:x", 1, QUICK_HTTP)
        answer = transport.get(f"{server.url}a", {}, Stop())
        _read(answer)
        (kept,) = next(iter(transport._direct._idle.values()))
        wait_until(lambda: not kept.quiet())
        with pytest.raises(SourceError, match="the connection broke"):
            transport.get(f"{server.url}b", {}, Stop())
        assert [each.path for each in server.asked] == ["a", "b"]
        transport.close()


def test_a_new_one_that_breaks_is_a_failure(tmp_path: Path) -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.path != "a":
            raise HangUp
        yield from honest(FILES)(asked)

    with RawServer(script) as server:
        with pytest.raises(NoSourceError, match="the connection broke"):
            fetch(plan_for(FILES, tmp_path, _source(server.url)), patience=HASTY)
        assert _kept(server) == 1
        assert len(server.asked) == 1 + 1 + HASTY.tries


def test_an_answer_that_has_begun_and_breaks_is_a_failure(tmp_path: Path) -> None:
    with RawServer(_closes(b"HTTP/1.1 2")) as server:
        with pytest.raises(NoSourceError, match="the connection broke"):
            fetch(plan_for(FILES, tmp_path, _source(server.url)), patience=STRICT)
        assert server.connections == 1


def test_nothing_is_sent_again_once_it_is_to_end() -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        if asked.kept:
            yield 60.0
        yield from honest(FILES)(asked)

    with RawServer(script) as server:
        transport, stop = HttpTransport("https:x", 1, QUICK_HTTP), Stop()
        _read(transport.get(f"{server.url}a", {}, stop))
        got: list[Answer | None] = []
        asking = threading.Thread(
            target=lambda: got.append(transport.get(f"{server.url}b", {}, stop))
        )
        asking.start()
        wait_until(lambda: len(server.asked) == 2)
        stop.set()
        asking.join()
        assert got == [None]
        assert (len(server.asked), server.connections) == (2, 1)
        transport.close()
