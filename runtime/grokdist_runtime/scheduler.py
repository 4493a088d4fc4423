"""Serving many at once: requests come from any thread, one thread works on them together.

``submit`` checks a request, puts it in a bounded queue and returns its events as an iterator. All
work on the devices is done by one thread, which sleeps while there is none. Meanwhile nothing else
may use the engine to generate or score: on several devices two threads could wait for each other.
So the thread scores texts as well, a chunk a turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType

from grokdist_runtime.batch import Batch, Deliver
from grokdist_runtime.engine import Engine, Tokens
from grokdist_runtime.errors import BusyError, ClosedError
from grokdist_runtime.events import EndEvent, Event
from grokdist_runtime.generation import Generation
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.scoring import Scoring

MAX_ROWS = 8
"""Texts decoded together unless asked otherwise."""
MAX_WAITING = 64
"""Requests that may wait for a row unless asked otherwise."""
PREFIX_BYTES = 1 << 29
"""On each device, for beginnings of texts, unless asked otherwise."""

DeliverScores = Callable[[Scoring | Exception], None]
"""Takes a text that has been scored, or was cancelled before; or what went wrong."""


class Answer(Iterator[Event]):
    """The events of one request as they come: ``TokenEvent``s, then one ``EndEvent``.

    Waits for the next event. Raises what went wrong, if something did; nothing comes after that.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._events: SimpleQueue[Event | Exception] = SimpleQueue()
        self._over = False

    def __next__(self) -> Event:
        if self._over:
            raise StopIteration
        event = self._events.get()
        self._over = isinstance(event, (EndEvent, Exception))
        if isinstance(event, Exception):
            raise event
        return event

    def deliver(self, event: Event | Exception) -> None:
        """Called by the thread that does the work."""
        self._events.put(event)

    def cancel(self) -> None:
        """Wants no more; from any thread, at any time. An ``EndEvent`` with what there is comes."""
        self._generation.cancelled = True


class Scheduler:
    """The queue and the thread; close it, or use it as a context manager."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_rows: int = MAX_ROWS,
        max_waiting: int = MAX_WAITING,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        """Starts the thread.

        Args:
            engine: The model; the scheduler's alone until it is closed.
            max_rows: Texts decoded together at most. The devices need memory for a cache of so
                many rows, each as long as the longest text.
            max_waiting: Requests that may wait beyond those.
            prefix_bytes: Memory on each device for beginnings of texts; 0 for none.
        """
        self._engine = engine
        self._max_waiting = max_waiting
        self._batch = Batch(engine.runner, max_rows=max_rows, prefix_bytes=prefix_bytes)
        self._arrived: deque[tuple[Generation, Deliver]] = deque()
        self._scorings: deque[tuple[Scoring, DeliverScores]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        # A daemon, so that a program that forgets to close it still ends.
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    def submit(
        self,
        tokens: Tokens,
        sampling: SamplingParams,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
    ) -> Answer:
        """Asks for a continuation; the arguments are those of ``Engine.generate``.

        Raises:
            BusyError: Too many wait already, or the scheduler is closed.
            PromptError: As in ``Engine.generate``.
            TokenizerError: The same.
        """
        generation = self._engine.begin(
            tokens, sampling, max_tokens=max_tokens, stop=stop, ignore_eos=ignore_eos
        )
        answer = Answer(generation)
        self.add(generation, answer.deliver)
        return answer

    def add(self, generation: Generation, deliver: Deliver) -> None:
        """Asks for a text that ``Engine.begin`` has checked; its events go to ``deliver``.

        That is called by the thread that does the work, and must not keep it.

        Raises:
            BusyError: As in ``submit``.
        """
        with self._wake:
            self._refuse_beyond_bounds()
            self._arrived.append((generation, deliver))
            self._wake.notify()

    def add_scoring(self, scoring: Scoring, deliver: DeliverScores) -> None:
        """Asks for a text that ``Engine.begin_scoring`` has checked to be scored.

        Raises:
            BusyError: As in ``submit``.
        """
        with self._wake:
            self._refuse_beyond_bounds()
            self._scorings.append((scoring, deliver))
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """Texts of which nothing has been generated yet, and those to be scored."""
        return len(self._arrived) + len(self._scorings) + self._batch.waiting

    @property
    def running(self) -> int:
        """Texts being generated."""
        return len(self._batch) - self._batch.waiting

    @property
    def alive(self) -> bool:
        """Whether requests are taken: it is not closed, and its thread has not failed."""
        return not self._closed

    @property
    def prefix_bytes(self) -> int:
        """Memory that beginnings of texts take now, on each device."""
        return self._batch.prefixes.bytes

    def _refuse_beyond_bounds(self) -> None:
        if self._closed:
            raise ClosedError("the model is shutting down and takes no more requests")
        if (waiting := self.waiting) >= self._max_waiting:
            raise BusyError(
                f"{waiting} requests are waiting; expected fewer than {self._max_waiting}",
                hint="try again in a moment",
            )

    def close(self) -> None:
        """Ends all requests as cancelled, and the thread; returns once both are done."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _work(self) -> None:
        try:
            while self._next_work():
                self._score()
                if len(self._batch):
                    self._batch.turn()
        finally:
            # However it ended, nobody must wait for an answer that never comes.
            self._closed = True
            self._next_work()
            self._batch.close()
            while self._scorings:
                scoring, deliver = self._scorings.popleft()
                scoring.cancelled = True
                deliver(scoring)

    def _next_work(self) -> bool:
        """Waits for work and takes in what has arrived; false once the scheduler is closed."""
        with self._wake:
            self._wake.wait_for(self._has_work)
            while self._arrived:
                generation, deliver = self._arrived.popleft()
                self._batch.add(generation, deliver)
            return not self._closed

    def _score(self) -> None:
        """One chunk of the text that is to be scored next; an error is that text's alone."""
        if not self._scorings:
            return
        scoring, deliver = self._scorings[0]
        try:
            if not scoring.cancelled and not scoring.advance():
                return
        except Exception as error:  # whatever the devices say
            self._scorings.popleft()
            deliver(error)
            return
        self._scorings.popleft()
        deliver(scoring)

    def _has_work(self) -> bool:
        waiting = bool(self._arrived) or bool(self._scorings)
        return self._closed or waiting or len(self._batch) > 0
