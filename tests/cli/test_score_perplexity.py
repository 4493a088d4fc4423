"""The perplexity that ``score`` prints, at its edges."""

from __future__ import annotations

import math

import pytest

from grokdist.cli.score import _perplexity


def test_perplexity_is_of_the_mean_and_none_where_no_number_holds_it() -> None:
    assert _perplexity([-1.0, -3.0]) == pytest.approx(math.e**2)
    assert _perplexity([]) is None
    assert _perplexity([-1000.0]) is None
