"""Writing a completion to stdout as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokdist.cli.output import Output
from grokdist.cli.token_table import token_rows
from grokdist.cli.waiting import waiting

if TYPE_CHECKING:
    from grokdist.cli.generation_settings import GenerationSettings
    from grokdist_runtime.engine import Engine
    from grokdist_runtime.events import Completion, Event
    from grokdist_runtime.tokenizer import Tokenizer

WAIT = "compiling, and reading the prompt"
"""What goes on before the first token comes."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A completion, and the log-probabilities of its tokens where they were asked for."""

    completion: Completion
    logprobs: list[dict[str, Any]] | None


def answer(engine: Engine, ids: Any, settings: GenerationSettings, out: Output) -> Answer:
    """Continue a prompt; returns once the text has ended."""
    events = engine.generate(
        ids,
        settings.asked,
        max_tokens=settings.max_tokens,
        stop=settings.stop,
        ignore_eos=settings.ignore_eos,
    )
    return write(events, settings, engine.tokenizer, out)


def write(
    events: Iterator[Event],
    settings: GenerationSettings,
    tokenizer: Tokenizer | None,
    out: Output,
) -> Answer:
    """Stream events to stdout: text where there is a tokenizer, else token ids."""
    from grokdist_runtime.events import EndEvent, TokenEvent

    spoken = tokenizer is not None
    tokens: list[TokenEvent] = []
    with waiting(out, WAIT) as begun:
        for event in events:
            begun()
            if isinstance(event, EndEvent):
                out.stream((event.text if spoken else "") + "\n")
                rows = token_rows(tokens, tokenizer) if settings.logprobs is not None else None
                return Answer(completion=event.completion, logprobs=rows)
            out.stream(event.text if spoken else f"{event.token_id} ")
            if settings.logprobs is not None:
                tokens.append(event)
    raise AssertionError  # the last event is always an EndEvent
