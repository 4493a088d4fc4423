"""Answering one request: whole or as a stream, within its time, and only while the client is there.

An answer is a sequence of documents, which ``Form`` words for completions or chats.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from grokdist_runtime.events import Completion, EndEvent
from grokdist_runtime.server.api_error import (
    ApiError,
    JsonResponse,
    encoded,
    timed_out,
)
from grokdist_runtime.server.choice import Choice, Piece
from grokdist_runtime.server.work import Work

PING_S = 10.0
"""A stream that has been silent for so long says that it is still there."""

_LAST_WORDS_S = 5.0
_PING = b": at work\n\n"
_DONE = b"data: [DONE]\n\n"

T = TypeVar("T")


class Form(Protocol):
    """How an answer is worded."""

    def chunk(self, index: int, piece: Piece, *, first: bool) -> dict[str, Any]:
        """One piece of a stream."""

    def whole(self, pieces: Sequence[Piece], usage: dict[str, Any]) -> dict[str, Any]:
        """All choices at once."""

    def usage_chunk(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The count of tokens, which ends a stream that asked for it."""


class Answer:
    """One request's answer as it comes.

    Attributes:
        usage: Counts of tokens; complete once ``pieces`` has ended.
    """

    def __init__(
        self,
        work: Work,
        choices: Sequence[Choice],
        *,
        echo: Callable[[int], Piece] | None = None,
        prompt_tokens: int,
    ) -> None:
        """Says what there is to answer.

        Args:
            work: The texts, submitted.
            choices: One for each of the work's generations.
            echo: The piece that stands before a choice's text, once the work's scores are there.
            prompt_tokens: Of all prompts.
        """
        self.work = work
        self._choices = choices
        self._echo = echo
        self.usage: dict[str, Any] = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 0,
            "total_tokens": prompt_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """What can be shown, choice by choice, as it comes.

        Raises:
            ApiError: It cannot be finished.
        """
        await self.work.scores()
        open_choices = 0
        for index, generation in enumerate(self.work.generations):
            before = Piece(text="") if self._echo is None else self._echo(index)
            if generation is None:
                before += Piece(text="", finish_reason="length")
            else:
                open_choices += 1
            if before:
                yield index, before
        while open_choices:
            index, event = await self.work.event()
            if isinstance(event, EndEvent):
                open_choices -= 1
                self._count(event.completion)
                yield index, self._choices[index].end(event)
            else:
                yield index, self._choices[index].push(event)

    def _count(self, completion: Completion) -> None:
        generated = len(completion.token_ids)
        self.usage["completion_tokens"] += generated
        self.usage["total_tokens"] += generated
        self.usage["prompt_tokens_details"]["cached_tokens"] += completion.reused_tokens


async def answer_whole(
    request: Request, answer: Answer, form: Form, *, timeout_s: float
) -> Response:
    """All of it in one document.

    Raises:
        ApiError: It could not be finished, or not in time, or the client went away.
    """

    async def collect() -> Response:
        wholes = [Piece(text="") for _ in answer.work.generations]
        async with contextlib.aclosing(answer.pieces()) as pieces:
            async for index, piece in pieces:
                wholes[index] += piece
        return JsonResponse(form.whole(wholes, answer.usage))

    try:
        return await _while_wanted(request.receive, collect(), timeout_s)
    finally:
        answer.work.cancel()


class EventStream(Response):
    """An answer as server-sent events, a token each; ``[DONE]`` ends one that came to its end."""

    media_type = "text/event-stream"

    def __init__(
        self, answer: Answer, form: Form, *, include_usage: bool, timeout_s: float
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._answer = answer
        self._form = form
        self._include_usage = include_usage
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""

        async def write(part: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": part, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            last = b""
            try:
                await _while_wanted(receive, self._write(write), self._timeout_s)
            except ApiError as error:
                last = b"" if error.status == _GONE else _event(error.document)
            # Whoever has not read for so long may not read this either.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await write(last, more=False)
        finally:
            self._answer.work.cancel()

    async def _write(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        begun: set[int] = set()
        pieces = self._answer.pieces()
        following: asyncio.Task[tuple[int, Piece]] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(pieces))
                done, _ = await asyncio.wait({following}, timeout=PING_S)
                if not done:
                    await write(_PING)
                    continue
                try:
                    index, piece = following.result()
                except StopAsyncIteration:
                    break
                following = None
                if piece:
                    chunk = self._form.chunk(index, piece, first=index not in begun)
                    begun.add(index)
                    await write(_event(chunk))
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait({following})
            await pieces.aclose()
        if self._include_usage:
            await write(_event(self._form.usage_chunk(self._answer.usage)))
        await write(_DONE)


_GONE = 499
"""What access logs call a client that went away."""


async def _while_wanted(receive: Receive, doing: Awaitable[T], timeout_s: float) -> T:
    """Does something while the client is there to see it, and not for too long.

    Raises:
        ApiError: The time is over, or the client went away.
    """
    task = asyncio.ensure_future(doing)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ApiError("the client went away", status=_GONE)
        raise timed_out(timeout_s)
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.wait({task, gone})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + encoded(document) + b"\n\n"
