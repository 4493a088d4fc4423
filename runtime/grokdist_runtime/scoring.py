"""How likely a model finds a text, token by token, chunk by chunk, without keeping all logits.

The logits of a long text are far larger than what is asked of them: only one chunk's are held.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from grokdist_runtime.prefill import IntArray
from grokdist_runtime.runner import Cache, Runner, chunk_size

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredToken:
    """One token of a text, given those before it.

    Attributes:
        token_id: Its id.
        logprob: Its log-probability; ``None`` for the first, before which nothing stands.
        top_logprobs: The most likely tokens in its place and theirs, the likeliest first.
    """

    token_id: int
    logprob: float | None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Scoring:
    """One text being scored.

    Attributes:
        tokens: ``[T]`` the text.
        scored: Those done so far.
        cancelled: Set, from any thread, by whoever wants no more of it.
    """

    def __init__(self, runner: Runner, tokens: IntArray, *, top: int = 0) -> None:
        """Says what there is to do.

        Args:
            runner: The model.
            tokens: ``[T]``, at least one and no more than the context.
            top: Report so many of the most likely tokens in each place.
        """
        self.tokens = tokens
        self.scored = [ScoredToken(token_id=int(tokens[0]), logprob=None)]
        self.cancelled = False
        self._runner = runner
        self._top = top
        self._chunk = chunk_size(len(tokens))
        self._cache: Cache | None = None
        self._at = 0

    def advance(self) -> bool:
        """Takes in the next chunk and waits for it; true once all is done."""
        part = self.tokens[self._at : self._at + self._chunk]
        padded = np.zeros((1, self._chunk), np.int32)
        padded[0, : len(part)] = part
        if self._cache is None:
            room = -(-len(self.tokens) // self._chunk) * self._chunk
            self._cache = self._runner.new_cache(1, room)
        logits, self._cache = self._runner.score(self._cache, padded, [len(part)])
        following = self.tokens[self._at + 1 : self._at + len(part) + 1]
        self._take(np.asarray(logits)[0, : len(following)], following)
        self._at += len(part)
        return self._at == len(self.tokens)

    def _take(self, logits: FloatArray, following: IntArray) -> None:
        """Logits ``[t, V]`` and the ``[t]`` tokens that come next."""
        if not len(following):
            return
        peak = logits.max(-1, keepdims=True)
        total = np.log(np.exp(logits - peak).sum(-1)) + peak[:, 0]
        for row, token, norm in zip(logits, following.tolist(), total, strict=True):
            self.scored.append(
                ScoredToken(
                    token_id=token,
                    logprob=float(row[token] - norm),
                    top_logprobs=self._most_likely(row - norm),
                )
            )

    def _most_likely(self, logprobs: FloatArray) -> tuple[tuple[int, float], ...]:
        if not self._top:
            return ()
        count = min(self._top, len(logprobs))
        ids = np.argpartition(logprobs, -count)[-count:]
        # Equal ones in the order of their ids, as the sampler gives them.
        ids = ids[np.lexsort((ids, -logprobs[ids]))]
        return tuple((int(token), float(logprobs[token])) for token in ids)
