"""Several texts in one cache, decoded together; they join and leave while the others go on.

A turn takes in one chunk of the prompt that is to join next and then decodes one token of every
text that has joined, so that neither waits long for the other. A prompt is taken in by the programs
that take in a single one, into a cache of its own, which is then copied into a free row: nothing of
it depends on who else is there. One thread drives it; see ``scheduler``.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from grokdist_runtime.events import Event
from grokdist_runtime.generation import Generation
from grokdist_runtime.kv_cache import bucket_size, cache_bytes
from grokdist_runtime.prefill import IntArray, Prefill
from grokdist_runtime.prefix_cache import PrefixCache
from grokdist_runtime.runner import MIN_CHUNK, Cache, Runner
from grokdist_runtime.sampling import Sampled, SamplingParams, SamplingState

Deliver = Callable[[Event | Exception], None]
"""Takes what happens to one text; the last is an ``EndEvent`` or an error."""

_IDLE = SamplingParams.greedy()


@dataclasses.dataclass(kw_only=True, eq=False)
class _Text:
    """One text on its way through the batch.

    Attributes:
        generation: What it has become so far.
        deliver: Who waits for it.
        token: The last token that the host has read.
        written: Tokens in its row.
        chosen: Tokens chosen for it, with one that the host may not have read yet.
    """

    generation: Generation
    deliver: Deliver
    token: int = 0
    written: int = 0
    chosen: int = 0

    @property
    def wants_more(self) -> bool:
        return self.generation.reason is None and self.chosen < self.generation.limit


class Batch:
    """The texts at work, and those that wait for a row.

    Attributes:
        max_rows: As many texts are decoded together at most. What they need is the memory for a
            cache of so many rows, as long as the longest.
        prefixes: Rows kept to begin new texts from.
    """

    def __init__(self, runner: Runner, *, max_rows: int, prefix_bytes: int) -> None:
        """Starts empty.

        Args:
            runner: The model.
            max_rows: At least 1.
            prefix_bytes: On each device, for ``prefixes``; 0 for none.
        """
        self.max_rows = max_rows
        self.prefixes: PrefixCache[Cache] = PrefixCache(prefix_bytes)
        self._runner = runner
        self._waiting: deque[_Text] = deque()
        self._joining: tuple[_Text, Prefill] | None = None
        self._rows: list[_Text | None] = []
        self._cache: Cache | None = None
        self._state: SamplingState | None = None
        self._in_use: tuple[tuple[bool, ...], Any] | None = None
        # Chosen by a step that is under way or done, and for whom; the host has not read it.
        self._unread: tuple[Sampled, list[_Text | None]] | None = None

    def __len__(self) -> int:
        """Texts in rows, joining or waiting."""
        rows = sum(text is not None for text in self._rows)
        return rows + (self._joining is not None) + len(self._waiting)

    @property
    def rows(self) -> int:
        """Rows of the cache, with those out of use."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Texts of which nothing has been computed yet."""
        return len(self._waiting)

    def add(self, generation: Generation, deliver: Deliver) -> None:
        """A new text, behind those that wait."""
        self._waiting.append(_Text(generation=generation, deliver=deliver))

    def turn(self) -> None:
        """One chunk of a prompt, one token of each row."""
        self._drop_cancelled()
        joined = self._take_in()
        try:
            if joined is not None:
                self._seat(*joined)
            self._decode()
            self._shrink()
        except Exception as error:  # whatever the devices say: the cache is used up
            self._fail(error, None if joined is None else joined[0])

    def close(self) -> None:
        """Ends all texts as cancelled."""
        for text in self._texts():
            text.generation.cancelled = True
        self._drop_cancelled()
        self._forget()

    def _texts(self) -> list[_Text]:
        joining = [] if self._joining is None else [self._joining[0]]
        return [text for text in self._rows if text is not None] + joining + list(self._waiting)

    def _drop_cancelled(self) -> None:
        for text in self._texts():
            if not text.generation.cancelled:
                continue
            self._rows = [None if row is text else row for row in self._rows]
            self._state = None
            if self._joining is not None and self._joining[0] is text:
                self._joining = None
            self._waiting = deque(other for other in self._waiting if other is not text)
            text.deliver(text.generation.end())

    # Joining.

    def _take_in(self) -> tuple[_Text, Cache] | None:
        """A chunk of the next prompt; the text and its row once it is ready to join.

        An error is that text's alone, since nothing here touches the others' rows.
        """
        if self._joining is None and not self._begin_next():
            return None
        assert self._joining is not None  # noqa: S101
        text, prefill = self._joining
        try:
            done = prefill.advance()
            if done is None:
                return None
            self._joining = None
            logits, row = done
            sampled = self._runner.sample(
                logits, row, SamplingState.start(text.generation.sampling)
            )
            text.written, text.chosen = len(prefill.prompt), 1
            self._push(text, sampled, 0)
            self._keep(prefill.prompt, row)
        except Exception as error:  # whatever the devices say
            self._joining = None
            text.deliver(error)
            return None
        return (text, row) if text.wants_more else None

    def _begin_next(self) -> bool:
        texts = [text for text in self._rows if text is not None]
        if not self._waiting or len(texts) >= self.max_rows:
            return False
        text = self._waiting.popleft()
        prompt = text.generation.prompt
        prefix, shared = self.prefixes.longest(prompt)
        prefill = Prefill(self._runner, prompt, prefix=prefix, shared=shared)
        text.generation.reused_tokens = prefill.start
        self._joining = text, prefill
        rows, room = self._needs([*texts, text])
        self._runner.prepare_step(batch=max(rows, self.rows), tokens=max(room, self._size))
        return True

    def _seat(self, text: _Text, row: Cache) -> None:
        self._read()  # steps from here on start from tokens on the host
        texts = [text for text in self._rows if text is not None]
        rows, room = self._needs([*texts, text])
        rows, room = max(rows, self.rows), max(room, self._size)
        if self._cache is None:
            self._cache = self._runner.new_cache(rows, room)
            self._rows = [None] * rows
        elif rows > self.rows or room > self._size:
            self._arrange(rows, room)
        slot = self._rows.index(None)
        self._cache = self._runner.inserted(self._cache, row, slot)
        self._rows[slot] = text
        self._state = None

    def _needs(self, texts: list[_Text]) -> tuple[int, int]:
        """Rows for these texts, a power of two up to the limit, and places in each."""
        rows = min(1 << (len(texts) - 1).bit_length(), self.max_rows)
        return rows, max(max(text.generation.first_room, text.written + 1) for text in texts)

    @property
    def _size(self) -> int:
        return 0 if self._cache is None else int(self._cache.visible.shape[1])

    # Decoding.

    def _decode(self) -> None:
        """Starts a step for all rows that want more, then reads the step before."""
        wanting = [text if text and text.wants_more else None for text in self._rows]
        unread, self._unread = self._unread, None
        if self._cache is not None and any(wanting):
            written = max(text.written for text in wanting if text)
            cache = self._runner.with_room(self._cache, written + 1)
            tokens = self._host_tokens() if unread is None else unread[0].tokens
            in_use, state = self._settings(tuple(text is not None for text in wanting))
            sampled, self._cache = self._runner.step(cache, tokens, in_use, state)
            for text in wanting:
                if text is not None:
                    text.written += 1
                    text.chosen += 1
            self._unread = sampled, wanting
        if unread is not None:
            self._take(*unread)

    def _read(self) -> None:
        unread, self._unread = self._unread, None
        if unread is not None:
            self._take(*unread)

    def _take(self, sampled: Sampled, texts: list[_Text | None]) -> None:
        """Waits for a step and gives each text its token; those that end leave."""
        for slot, text in enumerate(texts):
            # One that ended with the token before has been decoded once too often.
            if text is None or text.generation.reason is not None:
                continue
            self._push(text, sampled, slot)
            if text.generation.reason is not None:
                self._rows[slot] = None
                self._state = None
                self._keep_row(text, slot)

    def _push(self, text: _Text, sampled: Sampled, slot: int) -> None:
        event = text.generation.push(sampled, slot)
        if event is not None:
            text.token = event.token_id
            text.deliver(event)
        if text.generation.reason is not None:
            text.deliver(text.generation.end())

    def _host_tokens(self) -> IntArray:
        return np.array([text.token if text else 0 for text in self._rows], np.int32)

    def _settings(self, in_use: tuple[bool, ...]) -> tuple[Any, SamplingState]:
        """On the devices; sent there only when they change."""
        if self._state is None:
            params = [text.generation.sampling if text else _IDLE for text in self._rows]
            self._state = self._runner.on_device(SamplingState.start(*params))
        if self._in_use is None or self._in_use[0] != in_use:
            self._in_use = in_use, self._runner.on_device(np.array(in_use))
        return self._in_use[1], self._state

    # Leaving.

    def _shrink(self) -> None:
        """Moves the last texts together once nobody is to join and half the rows would do."""
        if self._waiting or self._joining is not None:
            return
        texts = [text for text in self._rows if text is not None]
        if texts and self._needs(texts)[0] < self.rows:
            self._read()
            texts = [text for text in self._rows if text is not None]
            if texts:
                self._arrange(*self._needs(texts))
        if not texts:
            self._forget()

    def _arrange(self, rows: int, room: int) -> None:
        """Puts the texts into the first rows of a new cache; nothing may be unread."""
        assert self._cache is not None  # noqa: S101
        slots = [slot for slot, text in enumerate(self._rows) if text is not None]
        texts = [text for text in self._rows if text is not None]
        empty = rows - len(texts)
        limits = [text.written for text in texts] + [0] * empty
        self._cache = self._runner.arranged(self._cache, slots + [-1] * empty, limits, room)
        self._rows = [*texts, *[None] * empty]
        self._state = None

    def _keep_row(self, text: _Text, slot: int) -> None:
        """Keeps the row of a text that has ended, for one that goes on from there."""
        generation = text.generation
        tokens = np.append(generation.prompt, np.array(generation.token_ids, np.int32))
        # Without the last one written: a row out of use is written to in its last place.
        tokens = tokens[: min(len(tokens), text.written) - 1]
        if len(tokens) >= MIN_CHUNK and self._worth_keeping(tokens, bucket_size(len(tokens))):
            assert self._cache is not None  # noqa: S101
            row = self._runner.arranged(self._cache, [slot], [len(tokens)], len(tokens))
            self._keep(tokens, row)

    def _keep(self, tokens: IntArray, row: Cache) -> None:
        size = int(row.visible.shape[1])
        if self._worth_keeping(tokens, size):
            self.prefixes.add(tokens, row, cache_bytes(self._runner.spec, 1, size))

    def _worth_keeping(self, tokens: IntArray, size: int) -> bool:
        fits = self.prefixes.fits(cache_bytes(self._runner.spec, 1, size))
        return fits and not self.prefixes.covers(tokens)

    def _fail(self, error: Exception, joined: _Text | None) -> None:
        texts = [text for text in self._rows if text is not None]
        if joined is not None and joined not in texts:
            texts.append(joined)
        self._forget()
        for text in texts:
            if text.generation.reason is None:
                text.deliver(error)

    def _forget(self) -> None:
        self._rows = []
        self._cache = self._state = self._in_use = self._unread = None
