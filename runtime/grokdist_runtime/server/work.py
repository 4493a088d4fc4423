"""One request's texts on the event loop: put to the scheduler, their events brought back.

The scheduler's thread hands each event over and goes on; a client that reads slowly, or not at
all, keeps nobody waiting but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence

from grokdist_runtime.events import EndEvent, Event
from grokdist_runtime.generation import Generation
from grokdist_runtime.scheduler import Scheduler
from grokdist_runtime.scoring import Scoring
from grokdist_runtime.server.api_error import api_error, shutting_down
from grokdist_runtime.server.metrics import Metrics

_LOG = logging.getLogger(__name__)


class Work:
    """Some texts to generate and some to score.

    Attributes:
        generations: One for each choice; ``None`` for one that generates nothing.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        metrics: Metrics,
        *,
        generations: Sequence[Generation | None],
        scorings: Sequence[Scoring],
    ) -> None:
        """Submits all or nothing; on the event loop.

        Raises:
            BusyError: There is no room for all of them.
        """
        self.generations = generations
        self._scorings = scorings
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
        self._scored: asyncio.Queue[Scoring | Exception] = asyncio.Queue()
        self._cancelled = False
        try:
            for scoring in scorings:
                scheduler.add_scoring(scoring, self._hand_over_scores)
            for index, generation in enumerate(generations):
                if generation is not None:
                    scheduler.add(generation, functools.partial(self._hand_over, index))
        except Exception:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Nobody wants any more of it."""
        self._cancelled = True
        self.interrupt()

    def interrupt(self) -> None:
        """Ends it although somebody waits, who is told so."""
        for each in (*self.generations, *self._scorings):
            if each is not None:
                each.cancelled = True

    async def scores(self) -> None:
        """Waits until every text that is to be scored has been.

        Raises:
            ApiError: One could not be.
        """
        for _ in self._scorings:
            done = await self._scored.get()
            if isinstance(done, Exception):
                raise api_error(done) from done
            if done.cancelled:
                raise shutting_down()

    async def event(self) -> tuple[int, Event]:
        """The next event of any choice, with its index.

        Raises:
            ApiError: That choice could not be finished.
        """
        index, event = await self._events.get()
        if isinstance(event, Exception):
            raise api_error(event) from event
        if isinstance(event, EndEvent) and event.completion.stop_reason == "cancel":
            raise shutting_down()  # nothing else cancels what is still waited for
        return index, event

    # Called by the scheduler's thread.

    def _hand_over(self, index: int, event: Event | Exception) -> None:
        self._soon(self._take, index, event)

    def _hand_over_scores(self, done: Scoring | Exception) -> None:
        self._soon(self._take_scores, done)

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        # Once the loop has ended nobody is there to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    # Called on the event loop.

    def _take(self, index: int, event: Event | Exception) -> None:
        if isinstance(event, EndEvent):
            self._metrics.text_ended(event.completion)
        elif isinstance(event, Exception):
            self._metrics.text_failed()
            _LOG.error("a text could not be finished", exc_info=event)
        if not self._cancelled:
            self._events.put_nowait((index, event))

    def _take_scores(self, done: Scoring | Exception) -> None:
        if isinstance(done, Exception):
            _LOG.error("a text could not be scored", exc_info=done)
        elif not done.cancelled:
            self._metrics.text_scored(len(done.tokens))
        self._scored.put_nowait(done)
