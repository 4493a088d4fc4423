"""One limit for all: every byte takes its time."""

from __future__ import annotations

import pytest

from grokdist.transfer.rate import RateLimiter


def test_debts_add_up() -> None:
    limiter = RateLimiter(1000)
    assert limiter.spend(5000) == pytest.approx(5.0, abs=0.5)
    assert limiter.spend(5000) == pytest.approx(10.0, abs=0.5)


def test_without_a_limit_nothing_waits() -> None:
    assert RateLimiter(None).spend(10**12) == 0.0
