"""How texts are to be continued: one set of settings, and what may be changed in it by name."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from grokdist.errors import UsageError
from grokdist_runtime.errors import PromptError
from grokdist_runtime.sampling import MAX_TOP_LOGPROBS, SamplingParams

_SEEDS = 1 << 32
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "seed")


def new_seed() -> int:
    """A seed for whoever names none; it is said, so that a text can be made again."""
    return secrets.randbelow(_SEEDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Settings of one continuation; every instance has passed the checks of its parts.

    Attributes:
        sampling: how tokens are chosen.
        max_tokens: at most so many.
        stop: end before any of these texts.
        ignore_eos: go on past the model's end of text.
        logprobs: report so many of the most likely tokens beside each chosen one; None for no
            log-probabilities at all.

    Raises:
        PromptError: a value is out of bounds.
    """

    sampling: SamplingParams
    max_tokens: int
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if type(self.max_tokens) is not int or self.max_tokens < 1:
            raise PromptError(
                f"max_tokens is {self.max_tokens!r}; expected an integer of at least 1"
            )
        if any(not isinstance(text, str) or not text for text in self.stop):
            raise PromptError(f"stop is {list(self.stop)!r}; expected texts that are not empty")
        if type(self.ignore_eos) is not bool:
            raise PromptError(f"ignore_eos is {self.ignore_eos!r}; expected true or false")
        count = self.logprobs
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOP_LOGPROBS):
            raise PromptError(
                f"logprobs is {count!r}; expected an integer from 0 to {MAX_TOP_LOGPROBS}"
            )

    @classmethod
    def of_flags(
        cls,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        seed: int,
        max_tokens: int,
        stop: list[str] | None,
        ignore_eos: bool,
        logprobs: int | None,
    ) -> GenerationSettings:
        """From the flags of a command."""
        sampling = SamplingParams(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed
        )
        return cls(
            sampling=sampling,
            max_tokens=max_tokens,
            stop=tuple(stop or ()),
            ignore_eos=ignore_eos,
            logprobs=logprobs,
        )

    @property
    def asked(self) -> SamplingParams:
        """What the runtime is asked for: the sampling, with the likely tokens to report."""
        return dataclasses.replace(self.sampling, top_logprobs=self.logprobs or 0)

    def changed(self, changes: Mapping[str, Any]) -> GenerationSettings:
        """These settings with others in place of some, by the names of the flags.

        Raises:
            UsageError: there is no such setting.
            PromptError: a value is refused.
        """
        changes = dict(changes)
        sampling = {name: changes.pop(name) for name in _SAMPLING if name in changes}
        if isinstance(changes.get("stop"), str):
            changes["stop"] = (changes["stop"],)
        if isinstance(changes.get("stop"), list):
            changes["stop"] = tuple(changes["stop"])
        known = {field.name for field in dataclasses.fields(self)} - {"sampling"}
        for name in changes:
            if name not in known:
                raise UsageError(
                    f"{name!r} is no setting; expected one of"
                    f" {', '.join(sorted({*known, *_SAMPLING}))}"
                )
        if "stop" in changes and not isinstance(changes["stop"], tuple):
            raise PromptError(f"stop is {changes['stop']!r}; expected a text or a list of texts")
        return dataclasses.replace(
            self, sampling=dataclasses.replace(self.sampling, **sampling), **changes
        )

    def document(self) -> dict[str, Any]:
        """For JSON and for people: every setting by its name."""
        sampling = {name: getattr(self.sampling, name) for name in _SAMPLING}
        return sampling | {
            "max_tokens": self.max_tokens,
            "stop": list(self.stop),
            "ignore_eos": self.ignore_eos,
            "logprobs": self.logprobs,
        }
