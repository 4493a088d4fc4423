"""What a client may not do, each with its status; and what happens when one goes away."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from grokdist_runtime.runner import Runner
from grokdist_runtime.server.app import make_app
from grokdist_runtime.server.guard import ApiKeys
from grokdist_runtime.server.http_server import HttpServer
from grokdist_runtime.server.limits import Limits
from tests.runtime.server.conftest import WAIT_S, Answered, Gate, Running, Serving, until

REQUEST: dict[str, Any] = {
    "prompt": [40, 50, 60],
    "max_tokens": 8,
    "temperature": 0,
    "ignore_eos": True,
}


def raw(running: Running, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=WAIT_S)
    connection.sendall(data)
    return connection


def post(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def in_thread(running: Running, **body: Any) -> tuple[threading.Thread, list[Answered]]:
    answers: list[Answered] = []
    thread = threading.Thread(target=lambda: answers.append(running.complete(**body)))
    thread.start()
    return thread, answers


def cancelled(running: Running) -> bool:
    works = list(running.service._live)
    return bool(works) and all(
        generation is not None and generation.cancelled
        for work in works
        for generation in work.generations
    )


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_cancels_its_request(
    serving: Serving, gate: Gate, stream: bool
) -> None:
    with serving() as running:
        connection = raw(running, post(REQUEST | {"max_tokens": 50, "stream": stream}))
        if stream:
            assert b"200 OK" in connection.recv(1 << 16)
        assert gate.reached.wait(WAIT_S)
        connection.close()
        until(lambda: cancelled(running))
        assert running.metric("grokdist_texts_total", reason="cancel") == 0
        gate.open.set()
        until(lambda: running.metric("grokdist_texts_total", reason="cancel") == 1)
        assert running.metric("grokdist_texts_running") == 0
        assert running.metric("grokdist_generated_tokens_total") < 50
        assert running.complete(**REQUEST).status == 200


def test_a_full_queue_says_when_to_come_back(serving: Serving, gate: Gate) -> None:
    with serving(max_rows=1, max_waiting=2) as running:
        first, answers = in_thread(running, **REQUEST)
        assert gate.reached.wait(WAIT_S)
        second, more = in_thread(running, **REQUEST)
        until(lambda: running.metric("grokdist_texts_waiting") == 1)
        refused = running.complete(**REQUEST | {"n": 2})
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert refused.error["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        gate.open.set()
        for thread in (first, second):
            thread.join(WAIT_S)
        assert [answer.status for answer in answers + more] == [200, 200]
        # All or nothing: the one choice that had found room was given up with the other.
        until(lambda: running.metric("grokdist_texts_total", reason="cancel") == 1)
        assert running.metric("grokdist_texts_total", reason="length") == 2
        assert running.complete(**REQUEST).status == 200


def test_an_answer_that_takes_too_long_is_cut(serving: Serving, gate: Gate) -> None:
    with serving(limits=Limits(timeout_s=0.3, grace_s=0.2)) as running:
        whole = running.complete(**REQUEST)
        assert (whole.status, whole.error["code"]) == (504, "timeout")
        assert "not answered within 0.3 seconds" in whole.error["message"]
        stream = running.complete(**REQUEST, stream=True)
        last = stream.body.strip().split(b"\n\n")[-1]
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "timeout"
        assert b"[DONE]" not in stream.body
        gate.open.set()
        until(lambda: running.metric("grokdist_texts_total", reason="cancel") == 2)


def test_a_silent_stream_says_that_it_is_still_there(
    serving: Serving, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokdist_runtime.server.answer.PING_S", 0.05)
    with serving() as running:
        body = post(REQUEST | {"stream": True}).replace(b"localhost", b"a\r\nConnection: close")
        with raw(running, body) as connection:
            said = b""
            while b": at work\n\n" not in said:
                said += connection.recv(1 << 16)
            gate.open.set()
            assert received(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_server_that_ends_tells_those_it_cuts(serving: Serving, gate: Gate) -> None:
    with serving() as running:
        connection = raw(running, post(REQUEST | {"stream": True}))
        assert gate.reached.wait(WAIT_S)
        running.server.should_exit = True
        until(lambda: running.service.stopping)
        until(lambda: cancelled(running))
        gate.open.set()
        said = received(connection)
        connection.close()
        assert b'"code":"shutting_down"' in said
        assert b"[DONE]" not in said
        running.thread.join(WAIT_S)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


def test_an_answer_under_way_may_end_in_the_grace(serving: Serving, gate: Gate) -> None:
    with serving(limits=Limits(grace_s=WAIT_S)) as running:
        thread, answers = in_thread(running, **REQUEST)
        assert gate.reached.wait(WAIT_S)
        running.server.should_exit = True
        until(lambda: running.service.stopping)
        gate.open.set()
        thread.join(WAIT_S)
        assert answers[0].status == 200
        assert answers[0].json["usage"]["completion_tokens"] == 8


def test_bodies_are_bounded(serving: Serving) -> None:
    with serving(limits=Limits(max_body_bytes=2000, body_timeout_s=0.3, grace_s=0.2)) as running:
        assert running.complete(prompt=[5], max_tokens=1, user="x" * 1000).status == 200
        large = running.complete(prompt="x" * 3000)
        assert (large.status, large.error["code"]) == (413, "body_too_large")
        chunked = (
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with raw(running, chunked + b"5dc\r\n" + b" " * 1500 + b"\r\n" + b"5dc\r\n") as connection:
            connection.sendall(b" " * 1500 + b"\r\n0\r\n\r\n")
            assert b" 413 " in received(connection).splitlines()[0]
        slow = post(REQUEST).replace(b"Host: localhost\r\n", b"Host: a\r\nConnection: close\r\n")
        with raw(running, slow[:-5]) as connection:
            assert b" 408 " in received(connection).splitlines()[0]


def test_a_connection_without_a_request_is_closed(serving: Serving) -> None:
    with serving(limits=Limits(header_timeout_s=0.3, grace_s=0.2)) as running:
        for data in (b"", b"GET /health HTTP/1.1\r\nX-Slow: "):
            with raw(running, data) as connection:
                assert received(connection) == b""
        with raw(running, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
            said = received(connection)  # closed once nothing more is asked
        assert said.endswith(b'{"status":"ok"}')


def test_connections_are_bounded(serving: Serving) -> None:
    with serving(limits=Limits(max_connections=3, grace_s=0.2)) as running:
        idle = [raw(running, b"") for _ in range(3)]
        until(lambda: len(running.server.server_state.connections) == 3)
        assert running.ask("/health").status == 503
        for connection in idle:
            connection.close()
        until(lambda: not running.server.server_state.connections)
        assert running.ask("/health").status == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[]", "JSON of type list; expected an object"),
        (b'{"prompt": "a", "temperature": NaN}', "NaN is no number in JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "the body is not JSON"),
        (b'{"seed": 1e400, "prompt": "a"}', "seed is inf"),
    ],
)
def test_what_is_no_request_is_refused(running: Running, body: bytes, says: str) -> None:
    answered = running.ask("/v1/completions", body, method="POST")
    assert answered.status == 400
    assert says in answered.error["message"]


def test_the_wrong_place_is_said_in_the_same_form(running: Running) -> None:
    assert running.ask("/v1/nothing").error["message"] == "there is no /v1/nothing"
    assert running.ask("/v1/completions").status == 405
    text = running.ask("/v1/completions", b"{}", headers={"Content-Type": "text/plain"})
    assert (text.status, text.error["code"]) == (415, "unsupported_media_type")
    wrong = running.complete(prompt="a", model="gpt-4o")
    assert (wrong.status, wrong.error["code"]) == (404, "model_not_found")


def test_a_fault_of_the_model_is_told_without_its_words(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("secret path /home/someone")

    monkeypatch.setattr(Runner, "step", fail)
    with serving() as running:
        answered = running.complete(**REQUEST)
        assert (answered.status, answered.error["code"]) == (500, "model_failed")
        assert b"secret" not in answered.body
        assert "secret path" in caplog.text
        assert running.metric("grokdist_texts_total", reason="error") == 1
        monkeypatch.undo()
        assert running.complete(**REQUEST).status == 200


def test_what_is_counted(serving: Serving) -> None:
    with serving() as running:
        assert running.complete(**REQUEST).status == 200
        assert running.complete(**REQUEST | {"echo": True, "logprobs": 0}).status == 200
        assert running.ask("/v1/elsewhere").status == 404
        assert running.metric("grokdist_generated_tokens_total") == 16
        assert running.metric("grokdist_prompt_tokens_total") == 6
        assert running.metric("grokdist_scored_tokens_total") == 3
        assert running.metric("grokdist_texts_total", reason="length") == 2
        assert running.metric("grokdist_first_token_seconds_count") == 2
        assert running.metric("grokdist_model_info", name="tiny") == 1
        by = {"path": "/v1/completions", "status": "200"}
        assert running.metric("grokdist_requests_total", **by) == 2
        assert running.metric("grokdist_requests_total", path="other", status="404") == 1


class _Unplugged(asyncio.Transport):
    def close(self) -> None:
        pass


def test_a_connection_that_is_gone_is_forgotten() -> None:
    """Its clock is stopped: else clients that come and go would fill the memory for a while."""
    loop = asyncio.new_event_loop()
    service: Any = SimpleNamespace(limits=Limits())
    server = HttpServer(make_app(service, keys=ApiKeys(())), service, on_ready=lambda: None)
    server.config.load()
    kind: Any = server.config.http_protocol_class
    protocol = kind(server.config, server.server_state, {}, _loop=loop)
    protocol.connection_made(_Unplugged())
    assert [timer.cancelled() for timer in loop._scheduled] == [False]  # type: ignore[attr-defined]
    protocol.connection_lost(None)
    assert [timer.cancelled() for timer in loop._scheduled] == [True]  # type: ignore[attr-defined]
    loop.close()
