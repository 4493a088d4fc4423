"""``/v1/completions``: a prompt, or several, continued.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grokdist_runtime.server.answer import Answer, EventStream, answer_whole
from grokdist_runtime.server.body import read_object
from grokdist_runtime.server.choice import Choice, Piece, completion_logprobs
from grokdist_runtime.server.completion_request import completion_request
from grokdist_runtime.server.service import Service


class CompletionForm:
    """How an answer is worded."""

    def __init__(self, service: Service, *, logprobs: int | None, with_usage: bool) -> None:
        self._logprobs = logprobs
        self._with_usage = with_usage
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.served.name,
            "system_fingerprint": service.served.fingerprint,
        }

    def chunk(self, index: int, piece: Piece, *, first: bool) -> dict[str, Any]:
        """One piece of a stream."""
        usage = {"usage": None} if self._with_usage else {}
        return {**self._head, "choices": [self._choice(index, piece)], **usage}

    def whole(self, pieces: Sequence[Piece], usage: dict[str, Any]) -> dict[str, Any]:
        """All choices at once."""
        choices = [self._choice(index, piece) for index, piece in enumerate(pieces)]
        return {**self._head, "choices": choices, "usage": usage}

    def usage_chunk(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The count of tokens, which ends a stream that asked for it."""
        return {**self._head, "choices": [], "usage": usage}

    def _choice(self, index: int, piece: Piece) -> dict[str, Any]:
        logprobs = None
        if self._logprobs is not None:
            logprobs = completion_logprobs(piece.tokens, self._logprobs)
        return {
            "index": index,
            "text": piece.text,
            "logprobs": logprobs,
            "finish_reason": piece.finish_reason,
        }


async def completions(request: Request) -> Response:
    """The endpoint."""
    service: Service = request.app.state.service
    limits = service.limits
    body = await read_object(request, limits)
    wanted = completion_request(body, model=service.served.name, limits=limits)
    asked = wanted.asked
    prompts = await service.tokens(wanted.prompts)
    with_scores = wanted.echo and asked.logprobs is not None
    work, scorings = service.begin(prompts, asked, score=with_scores)

    choices = [Choice(service.tokenizer) for _ in work.generations]

    def echo(index: int) -> Piece:
        number = index // asked.n
        prompt = wanted.prompts[number]
        text = prompt if isinstance(prompt, str) else service.tokenizer.decode(prompt)
        return choices[index].echo(text, scorings[number].scored if scorings else ())

    answer = Answer(
        work,
        choices,
        echo=echo if wanted.echo else None,
        prompt_tokens=sum(map(len, prompts)),
    )
    form = CompletionForm(service, logprobs=asked.logprobs, with_usage=asked.include_usage)
    if asked.stream:
        return EventStream(
            answer, form, include_usage=asked.include_usage, timeout_s=limits.timeout_s
        )
    return await answer_whole(request, answer, form, timeout_s=limits.timeout_s)
