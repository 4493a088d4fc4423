"""The kinds of requests that the soak mixes: each asks once, and says what was wrong, if anything.

Half are by OpenAI's client. The others are raw sockets, for what no decent client does: to go away
in the middle of an answer, to read a few bytes at a time, to send half of a body.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import openai

from benchmarks.soak.wanted import Answer, differs, stop_in

PATIENCE_S = 120.0
BUSY = "busy"
"""What an outcome says of a request that the full queue did not take."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one request ended.

    Attributes:
        wrong: What should not have been; empty where all was right; ``BUSY`` for a 429.
        first_s: Seconds to the first piece of the answer, where it was streamed.
        whole_s: Seconds to its end.
    """

    wrong: str = ""
    first_s: float | None = None
    whole_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """One who asks, again and again.

    Attributes:
        port: Of the server, on loopback.
        model: Its model's name.
        client: OpenAI's, of this caller alone.
        answers: Groups of texts that are known, of seeds in a row.
        rng: Chooses among them.
    """

    port: int
    model: str
    client: openai.OpenAI
    answers: tuple[tuple[Answer, ...], ...]
    rng: random.Random

    def any_answer(self) -> Answer:
        """One whose text is known."""
        return self.rng.choice(self.rng.choice(self.answers))

    def complete(self, answer: Answer, **options: Any) -> Any:
        """Asks by OpenAI's client."""
        return self.client.completions.create(
            model=self.model,
            prompt=answer.prompt,
            max_tokens=answer.tokens,
            seed=answer.seed,
            temperature=1.0,
            extra_body={"ignore_eos": True},
            **options,
        )


def stream(caller: Caller) -> Outcome:
    """A text as it is made."""
    answer, begun, first, text = caller.any_answer(), time.perf_counter(), None, ""
    for chunk in caller.complete(answer, stream=True):
        first = first or time.perf_counter() - begun
        text += chunk.choices[0].text
    return _compared(text, answer.text, begun, first)


def choices(caller: Caller) -> Outcome:
    """Several texts of one prompt, the first with the seed, the others with those after it."""
    group, begun = caller.rng.choice(caller.answers), time.perf_counter()
    found = [each.text for each in caller.complete(group[0], n=len(group)).choices]
    return _compared(found, [each.text for each in group], begun)


def stop(caller: Caller) -> Outcome:
    """A text that ends before a string in its middle."""
    answer, begun = caller.any_answer(), time.perf_counter()
    ending = stop_in(answer) or "never"
    found = caller.complete(answer, stop=[ending]).choices[0]
    return _compared(found.text, answer.text.partition(ending)[0], begun)


def logprobs(caller: Caller) -> Outcome:
    """How likely each token was."""
    answer, begun = caller.any_answer(), time.perf_counter()
    found = caller.complete(answer, logprobs=2).choices[0]
    if differs(found.logprobs.token_logprobs, answer.logprobs):
        return Outcome(wrong="other log-probabilities", whole_s=time.perf_counter() - begun)
    return _compared(found.text, answer.text, begun)


def slow_reader(caller: Caller) -> Outcome:
    """A stream that is read a few bytes at a time."""
    answer, begun = caller.any_answer(), time.perf_counter()
    with _asked(caller, _body(caller, answer, stream=True)) as connection:
        data = b""
        while piece := connection.recv(128):
            data += piece
            time.sleep(0.01)
    status, body = _parts(data)
    if status != 200:
        return _refusal(status, {200}, begun)
    return _compared("".join(_streamed(body)), answer.text, begun)


def gone(caller: Caller) -> Outcome:
    """A client that goes away: at once, after the first piece, or in the middle of its body."""
    answer, begun = caller.any_answer(), time.perf_counter()
    body = _body(caller, answer, stream=True)
    kind = caller.rng.randrange(3)
    sent = body[: len(body) // 2] if kind == 2 else body
    with _asked(caller, sent, length=len(body)) as connection:
        if kind == 1:
            connection.recv(1)
        # The other side hears of it as of a cable that is cut.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return Outcome(whole_s=time.perf_counter() - begun)


BAD: tuple[tuple[str, str, bytes, int], ...] = (
    ("/v1/completions", "application/json", b'{"prompt"', 400),
    ("/v1/completions", "application/json", b'{"prompt": ""}', 400),
    ("/v1/completions", "application/json", b'{"prompt": "x", "suffix": "y"}', 400),
    ("/v1/completions", "application/json", b'{"prompt": "x", "temperature": -1}', 400),
    ("/v1/completions", "application/json", b'{"prompt": "x", "model": "other"}', 404),
    ("/v1/completions", "application/json", b"[" * 100_000, 400),
    ("/v1/completions", "text/plain", b'{"prompt": "x"}', 415),
    ("/v1/chat/completions", "application/json", b'{"messages": []}', 400),
    ("/nowhere", "application/json", b"{}", 404),
)
"""Path, content type, body, and the status that it gets."""

TOO_MUCH: tuple[tuple[bytes, int], ...] = (
    (json.dumps({"prompt": "word " * 1000}).encode(), 400),
    (b'{"prompt": "x", "n": 1000}', 400),
    (b'{"prompt": "' + b"x" * (5 << 20) + b'"}', 413),
)
"""Bodies beyond a limit, and the status that they get."""


def bad(caller: Caller) -> Outcome:
    """What no server takes."""
    path, kind, body, status = caller.rng.choice(BAD)
    begun = time.perf_counter()
    return _refusal(_status(caller, body, path=path, kind=kind), {status}, begun)


def too_much(caller: Caller) -> Outcome:
    """More than the limits allow."""
    body, status = caller.rng.choice(TOO_MUCH)
    begun = time.perf_counter()
    return _refusal(_status(caller, body), {status}, begun)


def flood(caller: Caller) -> Outcome:
    """As many texts as one request may ask for, several times at once: more than may wait."""
    begun = time.perf_counter()
    body = json.dumps({"model": caller.model, "prompt": "O", "n": 16, "max_tokens": 2}).encode()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_asked(caller, body)) for _ in range(4)]
        statuses = [_parts(_read(connection))[0] for connection in connections]
    wrong = sorted(set(statuses) - {200, 429})
    return Outcome(wrong=f"status {wrong}" if wrong else "", whole_s=time.perf_counter() - begun)


KINDS: Mapping[str, tuple[Callable[[Caller], Outcome], int]] = {
    "stream": (stream, 8),
    "n": (choices, 2),
    "stop": (stop, 3),
    "logprobs": (logprobs, 3),
    "slow reader": (slow_reader, 2),
    "gone": (gone, 3),
    "bad request": (bad, 3),
    "over a limit": (too_much, 2),
    "flood": (flood, 1),
}
"""Each kind, and how often it comes."""


def ask(caller: Caller, kind: str) -> Outcome:
    """One request of a kind; whatever happens is an outcome."""
    begun = time.perf_counter()
    try:
        return KINDS[kind][0](caller)
    except openai.RateLimitError:
        return Outcome(wrong=BUSY, whole_s=time.perf_counter() - begun)
    except (openai.OpenAIError, OSError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"[:200]
        return Outcome(wrong=said, whole_s=time.perf_counter() - begun)


def _compared(found: object, expected: object, begun: float, first: float | None = None) -> Outcome:
    wrong = "" if found == expected else f"wrong text {found!r}; expected {expected!r}"
    return Outcome(wrong=wrong, first_s=first, whole_s=time.perf_counter() - begun)


def _refusal(status: int, expected: set[int], begun: float) -> Outcome:
    wrong = "" if status in expected else f"status {status}; expected {sorted(expected)}"
    whole_s = time.perf_counter() - begun
    return Outcome(wrong=BUSY if wrong and status == 429 else wrong, whole_s=whole_s)


def _body(caller: Caller, answer: Answer, **options: Any) -> bytes:
    asked = {
        "model": caller.model,
        "prompt": answer.prompt,
        "max_tokens": answer.tokens,
        "seed": answer.seed,
        "temperature": 1.0,
        "ignore_eos": True,
    }
    return json.dumps(asked | options).encode()


@contextlib.contextmanager
def _asked(
    caller: Caller,
    body: bytes,
    *,
    path: str = "/v1/completions",
    kind: str = "application/json",
    length: int | None = None,
) -> Iterator[socket.socket]:
    """A connection on which a request was sent; HTTP/1.0, so that its end is the answer's."""
    head = (
        f"POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", caller.port), PATIENCE_S) as connection:
        # A body that is too large is answered, and the connection closed, before it was sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode() + body)
        yield connection


def _status(caller: Caller, body: bytes, **how: Any) -> int:
    with _asked(caller, body, **how) as connection:
        return _parts(_read(connection))[0]


def _read(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            data += piece
    return data


def _parts(data: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        raise ValueError(f"{data[:100]!r} is no answer")
    return int(head.split()[1]), body


def _streamed(body: bytes) -> Iterator[str]:
    """The pieces of a text that came as events."""
    for line in body.decode("utf-8").splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))["choices"][0]["text"]
