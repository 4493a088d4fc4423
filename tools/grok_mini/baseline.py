"""The count-based models that grok-mini has to beat, over the same tokens and the same split.

Interpolated modified Kneser-Ney n-grams (Chen and Goodman, 1998, section 3), with three discounts
an order taken from the counts of counts, and the unigram and uniform models below them. Counting
is by arrays: an n-gram is named by a row number, and a longer one by the pair of its context's row
and its last token, so no order needs more memory than the corpus is long.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """Counts of one n-gram length.

    Attributes:
        keys: sorted ``context row * vocabulary + last token`` of each n-gram seen.
        probability: discounted probability of each, without what lower orders add.
        backoff: for each context row, the share of probability given to the lower order.
    """

    keys: Ints
    probability: Floats
    backoff: Floats


def _discounts(counts: Ints) -> Floats:
    """Discounts for counts 0, 1, 2 and 3 or more (Chen and Goodman, eq. 26)."""
    n1, n2, n3, n4 = (int(np.sum(counts == k)) for k in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = n1 / (n1 + 2 * n2)
    raw = [0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
    clipped: Floats = np.clip(np.array(raw), 0.0, None)
    return clipped


class KneserNey:
    """An interpolated modified Kneser-Ney model of order ``order`` over a token stream."""

    def __init__(self, tokens: NDArray[np.int32], order: int, vocab_size: int):
        """Counts ``tokens``; ``order`` 1 is the unigram model of raw counts."""
        self.order = order
        self.vocab_size = vocab_size
        stream = tokens.astype(np.int64)
        rows: list[Ints] = [np.zeros(len(stream), np.int64)]
        keys_of: list[Ints] = []
        raw: list[Ints] = []
        for length in range(1, order + 1):
            keys, inverse, counts = np.unique(
                self._keys(rows[-1], stream, length), return_inverse=True, return_counts=True
            )
            keys_of.append(keys)
            raw.append(counts)
            # Row of the n-gram that ends at each position; the first positions have none.
            rows.append(np.concatenate([np.full(length - 1, -1), inverse.reshape(-1)]))
        self._orders: list[_Order] = []
        for length in range(1, order + 1):
            counts = raw[length - 1]
            if length < order:
                counts = self._continuations(rows[length], rows[length + 1], len(counts))
            contexts = 1 if length == 1 else len(keys_of[length - 2])
            self._orders.append(self._discounted(keys_of[length - 1], counts, contexts))

    def _keys(self, context_rows: Ints, stream: Ints, length: int) -> Ints:
        """Keys of all n-grams of one length, in the order in which they end."""
        contexts = np.zeros(len(stream), np.int64) if length == 1 else context_rows[:-1]
        last = stream if length == 1 else stream[1:]
        keys: Ints = contexts * self.vocab_size + last
        return keys if length < 3 else keys[length - 2 :]

    @staticmethod
    def _continuations(shorter: Ints, longer: Ints, count: int) -> Ints:
        """In how many different n-grams one token longer each n-gram is the ending."""
        seen = longer >= 0
        _, first = np.unique(longer[seen], return_index=True)
        counts: Ints = np.bincount(shorter[seen][first], minlength=count)
        return counts

    def _discounted(self, keys: Ints, counts: Ints, contexts: int) -> _Order:
        context = keys // self.vocab_size
        total = np.bincount(context, weights=counts, minlength=contexts)
        discount = _discounts(counts)[np.minimum(counts, 3)]
        discount = np.minimum(discount, counts)
        removed = np.bincount(context, weights=discount, minlength=contexts)
        safe = np.maximum(total, 1e-300)
        backoff = np.where(total > 0, removed / safe, 1.0)
        return _Order(keys=keys, probability=(counts - discount) / safe[context], backoff=backoff)

    def losses(self, tokens: NDArray[np.int32]) -> Floats:
        """Negative log-probability in nats of each token given those before it."""
        stream = tokens.astype(np.int64)
        probability = np.full(len(stream), 1.0 / self.vocab_size)
        rows = np.zeros(len(stream), np.int64)
        for order in self._orders:
            known = rows >= 0
            key = np.where(known, rows * self.vocab_size + stream, -1)
            at = np.minimum(np.searchsorted(order.keys, key), len(order.keys) - 1)
            found = known & (order.keys[at] == key)
            context = np.where(known, rows, 0)
            mixed = np.where(found, order.probability[at], 0.0)
            mixed = mixed + order.backoff[context] * probability
            probability = np.where(known, mixed, probability)
            rows = np.concatenate([[-1], np.where(found, at, -1)[:-1]])
        result: Floats = -np.log(probability)
        return result
