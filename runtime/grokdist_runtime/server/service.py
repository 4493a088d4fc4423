"""What the endpoints of one server share, and how a request becomes work for the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grokdist_runtime.engine import Engine
from grokdist_runtime.errors import PromptError
from grokdist_runtime.generation import Generation
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.scheduler import Scheduler
from grokdist_runtime.scoring import Scoring
from grokdist_runtime.server.api_error import ApiError, shutting_down
from grokdist_runtime.server.chat_template import ChatTemplate
from grokdist_runtime.server.completion_request import Asked, Prompt
from grokdist_runtime.server.limits import Limits
from grokdist_runtime.server.metrics import Metrics
from grokdist_runtime.server.work import Work
from grokdist_runtime.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """A model as it is announced.

    Attributes:
        name: What clients call it.
        created: When it came to be, in seconds since 1970.
        owner: Who published it.
        fingerprint: Tells one model's bytes from another's.
        provenance: What ``/provenance`` says, for people.
    """

    name: str
    created: int
    owner: str
    fingerprint: str
    provenance: Mapping[str, Any]


class Service:
    """One model being served.

    Attributes:
        engine: The model.
        tokenizer: Its tokenizer, which it must have.
        scheduler: Who does the work.
        served: How it is announced.
        limits: What one client may ask.
        metrics: What is counted.
        chat: Its chat template; ``None`` for a base model.
        stopping: Set once the server is to end: it takes no more requests.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        scheduler: Scheduler,
        served: Served,
        limits: Limits,
        chat: ChatTemplate | None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.served = served
        self.limits = limits
        self.chat = chat
        self.metrics = Metrics(scheduler, model=served.name)
        self.stopping = False
        self._live: weakref.WeakSet[Work] = weakref.WeakSet()

    async def tokens(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """Token ids of each prompt; a long text keeps no other client waiting.

        Raises:
            ApiError: One is longer than is allowed.
            PromptError: One is no valid text, or far too long.
        """

        def encode() -> list[tuple[int, ...]]:
            return [
                tuple(self.engine.encode(prompt)) if isinstance(prompt, str) else prompt
                for prompt in prompts
            ]

        found = await asyncio.to_thread(encode)
        most = self.limits.max_prompt_tokens
        longest = max(len(tokens) for tokens in found)
        if most is not None and longest > most:
            raise ApiError(
                f"the prompt has {longest} tokens; expected at most {most}",
                param="prompt",
                code="prompt_too_long",
            )
        return found

    def begin(
        self, prompts: Sequence[Sequence[int]], asked: Asked, *, score: bool = False
    ) -> tuple[Work, Sequence[Scoring]]:
        """Submits the choices of a request: ``n`` for each prompt, in their order.

        Args:
            prompts: Token ids.
            asked: How to go on from there.
            score: Score the prompts as well.

        Returns:
            The work, and one scoring a prompt if they are to be scored.

        Raises:
            ApiError: The server is about to end.
            BusyError: There is no room.
            PromptError: A prompt or a setting is refused.
        """
        if self.stopping:
            raise shutting_down()
        generations: list[Generation | None] = []
        for tokens in prompts:
            for _ in range(asked.n):
                sampling = asked.choice_sampling(len(generations) % asked.n)
                if asked.max_tokens == 0:
                    if not tokens:
                        raise PromptError("the prompt is empty; expected at least one token")
                    generations.append(None)
                    continue
                generations.append(
                    self.engine.begin(
                        tokens,
                        sampling,
                        max_tokens=asked.max_tokens,
                        stop=asked.stop,
                        ignore_eos=asked.ignore_eos,
                    )
                )
        top = asked.logprobs or 0
        scorings = [self.engine.begin_scoring(each, top=top) for each in prompts if score]
        return self.submit(generations, scorings), scorings

    def submit(self, generations: Sequence[Generation | None], scorings: Sequence[Scoring]) -> Work:
        """Puts what was checked to the scheduler, all or nothing.

        Raises:
            BusyError: There is no room.
        """
        work = Work(self.scheduler, self.metrics, generations=generations, scorings=scorings)
        self._live.add(work)
        return work

    def cut(self) -> None:
        """Ends what is still being answered; its clients are told that the server ends."""
        for work in list(self._live):
            work.interrupt()


@contextlib.contextmanager
def running_scheduler(
    engine: Engine, *, max_rows: int, max_waiting: int, prefix_bytes: int
) -> Iterator[Scheduler]:
    """A scheduler that has generated something: whoever comes first need not wait for that."""
    with Scheduler(
        engine, max_rows=max_rows, max_waiting=max_waiting, prefix_bytes=prefix_bytes
    ) as scheduler:
        for _ in scheduler.submit([0], SamplingParams.greedy(), max_tokens=2, ignore_eos=True):
            pass
        yield scheduler
