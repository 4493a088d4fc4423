"""Taking in a prompt, chunk by chunk, into a cache of its own.

Between two chunks others may use the devices, so that a long prompt need not hold them up.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from grokdist_runtime.runner import Cache, Runner, chunk_size

IntArray = np.ndarray[Any, np.dtype[np.int32]]


class Prefill:
    """One prompt.

    Attributes:
        prompt: ``[T]`` all of it.
        start: How many tokens are there already.
        room: Tokens that its cache has room for.
    """

    def __init__(
        self,
        runner: Runner,
        prompt: IntArray,
        *,
        room: int = 0,
        prefix: Cache | None = None,
        shared: int = 0,
    ) -> None:
        """Says what there is to do; the cache is made with the first chunk.

        Args:
            runner: The model.
            prompt: At least one token.
            room: The cache has room for at least so many tokens.
            prefix: A cache of one row, left as it is, that begins with the same tokens.
            shared: How many are the same. Only whole chunks of them are used, and never the
                prompt's last token, after which logits are needed.
        """
        shared = 0 if prefix is None else min(shared, len(prompt) - 1)
        self._runner = runner
        self._chunk = chunk_size(len(prompt) - shared)
        self._prefix = prefix
        self._cache: Cache | None = None
        self._logits: jax.Array | None = None
        self.prompt = prompt
        self.start = shared // self._chunk * self._chunk
        # The last chunk is filled up; a bucket is a multiple of any chunk.
        self.room = max(-(-len(prompt) // self._chunk) * self._chunk, room)
        self._at = self.start

    def advance(self) -> tuple[jax.Array, Cache] | None:
        """Takes in the next chunk and does not wait for it, but for the one before.

        So the devices never rest, and little is left to do for a prompt that is given up.

        Returns:
            After the last chunk the logits ``[1, V]`` that follow the prompt, and the cache.
        """
        part = self.prompt[self._at : self._at + self._chunk]
        padded = np.zeros((1, self._chunk), np.int32)
        padded[0, : len(part)] = part
        cache = self._first_cache() if self._cache is None else self._cache
        before = self._logits
        self._logits, self._cache = self._runner.prefill(cache, padded, [len(part)])
        self._at += len(part)
        if before is not None:
            before.block_until_ready()
        return (self._logits, self._cache) if self._at == len(self.prompt) else None

    def _first_cache(self) -> Cache:
        if self._prefix is None or not self.start:
            return self._runner.new_cache(1, self.room)
        return self._runner.arranged(self._prefix, [0], [self.start], self.room)
