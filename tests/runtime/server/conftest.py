"""A real server on a port of this machine, in a thread, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from grokdist_runtime.engine import Engine
from grokdist_runtime.runner import Runner
from grokdist_runtime.scheduler import Scheduler
from grokdist_runtime.server.app import make_app
from grokdist_runtime.server.chat_template import ChatTemplate
from grokdist_runtime.server.guard import ApiKeys
from grokdist_runtime.server.http_server import HttpServer, bind
from grokdist_runtime.server.limits import Limits
from grokdist_runtime.server.service import Served, Service

WAIT_S = 120.0
MODEL = "tiny"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which has exactly the fields of OpenAI's."""
        (error,) = self.json.values()
        assert set(error) == {"message", "type", "param", "code"}
        return dict(error)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """A server."""

    port: int
    service: Service
    server: HttpServer
    thread: threading.Thread

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
            got = connection.getresponse()
            headers = {name.lower(): value for name, value in got.getheaders()}
            return Answered(status=got.status, headers=headers, body=got.read())

    def complete(self, **body: Any) -> Answered:
        return self.ask("/v1/completions", body)

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0
        )

    def metric(self, name: str, /, **labels: str) -> float:
        text = self.ask("/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        raise AssertionError(f"no {name} with {labels}")

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    """Waits for what must come."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextlib.contextmanager
def _serving(
    engine: Engine,
    *,
    limits: Limits | None = None,
    keys: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    chat: ChatTemplate | None = None,
    max_rows: int = 2,
    max_waiting: int = 8,
) -> Iterator[Running]:
    assert engine.tokenizer is not None
    served = Served(
        name=MODEL,
        created=1710633600,
        owner="nobody",
        fingerprint="fp_test",
        provenance={"model": MODEL, "title": "Tiny", "notice": "none", "verified": None},
    )
    ready = threading.Event()
    with (
        Scheduler(engine, max_rows=max_rows, max_waiting=max_waiting, prefix_bytes=0) as scheduler,
        bind("127.0.0.1", 0) as bound,
    ):
        service = Service(
            engine, engine.tokenizer, scheduler, served, limits or Limits(grace_s=0.2), chat
        )
        app = make_app(service, keys=ApiKeys(keys), names=names)
        server = HttpServer(app, service, on_ready=ready.set)
        port = bound.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])))
        thread.start()
        assert ready.wait(WAIT_S)
        running = Running(port=port, service=service, server=server, thread=thread)
        try:
            yield running
        finally:
            running.stop()


Serving = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def serving(engine: Engine) -> Serving:
    """Starts a server of the small model."""

    def start(**options: Any) -> AbstractContextManager[Running]:
        return _serving(engine, **options)

    return start


@pytest.fixture(scope="session")
def running(serving: Serving) -> Iterator[Running]:
    """The server that most tests share."""
    with serving() as started:
        yield started


class Gate:
    """Holds up decoding until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every decode step waits here, so that what a test does happens before an answer ends."""
    held = Gate()
    original = Runner.step

    def step(self: Runner, *arguments: Any) -> Any:
        held.reached.set()
        assert held.open.wait(WAIT_S)
        return original(self, *arguments)

    monkeypatch.setattr(Runner, "step", step)
    yield held
    held.open.set()
