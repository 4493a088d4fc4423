"""What generating a text yields: one event a token, then one that ends it."""

from __future__ import annotations

import dataclasses
from typing import Literal

StopReason = Literal["length", "eos", "stop", "context", "cancel"]
"""``length``: as many tokens as asked; ``eos``: the model ended the text; ``stop``: a stop string
came; ``context``: the context is full; ``cancel``: whoever asked for it wanted no more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of one generation went.

    Attributes:
        load_s: Seconds it took to load the model, before this generation.
        compile_s: Seconds this generation spent compiling; 0 if all programs were there.
        first_token_s: Seconds from the call to the first token, without compiling; in a batch
            with what it waited for others.
        prefill_tokens_per_s: Prompt tokens a second.
        decode_tokens_per_s: Tokens a second after the first; ``None`` if there was no second.
    """

    load_s: float
    compile_s: float
    first_token_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
    """The whole of one generation.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        reused_tokens: As many of them were not computed, since an earlier text began so.
        token_ids: Generated tokens; an end of text that stopped it is not among them.
        logprobs: Log-probability of each under the model, before temperature and filters.
        text: Their text up to a stop string; ``None`` without a tokenizer.
        stop_reason: Why it ended.
        timings: Where the time went.
    """

    prompt_tokens: int
    reused_tokens: int = 0
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str | None
    stop_reason: StopReason
    timings: Timings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenEvent:
    """One token.

    Attributes:
        token_id: Its id.
        text: Text to show now: possibly empty, or with text that was held back before.
        logprob: Its log-probability under the model.
        top_logprobs: The most likely tokens and theirs, as many as ``SamplingParams`` asks for.
    """

    token_id: int
    text: str
    logprob: float
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndEvent:
    """The end.

    Attributes:
        text: Text that was held back and is now known not to start a stop string.
        completion: All of it.
    """

    text: str
    completion: Completion


Event = TokenEvent | EndEvent
"""What ``Engine.generate`` yields; the texts of all events joined are the completion's text."""
