"""One text being generated: turns tokens into events, and knows when it ends.

Whoever drives it, the engine for one text or a batch for many, gives it each token as it is
chosen; nothing here touches a device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.events import Completion, EndEvent, StopReason, Timings, TokenEvent
from grokdist_runtime.prefill import IntArray
from grokdist_runtime.sampling import Sampled, SamplingParams
from grokdist_runtime.stop_strings import StopStrings
from grokdist_runtime.tokenizer import Tokenizer

FIRST_BUCKET = 1024
"""The cache starts with room for at most so many tokens, or for the prompt, then doubles."""


class Generation:
    """One text.

    Attributes:
        prompt: ``[T]`` its prompt, checked.
        sampling: How to choose its tokens.
        limit: It has at most so many tokens: as many as asked, or what the context has room for.
        token_ids: Tokens so far.
        reused_tokens: Tokens of the prompt whose keys and values were there already.
        reason: Why it ended; ``None`` as long as it goes on.
        cancelled: Set, from any thread, to have it end at the next token.
    """

    def __init__(
        self,
        prompt: IntArray,
        sampling: SamplingParams,
        *,
        config: ModelConfig,
        tokenizer: Tokenizer | None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
        load_s: float = 0.0,
        compiled_s: Callable[[], float],
    ) -> None:
        """Starts the clock.

        Args:
            prompt: At least one token less than the context.
            sampling: How to choose tokens.
            config: The model's sizes and special tokens.
            tokenizer: ``None`` for tokens without a text.
            max_tokens: At least 1; ``None`` fills the context.
            stop: End before the first of these strings.
            ignore_eos: Go on past the model's end of text.
            load_s: To be reported.
            compiled_s: Seconds spent compiling so far, which are reported apart.

        Raises:
            PromptError: A stop string is refused.
        """
        self.prompt = prompt
        self.sampling = sampling
        room = config.sequence_len - len(prompt)
        self.limit = room if max_tokens is None else min(max_tokens, room)
        self.token_ids: list[int] = []
        self.reused_tokens = 0
        self.reason: StopReason | None = None
        self.cancelled = False
        self._full: StopReason = "length" if self.limit == max_tokens else "context"
        self._eos = None if ignore_eos else config.eos_token
        self._tokenizer = tokenizer
        self._stream = None if tokenizer is None else tokenizer.stream()
        self._stops = StopStrings(stop)
        self._logprobs: list[float] = []
        self._texts: list[str] = []
        self._load_s = load_s
        self._compiled_s = compiled_s
        self._compiled_before = compiled_s()
        self._started = time.perf_counter()
        self._first_s: float | None = None

    @property
    def first_room(self) -> int:
        """Tokens that the cache should have room for at first."""
        prompt = len(self.prompt)
        return min(prompt + self.limit, max(FIRST_BUCKET, prompt + 1))

    def push(self, sampled: Sampled, row: int = 0) -> TokenEvent | None:
        """Waits for the next token and takes it in; ``None`` if it ended the text unseen."""
        token = int(np.asarray(sampled.tokens)[row])
        if self._first_s is None:
            self._first_s = self._elapsed()
        if token == self._eos:
            self.reason = "eos"
            return None
        self.token_ids.append(token)
        self._logprobs.append(float(np.asarray(sampled.logprobs)[row]))
        self._texts.append(self._stops.push(self._text(token)))
        if self._stops.found:
            self.reason = "stop"
        elif len(self.token_ids) == self.limit:
            self.reason = self._full
        return TokenEvent(
            token_id=token,
            text=self._texts[-1],
            logprob=self._logprobs[-1],
            top_logprobs=self._top(sampled, row),
        )

    def end(self) -> EndEvent:
        """The last event; one that has not come to its end counts as cancelled."""
        self.reason = self.reason or "cancel"
        self._texts.append(self._stops.flush())
        elapsed = self._elapsed()
        first_s = elapsed if self._first_s is None else self._first_s
        later = len(self.token_ids) - (self.reason != "eos")
        timings = Timings(
            load_s=self._load_s,
            compile_s=self._compiled_s() - self._compiled_before,
            first_token_s=first_s,
            prefill_tokens_per_s=len(self.prompt) / first_s,
            decode_tokens_per_s=later / (elapsed - first_s) if later > 0 else None,
        )
        completion = Completion(
            prompt_tokens=len(self.prompt),
            reused_tokens=self.reused_tokens,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self._logprobs),
            text=None if self._stream is None else "".join(self._texts),
            stop_reason=self.reason,
            timings=timings,
        )
        return EndEvent(text=self._texts[-1], completion=completion)

    def _text(self, token: int) -> str:
        # A model may have more rows than its tokenizer has pieces; such a token has no text.
        if self._stream is None or self._tokenizer is None or token >= self._tokenizer.vocab_size:
            return ""
        return self._stream.push(token)

    def _top(self, sampled: Sampled, row: int) -> tuple[tuple[int, float], ...]:
        count = self.sampling.top_logprobs
        if not count:
            return ()
        ids = np.asarray(sampled.top_tokens)[row, :count].tolist()
        logprobs = np.asarray(sampled.top_logprobs)[row, :count].tolist()
        return tuple(zip(ids, logprobs, strict=True))

    def _elapsed(self) -> float:
        compiling = self._compiled_s() - self._compiled_before
        return time.perf_counter() - self._started - compiling
