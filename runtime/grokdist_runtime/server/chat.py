"""``/v1/chat/completions``, for models that declare how a conversation is written down.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from grokdist_runtime.server.answer import Answer, EventStream, answer_whole
from grokdist_runtime.server.api_error import ApiError
from grokdist_runtime.server.body import read_object
from grokdist_runtime.server.chat_template import TEMPLATE_FILE
from grokdist_runtime.server.choice import Choice, Piece, chat_logprobs
from grokdist_runtime.server.completion_request import chat_request
from grokdist_runtime.server.service import Service


class ChatForm:
    """How an answer is worded."""

    def __init__(self, service: Service, *, logprobs: bool, with_usage: bool) -> None:
        self._logprobs = logprobs
        self._with_usage = with_usage
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": service.served.name,
            "system_fingerprint": service.served.fingerprint,
        }

    def chunk(self, index: int, piece: Piece, *, first: bool) -> dict[str, Any]:
        """One piece of a stream."""
        delta = {"role": "assistant"} if first else {}
        if piece.text or first:
            delta["content"] = piece.text
        choice = {"index": index, "delta": delta, **self._rest(piece)}
        usage = {"usage": None} if self._with_usage else {}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **usage}

    def whole(self, pieces: Sequence[Piece], usage: dict[str, Any]) -> dict[str, Any]:
        """All choices at once."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": piece.text, "refusal": None},
                **self._rest(piece),
            }
            for index, piece in enumerate(pieces)
        ]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": usage}

    def usage_chunk(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The count of tokens, which ends a stream that asked for it."""
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage}

    def _rest(self, piece: Piece) -> dict[str, Any]:
        logprobs = chat_logprobs(piece.tokens) if self._logprobs else None
        return {"logprobs": logprobs, "finish_reason": piece.finish_reason}


async def chat_completions(request: Request) -> Response:
    """The endpoint."""
    service: Service = request.app.state.service
    limits = service.limits
    body = await read_object(request, limits)
    template = service.chat
    if template is None:
        raise ApiError(
            f"{service.served.name} is a base model: it declares no chat template "
            f"({TEMPLATE_FILE}) and continues texts, so there is no chat with it; "
            "use /v1/completions",
            code="no_chat_template",
        )
    wanted = chat_request(body, model=service.served.name, limits=limits)
    asked = wanted.asked
    text = await asyncio.to_thread(template.render, wanted.messages)
    prompts = await service.tokens([text])
    work, _ = service.begin(prompts, asked)
    choices = [Choice(service.tokenizer) for _ in work.generations]
    answer = Answer(work, choices, prompt_tokens=len(prompts[0]))
    form = ChatForm(service, logprobs=asked.logprobs is not None, with_usage=asked.include_usage)
    if asked.stream:
        return EventStream(
            answer, form, include_usage=asked.include_usage, timeout_s=limits.timeout_s
        )
    return await answer_whole(request, answer, form, timeout_s=limits.timeout_s)
