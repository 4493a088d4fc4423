"""Serving many at once: requests come from any thread, one thread works on them together.

``submit`` checks a request, puts it in a bounded queue and returns its events as an iterator. All
work on the devices is done by one thread, which sleeps while there is none. Meanwhile nothing else
may use the engine to generate or score: on several devices two threads could wait for each other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType

from grokdist_runtime.batch import Batch
from grokdist_runtime.engine import Engine, Tokens
from grokdist_runtime.errors import BusyError
from grokdist_runtime.events import EndEvent, Event
from grokdist_runtime.generation import Generation
from grokdist_runtime.sampling import SamplingParams

MAX_ROWS = 8
"""Texts decoded together unless asked otherwise."""
MAX_WAITING = 64
"""Requests that may wait for a row unless asked otherwise."""
PREFIX_BYTES = 1 << 29
"""On each device, for beginnings of texts, unless asked otherwise."""


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
        self._arrived: deque[tuple[Generation, Answer]] = deque()
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
        with self._wake:
            if self._closed:
                raise BusyError("the model is shutting down and takes no more requests")
            waiting = len(self._arrived) + self._batch.waiting
            if waiting >= self._max_waiting:
                raise BusyError(
                    f"{waiting} requests are waiting; expected fewer than {self._max_waiting}",
                    hint="try again in a moment",
                )
            self._arrived.append((generation, answer))
            self._wake.notify()
        return answer

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
                self._batch.turn()
        finally:
            # However it ended, nobody must wait for an answer that never comes.
            self._closed = True
            self._next_work()
            self._batch.close()

    def _next_work(self) -> bool:
        """Waits for work and takes in what has arrived; false once the scheduler is closed."""
        with self._wake:
            self._wake.wait_for(self._has_work)
            while self._arrived:
                generation, answer = self._arrived.popleft()
                self._batch.add(generation, answer.deliver)
            return not self._closed

    def _has_work(self) -> bool:
        return self._closed or bool(self._arrived) or len(self._batch) > 0
