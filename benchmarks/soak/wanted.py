"""What is asked of the server with a seed, and what the model answers to that when it is alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from grokdist_runtime.engine import Engine
from grokdist_runtime.events import EndEvent
from grokdist_runtime.sampling import SamplingParams

_PLAY = (
    "HAMLET: To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer"
    " The slings and arrows of outrageous fortune, Or to take arms against a sea of troubles, And"
    " by opposing end them. To die: to sleep; No more; and by a sleep to say we end The heart-ache"
    " and the thousand natural shocks That flesh is heir to, 'tis a consummation Devoutly to be"
    " wish'd. To die, to sleep; To sleep: perchance to dream: ay, there's the rub; For in that"
    " sleep of death what dreams may come"
)
PROMPTS = (
    f"{_PLAY} When we",
    f"{_PLAY} Must give us pause",
    "To be, or not to be",
    f"{_PLAY}; OPHELIA:",
    "My lord, the king is at the gate with all his men.",
    "Friends, Romans, countrymen",
    "O",
    "The quality of mercy is not strain'd, it droppeth as the gentle rain from heaven",
)
"""Some share a beginning of many tokens, which the server computes once."""

NEIGHBOURS = 3
"""Seeds in a row that are known, so that a request may ask for so many choices."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """One text of the model by itself.

    Attributes:
        prompt: What it continues.
        seed: Of its draws, at temperature 1.
        tokens: How many were asked for; the end of text is passed over.
        text: The continuation.
        logprobs: Of its tokens, each.
    """

    prompt: str
    seed: int
    tokens: int
    text: str
    logprobs: tuple[float, ...]


def answers(
    engine: Engine, *, prompts: int, seeds: int, tokens: int
) -> tuple[tuple[Answer, ...], ...]:
    """Texts of the engine alone, as ``run`` has them: groups of ``NEIGHBOURS`` seeds in a row."""
    return tuple(
        tuple(_alone(engine, prompt, seed, tokens) for seed in range(first, first + NEIGHBOURS))
        for prompt in PROMPTS[:prompts]
        for first in range(1, NEIGHBOURS * seeds, NEIGHBOURS)
    )


def stop_in(answer: Answer) -> str:
    """Two characters from the middle of a text."""
    middle = len(answer.text) // 2
    return answer.text[middle : middle + 2]


def differs(found: Sequence[float], expected: Sequence[float], *, allowed: float = 1e-3) -> bool:
    """Whether log-probabilities are others than those of the model alone."""
    return len(found) != len(expected) or any(
        abs(one - other) > allowed for one, other in zip(found, expected, strict=True)
    )


def _alone(engine: Engine, prompt: str, seed: int, tokens: int) -> Answer:
    sampling = SamplingParams(temperature=1.0, seed=seed)
    events = engine.generate(engine.encode(prompt), sampling, max_tokens=tokens, ignore_eos=True)
    *_, end = events
    if not isinstance(end, EndEvent) or end.completion.text is None:
        raise ValueError(f"no text continues {prompt!r}; expected a model with a tokenizer")
    return Answer(
        prompt=prompt,
        seed=seed,
        tokens=tokens,
        text=end.completion.text,
        logprobs=tuple(end.completion.logprobs),
    )
