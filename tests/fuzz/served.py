"""Targets that a client of the server sends: the body of a request, and all that comes on a line.

The model itself is left out: a request that was understood ends where its work would begin.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
from typing import Any

from tests.fuzz import mutation
from tests.fuzz.target import REPOSITORY, NotOurs, Target

_COMPLETION = {
    "model": "tiny",
    "prompt": ["To be", [1, 2]],
    "max_tokens": 3,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 4,
    "min_p": 0.1,
    "n": 2,
    "best_of": 2,
    "seed": 7,
    "stop": ["\n"],
    "logprobs": 2,
    "echo": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "suffix": "",
    "presence_penalty": 0,
    "logit_bias": {},
    "user": "a",
    "ignore_eos": False,
}
_CHAT = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "To be?"}]},
    ],
    "max_completion_tokens": 4,
    "logprobs": True,
    "top_logprobs": 2,
    "stop": "x",
}


def body_target() -> Target:
    """The body of a request, up to the last check; what is refused is worded as well."""
    from grokdist_runtime.errors import PromptError
    from grokdist_runtime.server.api_error import ApiError, api_error
    from grokdist_runtime.server.body import parse_object
    from grokdist_runtime.server.completion_request import chat_request, completion_request
    from grokdist_runtime.server.limits import Limits

    limits = Limits()

    def run(data: bytes) -> None:
        try:
            body = parse_object(data)
            check = chat_request if "messages" in body else completion_request
            asked = check(body, model="tiny", limits=limits).asked
            asked.choice_sampling(asked.n - 1)
        except (ApiError, PromptError) as error:
            answer = api_error(error).response()
            said = json.loads(bytes(answer.body))["error"]["message"]
            # What a client sent comes back shortened, whatever it was.
            if answer.status_code not in (400, 404) or len(said) > 2000:
                raise AssertionError(f"{answer.status_code} {said:.200}") from error
            raise

    seeds = [_COMPLETION, {"prompt": "To be"}, {"prompt": [1, 2, 3], "max_tokens": 0}, _CHAT]
    return Target(
        seeds=[json.dumps(seed).encode() for seed in seeds],
        run=run,
        refusals=(ApiError, PromptError),
        mutate=mutation.json_tree,
    )


class _NoModel:
    """What stands where the model would: its tokenizer, and a scheduler that takes nothing."""

    alive = True

    def __init__(self) -> None:
        from grokdist_runtime.config import ModelConfig
        from grokdist_runtime.tokenizer import Tokenizer

        bundled = REPOSITORY / "grokdist/bundled/grok-mini"
        self.tokenizer = Tokenizer.from_file(bundled / "tokenizer.model")
        self.config = ModelConfig.from_json((bundled / "config.json").read_bytes())

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text))


class _Line(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.answered = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answered += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


def wire_target() -> Target:
    """All that comes on one connection, read by the server's own protocol and application."""
    from grokdist_runtime.server.app import make_app
    from grokdist_runtime.server.guard import ApiKeys
    from grokdist_runtime.server.http_server import HttpServer
    from grokdist_runtime.server.limits import Limits
    from grokdist_runtime.server.service import Served, Service

    key = "sixteen-letters-or-more"
    model: Any = _NoModel()
    served = Served(name="tiny", created=1, owner="nobody", fingerprint="fp", provenance={})
    service = Service(model, model.tokenizer, model, served, Limits(), None)
    service.stopping = True
    app = make_app(service, keys=ApiKeys([key]), names=("h",))
    server = HttpServer(app, service, on_ready=lambda: None)
    server.config.load()
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)

    async def connect(data: bytes) -> bytes:
        line = _Line()
        protocol = server.config.http_protocol_class(  # type: ignore[operator, call-arg]
            config=server.config, server_state=server.server_state, app_state={}, _loop=loop
        )
        tasks = server.server_state.tasks
        protocol.connection_made(line)
        if data:  # nothing is never told
            protocol.data_received(data)
        while tasks and not protocol.cycle.more_body:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        protocol.connection_lost(None)
        if tasks:
            await asyncio.wait(tasks)
        return bytes(line.answered)

    log = logging.getLogger("uvicorn.error")

    def run(data: bytes) -> None:
        log.disabled = True  # it notes each line that is no HTTP
        try:
            answered = loop.run_until_complete(connect(data))
        finally:
            log.disabled = False
        if not answered:
            raise NotOurs  # nothing that asked for an answer
        if not answered.startswith(b"HTTP/1.1 ") or b"HTTP/1.1 500" in answered:
            raise AssertionError(answered[:200])
        if answered[9:10] == b"4":
            raise NotOurs

    head = f"Host: h:1\r\nAuthorization: Bearer {key}\r\n"
    body = json.dumps({"prompt": "To be", "max_tokens": 1})
    sent = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    pieces = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
    chunked = f"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{pieces}"
    texts = [
        f"GET /v1/models HTTP/1.1\r\n{head}\r\n",
        f"GET /v1/models/tiny?a=%41 HTTP/1.1\r\n{head}\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n",
        f"POST /v1/completions HTTP/1.1\r\n{head}{sent}",
        f"POST /v1/completions HTTP/1.1\r\n{head}Expect: 100-continue\r\n{chunked}",
        f"GET /health HTTP/1.1\r\n{head}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]
    return Target(
        seeds=[text.encode() for text in texts],
        run=run,
        refusals=(),
        mutate=mutation.lines,
    )
