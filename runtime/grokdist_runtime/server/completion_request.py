"""What a client asks of ``/v1/completions`` and ``/v1/chat/completions``, checked.

https://platform.openai.com/docs/api-reference/completions, with the sampling parameters that
other servers have as well: ``top_k``, ``min_p`` and ``ignore_eos``. A parameter that is not
understood is refused rather than passed over in silence.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from grokdist_runtime.sampling import MAX_TOP_LOGPROBS, SamplingParams
from grokdist_runtime.server.api_error import ApiError
from grokdist_runtime.server.fields import Fields
from grokdist_runtime.server.limits import Limits

DEFAULT_MAX_TOKENS = 16
"""OpenAI's, for completions."""

_SEEDS = 1 << 64
_MOST = (1 << 31) - 1

Prompt = str | tuple[int, ...]
"""A text, or token ids."""

Message = dict[str, str]
"""``role`` and ``content``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What both endpoints share.

    Attributes:
        sampling: How to choose tokens; its seed is the first choice's.
        max_tokens: At most so many; 0 generates none; ``None`` fills the context.
        n: Choices for each prompt.
        stop: End before the first of these.
        ignore_eos: Go on past the model's end of text.
        logprobs: Report log-probabilities, with so many of the most likely; ``None``: do not.
        stream: Send tokens as they come.
        include_usage: End the stream with a count of tokens.
    """

    sampling: SamplingParams
    max_tokens: int | None
    n: int
    stop: tuple[str, ...]
    ignore_eos: bool
    logprobs: int | None
    stream: bool
    include_usage: bool

    def choice_sampling(self, index: int) -> SamplingParams:
        """That of one choice: each has its own seed, the first the one that was asked for."""
        return dataclasses.replace(self.sampling, seed=(self.sampling.seed + index) % _SEEDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A checked body of ``/v1/completions``.

    Attributes:
        prompts: At least one.
        echo: Give the prompt back before what continues it.
        asked: The rest.
    """

    prompts: tuple[Prompt, ...]
    echo: bool
    asked: Asked


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A checked body of ``/v1/chat/completions``.

    Attributes:
        messages: At least one.
        asked: The rest.
    """

    messages: tuple[Message, ...]
    asked: Asked


def completion_request(body: Mapping[str, Any], *, model: str, limits: Limits) -> CompletionRequest:
    """Checks a body.

    Raises:
        ApiError: A parameter is missing, unknown, out of bounds or not supported.
        PromptError: The same, of the sampling.
    """
    fields = Fields(body)
    check_model(fields, model)
    prompts = _prompts(fields.take("prompt"))
    fields.refuse("suffix", "the model writes on from a prompt and fills no gaps", unless=[""])
    echo = fields.boolean("echo")
    logprobs = fields.take("logprobs")
    if logprobs is not None:
        logprobs = Fields({"logprobs": logprobs}).integer("logprobs", 0, 0, MAX_TOP_LOGPROBS)
    n = _choices(fields, len(prompts), limits)
    best_of = fields.take("best_of")
    if best_of is not None and best_of != n:
        raise ApiError(
            f"best_of is {best_of!r:.40}; expected the same as n, {n}: every choice is given back",
            param="best_of",
            code="unsupported_parameter",
        )
    most = _max_tokens(fields, "max_tokens", DEFAULT_MAX_TOKENS, limits, least=0)
    asked = _asked(fields, n=n, max_tokens=most, logprobs=logprobs)
    return CompletionRequest(prompts=prompts, echo=echo, asked=asked)


def chat_request(body: Mapping[str, Any], *, model: str, limits: Limits) -> ChatRequest:
    """Checks a body.

    Raises:
        ApiError: A parameter is missing, unknown, out of bounds or not supported.
        PromptError: The same, of the sampling.
    """
    fields = Fields(body)
    check_model(fields, model)
    messages = _messages(fields.take("messages"))
    wanted = fields.boolean("logprobs")
    top = fields.integer("top_logprobs", 0, 0, MAX_TOP_LOGPROBS)
    if top and not wanted:
        raise ApiError("top_logprobs needs logprobs to be true", param="top_logprobs")
    n = _choices(fields, 1, limits)
    older = _max_tokens(fields, "max_tokens", limits.max_tokens, limits)
    most = _max_tokens(fields, "max_completion_tokens", older, limits)
    asked = _asked(fields, n=n, max_tokens=most, logprobs=top if wanted else None)
    return ChatRequest(messages=messages, asked=asked)


def check_model(fields: Fields, model: str) -> None:
    """The model that is asked for must be the one there is; none asked for is that one too."""
    wanted = fields.take("model")
    if wanted is not None and wanted != model:
        raise ApiError(
            f"the model {wanted!r:.80} is not here; expected {model!r}",
            status=404,
            param="model",
            code="model_not_found",
        )


def _asked(fields: Fields, *, n: int, max_tokens: int | None, logprobs: int | None) -> Asked:
    """Takes what both endpoints share; all else must have been taken before."""
    seed = fields.integer("seed", secrets.randbelow(_SEEDS), -(1 << 63), _SEEDS - 1)
    sampling = SamplingParams(
        temperature=fields.number("temperature", 1.0, 0.0, 100.0),
        top_p=fields.number("top_p", 1.0, 0.0, 1.0),
        top_k=fields.integer("top_k", 0, 0, _MOST),
        min_p=fields.number("min_p", 0.0, 0.0, 1.0),
        seed=seed % _SEEDS,
        top_logprobs=logprobs or 0,
    )
    stop = fields.texts("stop")
    ignore_eos = fields.boolean("ignore_eos")
    stream = fields.boolean("stream")
    options = fields.take("stream_options")
    include_usage = False
    if options is not None:
        if not isinstance(options, dict) or not stream:
            raise ApiError(
                "stream_options is an object beside stream: true", param="stream_options"
            )
        nested = Fields(options, under="stream_options")
        include_usage = nested.boolean("include_usage")
        nested.boolean("include_obfuscation")  # there is none; clients may say so
        nested.done()
    for name in ("presence_penalty", "frequency_penalty"):
        fields.refuse(name, "tokens are not made less likely for having come before", unless=[0])
    fields.refuse("logit_bias", "there is no bias on single tokens", unless=[{}])
    fields.take("user")  # who asks is none of the model's business
    fields.done()
    return Asked(
        sampling=sampling,
        max_tokens=max_tokens,
        n=n,
        stop=stop,
        ignore_eos=ignore_eos,
        logprobs=logprobs,
        stream=stream,
        include_usage=include_usage,
    )


def _choices(fields: Fields, prompts: int, limits: Limits) -> int:
    n = fields.integer("n", 1, 1, limits.max_choices)
    if n * prompts > limits.max_choices:
        raise ApiError(
            f"{prompts} prompts with n {n} make {n * prompts} choices; "
            f"expected at most {limits.max_choices}",
            param="prompt" if n == 1 else "n",
        )
    return n


def _max_tokens(
    fields: Fields, name: str, default: int | None, limits: Limits, *, least: int = 1
) -> int | None:
    most = _MOST if limits.max_tokens is None else limits.max_tokens
    if default is not None:
        default = min(default, most)
    value = fields.integer(name, -1 if default is None else default, least, most)
    return None if value == -1 else value


def _prompts(value: object) -> tuple[Prompt, ...]:
    """A text, token ids, or a list of either."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if _are_tokens(value):
            return (tuple(value),)
        if all(isinstance(each, str) or (_are_tokens(each) and each) for each in value):
            return tuple(each if isinstance(each, str) else tuple(each) for each in value)
    given = "none" if value is None else type(value).__name__
    raise ApiError(
        f"prompt is {given}; expected a text, a list of texts, or lists of token ids",
        param="prompt",
    )


def _are_tokens(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(token, int) and not isinstance(token, bool) and 0 <= token <= _MOST
        for token in value
    )


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ApiError("messages is missing; expected a list of them", param="messages")
    return tuple(_message(each, number) for number, each in enumerate(value))


def _message(value: object, number: int) -> Message:
    name = f"messages[{number}]"
    if not isinstance(value, dict):
        raise ApiError(f"{name} is no object", param=name)
    role, content = value.get("role"), value.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise ApiError(f"{name} has no role and content; expected texts for both", param=name)
    return {"role": role, "content": content}
