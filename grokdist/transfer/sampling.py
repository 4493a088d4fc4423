"""Which blocks of a model a sample reads, and what it says about those that it does not.

A sample is drawn from ranges of equal length, without replacement. If someone had damaged a share
of the 16 KiB blocks, whichever they chose, before the sample was drawn and without knowing its
seed, the sample would miss all of them with a probability that follows from counting: of U ranges,
at least k hold bad blocks, and u are read, so C(U-k, u) / C(U, u). Pure: sizes in, ranges out.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from grokdist.errors import UsageError
from grokdist.trust.merkle import BLOCK, count

_LONGEST = 64
_ENOUGH = 4096
_MOST = 1 << 18
_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)%|([0-9]{1,18})")


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSize:
    """How much to sample: a share of all blocks, or a number of them.

    Attributes:
        share: above 0, at most 1; None where ``blocks`` is given.
        blocks: at least 1; None where ``share`` is given.
    """

    share: float | None = None
    blocks: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1%`` or ``500``.

        Raises:
            UsageError: it is neither a share from above 0 to 100 % nor a number from 1.
        """
        if match := _FORM.fullmatch(text.strip()):
            percent, number = match.groups()
            if number is not None and int(number) > 0:
                return cls(blocks=int(number))
            if percent is not None and 0 < float(percent) <= 100:
                return cls(share=float(percent) / 100)
        raise UsageError(
            f"sample {text!r} does not do; expected a share of the blocks like 1%,"
            " or a number of blocks like 500"
        )

    def of(self, blocks: int) -> int:
        """Blocks to read of so many."""
        if self.share is not None:
            return math.ceil(self.share * blocks)
        return min(self.blocks or 0, blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What was drawn.

    Attributes:
        seed: draws the same sample again from the same files.
        span: bytes of a range, 16 KiB or a power of two of them.
        ranges: for each file, by index, the ranges to read, in order.
        units: ranges drawn.
        of_units: ranges there are.
        blocks: blocks in the ranges drawn.
        of_blocks: blocks there are.
    """

    seed: int
    span: int
    ranges: dict[int, list[tuple[int, int]]]
    units: int
    of_units: int
    blocks: int
    of_blocks: int

    def missed(self, bad: float) -> float:
        """The probability that every range drawn is right though ``bad`` of the blocks are not.

        Args:
            bad: share of the blocks, from 0 to 1; at least one block is meant.
        """
        # Ranges that hold them all, if they lie as close together as they can.
        bad_blocks = max(1, math.ceil(bad * self.of_blocks))
        bad_units = -(-bad_blocks // (self.span // BLOCK))
        if self.units + bad_units > self.of_units:
            return 0.0
        return math.exp(
            _log_choices(self.of_units - bad_units, self.units)
            - _log_choices(self.of_units, self.units)
        )


def draw(sizes: Sequence[int], size: SampleSize, seed: int) -> Sample:
    """Draw a sample.

    Single blocks say the most for the bytes read, so ranges grow, up to a MiB, only where there
    would be more than 4,096 of them: what a disk that seeks then saves costs little.

    Args:
        sizes: bytes of each file.
        size: how much to read.
        seed: any number; who can guess it can hide damage from the sample.
    """
    of_blocks = sum(count(each) for each in sizes)
    wanted = size.of(of_blocks)
    length = 1
    while length < _LONGEST and wanted >= 2 * length * _ENOUGH:
        length *= 2
    while wanted > length * _MOST:
        length *= 2
    span = length * BLOCK
    ends = list(itertools.accumulate(count(each, span) for each in sizes))
    of_units = ends[-1] if ends else 0
    units = min(-(-wanted // length), of_units)
    ranges: dict[int, list[tuple[int, int]]] = {}
    blocks = 0
    # No secret depends on the generator, only the sample on the seed.
    for unit in sorted(random.Random(seed).sample(range(of_units), units)):  # noqa: S311
        file = bisect.bisect_right(ends, unit)
        start = (unit - (ends[file - 1] if file else 0)) * span
        end = min(start + span, sizes[file])
        ranges.setdefault(file, []).append((start, end))
        blocks += count(end - start)
    return Sample(
        seed=seed,
        span=span,
        ranges=ranges,
        units=units,
        of_units=of_units,
        blocks=blocks,
        of_blocks=of_blocks,
    )


def _log_choices(of: int, chosen: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)
