"""Conversations, with a model that says how it wants them written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from grokdist_runtime.engine import Engine
from grokdist_runtime.errors import ConfigError, PromptError
from grokdist_runtime.events import EndEvent
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.server.chat_template import TEMPLATE_FILE, ChatTemplate
from tests.runtime.server.conftest import MODEL, Serving

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def test_a_conversation_is_written_as_the_template_says(serving: Serving, engine: Engine) -> None:
    text = "system: be\nuser: or not\nassistant:"
    tokens = engine.encode(text)
    *_, end = engine.generate(tokens, SamplingParams.greedy(), max_tokens=6, ignore_eos=True)
    assert isinstance(end, EndEvent)
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "be"},
            {"role": "user", "content": [{"type": "text", "text": "or not"}]},
        ],
        "max_completion_tokens": 6,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "extra_body": {"ignore_eos": True},
    }
    with serving(chat=ChatTemplate(TEMPLATE)) as running, running.client() as client:
        whole = client.chat.completions.create(**asked)
        (choice,) = whole.choices
        assert choice.message.role == "assistant"
        assert choice.message.content == end.completion.text
        assert choice.finish_reason == "length"
        assert len(choice.logprobs.content) == 6
        assert [len(token.top_logprobs) for token in choice.logprobs.content] == [2] * 6
        assert whole.usage.prompt_tokens == len(tokens)
        chunks = list(client.chat.completions.create(**asked, stream=True))
        assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == end.completion.text
        for messages, says in (
            ([], "messages is missing"),
            ([{"role": "user"}], "has no role and content"),
            ([{"role": "tool", "content": "x"}], "refuses the messages: no tools"),
        ):
            with pytest.raises(openai.BadRequestError, match=says):
                client.chat.completions.create(**asked | {"messages": messages})


def test_a_template_comes_from_the_directory(tmp_path: Path) -> None:
    assert ChatTemplate.of(tmp_path) is None
    (tmp_path / TEMPLATE_FILE).write_text(TEMPLATE)
    template = ChatTemplate.of(tmp_path)
    assert template is not None
    assert template.render([{"role": "user", "content": "{{ 7 * 7 }}"}]) == (
        "user: {{ 7 * 7 }}\nassistant:"
    )
    (tmp_path / TEMPLATE_FILE).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot read"):
        ChatTemplate.of(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ nothing }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_template_that_is_none_or_reaches_out_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="is not usable"):
        ChatTemplate(source)


def test_a_refusal_is_the_prompts_fault() -> None:
    with pytest.raises(PromptError, match="no tools"):
        ChatTemplate(TEMPLATE).render([{"role": "tool", "content": ""}])
