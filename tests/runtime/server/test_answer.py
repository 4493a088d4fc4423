"""An answer to a client that does not read: its time ends, and nothing waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.server.answer import Answer, EventStream
from grokdist_runtime.server.choice import Choice
from grokdist_runtime.server.completions import CompletionForm
from tests.runtime.server.conftest import Running, Serving


def test_a_client_that_never_reads_is_given_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokdist_runtime.server.answer._LAST_WORDS_S", 0.1)

    async def play(running: Running) -> Answer:
        service = running.service
        generation = service.engine.begin(
            [40, 50], SamplingParams.greedy(), max_tokens=4, ignore_eos=True
        )
        work = service.submit([generation], [])
        answer = Answer(work, [Choice(service.tokenizer)], prompt_tokens=2)
        form = CompletionForm(service, logprobs=None, with_usage=False)
        stream = EventStream(answer, form, include_usage=False, timeout_s=0.2)

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()  # its buffers are full

        await stream({"type": "http"}, receive, send)
        return answer

    with serving() as running:
        answer = asyncio.run(play(running))
    (generation,) = answer.work.generations
    assert generation is not None
    assert generation.cancelled
