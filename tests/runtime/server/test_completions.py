"""Completions over the wire, by OpenAI's own client where it can ask for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from grokdist_runtime.engine import Engine, log_probabilities
from grokdist_runtime.events import Completion, EndEvent
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.server.limits import Limits
from tests.runtime.server.conftest import MODEL, Running, Serving

PROMPT = "To be, or not"


def alone(engine: Engine, tokens: list[int], **changes: Any) -> Completion:
    """What the engine makes of a prompt by itself."""
    most = changes.pop("max_tokens", 12)
    stop = changes.pop("stop", ())
    sampling = SamplingParams(**({"temperature": 0.0} | changes))
    *_, end = engine.generate(tokens, sampling, max_tokens=most, stop=stop, ignore_eos=True)
    assert isinstance(end, EndEvent)
    return end.completion


def ask(running: Running, prompt: object = PROMPT, **changes: Any) -> Any:
    """The answer; the chunks of a stream as they come, from a client that stays open for them."""
    options = {"max_tokens": 12, "temperature": 0.0, "extra_body": {"ignore_eos": True}} | changes
    if options.get("stream"):
        return streamed(running, prompt, options)
    with running.client() as client:
        return client.completions.create(model=MODEL, prompt=prompt, **options)  # type: ignore[call-overload]


def streamed(running: Running, prompt: object, options: dict[str, Any]) -> Iterator[Any]:
    with running.client() as client:
        yield from client.completions.create(model=MODEL, prompt=prompt, **options)  # type: ignore[call-overload]


def test_the_one_model_is_listed(running: Running) -> None:
    with running.client() as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "nobody"
        with pytest.raises(openai.NotFoundError, match="the model 'other' is not here"):
            client.models.retrieve("other")


def test_a_completion_is_the_engines(running: Running, engine: Engine) -> None:
    tokens = engine.encode(PROMPT)
    expected = alone(engine, tokens)
    got = ask(running)
    (choice,) = got.choices
    assert (choice.text, choice.finish_reason, choice.logprobs) == (expected.text, "length", None)
    assert (got.object, got.model, got.system_fingerprint) == ("text_completion", MODEL, "fp_test")
    assert got.usage.prompt_tokens == len(tokens)
    assert (got.usage.completion_tokens, got.usage.total_tokens) == (12, len(tokens) + 12)


def test_a_stream_is_the_same_piece_by_piece(running: Running, engine: Engine) -> None:
    expected = alone(engine, engine.encode(PROMPT))
    chunks = list(ask(running, stream=True, stream_options={"include_usage": True}))
    *pieces, usage = chunks
    assert len(pieces) > 3
    assert "".join(chunk.choices[0].text for chunk in pieces) == expected.text
    assert [chunk.choices[0].finish_reason for chunk in pieces[-2:]] == [None, "length"]
    assert {chunk.usage for chunk in pieces} == {None}
    assert (usage.choices, usage.usage.completion_tokens) == ([], 12)
    assert len({chunk.id for chunk in chunks}) == 1


def test_two_streams_at_once_are_each_their_own(running: Running, engine: Engine) -> None:
    prompts = [PROMPT, "the slings and"]
    streams = [ask(running, prompt, stream=True, max_tokens=30) for prompt in prompts]
    texts = ["", ""]
    # A piece of each in turn: neither is read to its end before the other has begun.
    iterators = [iter(stream) for stream in streams]
    left = {0, 1}
    while left:
        for number in sorted(left):
            piece = next(iterators[number], None)
            if piece is None:
                left.discard(number)
            else:
                texts[number] += piece.choices[0].text
    expected = [alone(engine, engine.encode(each), max_tokens=30).text for each in prompts]
    assert texts == expected


def test_a_seed_gives_the_same_text_and_each_choice_has_its_own(
    running: Running, engine: Engine
) -> None:
    tokens = engine.encode(PROMPT)
    got = ask(running, n=2, seed=7, temperature=2.0)
    expected = [alone(engine, tokens, temperature=2.0, seed=seed).text for seed in (7, 8)]
    assert [choice.text for choice in got.choices] == expected
    assert expected[0] != expected[1]
    assert ask(running, seed=7, temperature=2.0).choices[0].text == expected[0]
    # Two requests without a seed draw differently.
    drawn = {ask(running, temperature=2.0).choices[0].text for _ in range(2)}
    assert len(drawn) == 2


def test_a_stop_string_ends_before_it_and_takes_its_tokens_along(
    running: Running, engine: Engine
) -> None:
    text = alone(engine, engine.encode(PROMPT)).text
    assert text is not None
    stop = text[5:8]
    for stream in (False, True):
        got = ask(running, stop=[stop], logprobs=0, stream=stream)
        choices = [chunk.choices[0] for chunk in got] if stream else [got.choices[0]]
        assert "".join(choice.text for choice in choices) == text[: text.index(stop)]
        assert choices[-1].finish_reason == "stop"
        offsets = [offset for each in choices for offset in each.logprobs.text_offset]
        assert all(offset < text.index(stop) for offset in offsets)
        assert offsets == sorted(offsets)


def test_logprobs_are_the_engines(running: Running, engine: Engine) -> None:
    assert engine.tokenizer is not None
    expected = alone(engine, engine.encode(PROMPT))
    logprobs = ask(running, logprobs=3).choices[0].logprobs
    np.testing.assert_allclose(logprobs.token_logprobs, expected.logprobs, atol=1e-4)
    assert len(logprobs.tokens) == 12
    for token, value, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == pytest.approx(value)  # greedy: the likeliest is the chosen one
        assert max(top.values()) == pytest.approx(value)
    assert ask(running, logprobs=0).choices[0].logprobs.top_logprobs is None


def test_echo_scores_the_prompt_and_generates_nothing_if_asked(
    running: Running, engine: Engine
) -> None:
    tokens = engine.encode(PROMPT)
    expected = log_probabilities(engine.score(tokens), tokens)
    got = ask(running, echo=True, logprobs=2, max_tokens=0)
    (choice,) = got.choices
    assert (choice.text, choice.finish_reason) == (PROMPT, "length")
    first, *later = choice.logprobs.token_logprobs
    assert first is None
    np.testing.assert_allclose(later, expected, atol=1e-4)
    assert choice.logprobs.top_logprobs[0] is None
    assert all(1 <= len(top) <= 3 for top in choice.logprobs.top_logprobs[1:])
    starts = choice.logprobs.text_offset
    pieces = [PROMPT[a:b] for a, b in zip(starts, [*starts[1:], len(PROMPT)], strict=True)]
    assert "".join(pieces) == PROMPT
    assert got.usage.completion_tokens == 0
    both = ask(running, echo=True, logprobs=0, max_tokens=4).choices[0]
    assert both.text.startswith(PROMPT)
    assert len(both.logprobs.tokens) == len(tokens) + 4
    assert both.logprobs.text_offset[len(tokens)] == len(PROMPT)
    assert ask(running, echo=True, max_tokens=0).choices[0].logprobs is None


def test_prompts_come_as_texts_and_as_token_ids(running: Running, engine: Engine) -> None:
    tokens = engine.encode(PROMPT)
    other = engine.encode("and by opposing")
    expected = [alone(engine, each).text for each in (tokens, other)]
    assert ask(running, tokens).choices[0].text == expected[0]
    for prompts in ([PROMPT, "and by opposing"], [tokens, other]):
        choices = ask(running, prompts).choices
        assert [choice.index for choice in choices] == [0, 1]
        assert [choice.text for choice in choices] == expected


def test_the_end_of_the_context_ends_a_text(running: Running, engine: Engine) -> None:
    tokens = engine.encode(PROMPT)
    choice = ask(running, max_tokens=1000, logprobs=0).choices[0]
    assert choice.finish_reason == "length"
    assert len(choice.logprobs.tokens) == engine.config.sequence_len - len(tokens)


def test_an_answer_that_cannot_be_sent_as_json_is_not_made(running: Running) -> None:
    """Half a surrogate pair is no text; minus infinity is no number; both come as JSON."""
    answered = running.ask("/v1/completions", b'{"prompt": "\\ud800"}')
    assert answered.status == 400
    assert "not valid Unicode" in answered.error["message"]
    answered = running.complete(prompt=PROMPT, model="\ud800")
    assert answered.status == 404
    numbers = running.complete(prompt=PROMPT, logprobs=20, max_tokens=4, min_p=1.0).json
    found = numbers["choices"][0]["logprobs"]["top_logprobs"]
    assert all(math.isfinite(value) for top in found for value in top.values())


def test_a_base_model_does_not_chat(running: Running) -> None:
    with running.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert caught.value.code == "no_chat_template"
    assert "tiny is a base model" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"suffix": " end"}, "suffix", "suffix is not supported: the model writes on"),
        ({"best_of": 3}, "best_of", "best_of is 3; expected the same as n, 1"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "logit_bias is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "is not supported"),
        ({"prompt": None}, "prompt", "prompt is none"),
        ({"prompt": []}, "prompt", "expected a text, a list of texts"),
        ({"prompt": [1, "a"]}, "prompt", "expected a text"),
        ({"prompt": {"a": 1}}, "prompt", "prompt is dict"),
        ({"n": 0}, "n", "n is 0; expected an integer from 1 to 16"),
        ({"prompt": ["a"] * 9, "n": 2}, "n", "make 18 choices; expected at most 16"),
        ({"max_tokens": -1}, "max_tokens", "max_tokens is -1"),
        ({"max_tokens": 1.5}, "max_tokens", "max_tokens is 1.5"),
        ({"max_tokens": True}, "max_tokens", "max_tokens is True"),
        ({"temperature": "hot"}, "temperature", "temperature is 'hot'; expected a number"),
        ({"temperature": -0.1}, "temperature", "temperature is -0.1"),
        ({"logprobs": 21}, "logprobs", "logprobs is 21; expected an integer from 0 to 20"),
        ({"stop": [1]}, "stop", "expected a text or a list of texts"),
        ({"stream": "yes"}, "stream", "stream is 'yes'; expected true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "beside stream: true"),
        ({"seed": "x"}, "seed", "seed is 'x'"),
        ({"colour": "red"}, "colour", "unknown parameter colour; expected best_of, echo"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    running: Running, changes: dict[str, Any], param: str, says: str
) -> None:
    answered = running.complete(**({"prompt": PROMPT} | changes))
    assert answered.status == 400
    assert answered.error["param"] == param
    assert answered.error["type"] == "invalid_request_error"
    assert says in answered.error["message"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "", "max_tokens": 0}, "the prompt is empty"),
        ({"prompt": [320]}, "token id 320 is outside the vocabulary; expected 0 to 319"),
        ({"prompt": [1] * 64}, "the prompt has 64 tokens; expected fewer than the context"),
        ({"prompt": "a" * 20000}, "the text has 20000 characters; expected at most"),
        ({"top_p": 0}, "top_p is 0; expected a number above 0"),
        ({"stop": [""]}, "stop string '' given"),
        ({"stop": ["a"] * 65}, "65 stop strings given; expected at most 64"),
    ],
)
def test_what_the_model_cannot_do_is_said(
    running: Running, changes: dict[str, Any], says: str
) -> None:
    answered = running.complete(**({"prompt": PROMPT} | changes))
    assert answered.status == 400
    assert says in answered.error["message"]


def test_what_asks_for_nothing_is_no_reason_to_refuse(running: Running) -> None:
    idle = {
        "suffix": "",
        "best_of": 1,
        "n": 1.0,
        "logit_bias": {},
        "presence_penalty": 0,
        "frequency_penalty": None,
        "logprobs": None,
        "stop": None,
        "user": "someone",
        "model": MODEL,
    }
    assert running.complete(prompt=PROMPT, max_tokens=1, **idle).status == 200


def test_limits_of_the_server_bind(serving: Serving) -> None:
    limits = Limits(max_prompt_tokens=4, max_tokens=3, max_choices=2, grace_s=0.2)
    with serving(limits=limits) as running:
        assert running.complete(prompt=[5, 6, 7, 8], max_tokens=3, n=2).status == 200
        default = running.complete(prompt=[5], ignore_eos=True).json
        assert default["usage"]["completion_tokens"] == 3
        for wrong, says in (
            ({"prompt": [5] * 5}, "the prompt has 5 tokens; expected at most 4"),
            ({"prompt": [5], "max_tokens": 4}, "max_tokens is 4; expected an integer from 0 to 3"),
            ({"prompt": [5], "n": 3}, "n is 3; expected an integer from 1 to 2"),
        ):
            answered = running.complete(**wrong)
            assert answered.status == 400
            assert says in answered.error["message"]


def test_a_stream_is_well_formed_on_the_wire(running: Running) -> None:
    answered = running.complete(prompt=PROMPT, stream=True, max_tokens=3, ignore_eos=True)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in answered.headers
    assert answered.headers["cache-control"] == "no-store"
    *events, end, rest = answered.body.split(b"\n\n")
    assert (end, rest) == (b"data: [DONE]", b"")
    documents = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert all(document["object"] == "text_completion" for document in documents)
    assert "usage" not in documents[0]
