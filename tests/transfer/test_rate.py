"""One limit for all: every byte takes its time, whoever brings it.

The clock is the test's own, so that minutes pass at once and nothing depends on the machine.
"""

from __future__ import annotations

import threading
import time

import pytest

from grokdist.transfer.rate import RateLimiter

RATE = 1_000_000
LUMPS = [1, 262_144, 4 << 20]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """Reads blocks at no more than ``speed``, waiting as it is told."""

    def __init__(self, limiter: RateLimiter, speed: float, block: int = 16_384) -> None:
        self.limiter, self.speed, self.block = limiter, speed, block
        self.ready = 0.0
        self.total = 0

    def run_to(self, now: float) -> None:
        self.ready = max(self.ready, now - 1.0)
        while self.speed and self.ready <= now:
            self.total += self.block
            wait = self.limiter.spend(self.block)
            self.ready = max(self.ready + self.block / self.speed, now + wait)


class Swarm:
    """Takes what it is told it may, up to ``speed``, and accounts for it in lumps."""

    def __init__(self, limiter: RateLimiter, speed: float, *, lump: int = 1) -> None:
        self.speed, self.lump, self.limit = speed, lump, 0
        self.total = self._told = 0
        self.share = limiter.share("torrent:x", self.apply)

    def apply(self, limit: int) -> None:
        assert limit > 0  # to libtorrent 0 means no limit
        self.limit = limit

    def run(self, seconds: float) -> None:
        self.total += int(min(self.speed, self.limit) * seconds)
        count = (self.total - self._told) // self.lump * self.lump
        self._told += count
        self.share.spend(count)


def play(
    clock: Clock, seconds: float, streams: list[Stream], swarms: list[Swarm], step: float = 0.01
) -> list[int]:
    """Let everyone work for a while; returns the bytes of each, streams first."""
    before = [each.total for each in (*streams, *swarms)]
    end = clock.now + seconds
    while clock.now < end:
        clock.now += step
        for stream in streams:
            stream.run_to(clock.now)
        for swarm in swarms:
            swarm.run(step)
    return [each.total - was for each, was in zip((*streams, *swarms), before, strict=True)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(RATE, clock=clock)


def test_debts_add_up(limiter: RateLimiter) -> None:
    assert limiter.spend(5 * RATE) == pytest.approx(5.0)
    assert limiter.spend(5 * RATE) == pytest.approx(10.0)


def test_without_a_limit_nothing_waits_and_nothing_is_told() -> None:
    limiter = RateLimiter(None)
    assert limiter.spend(10**12) == 0.0
    share = limiter.share("x", lambda _: pytest.fail("told"))
    share.spend(10**12)
    limiter.tick()
    share.close()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_streams_have_the_limit_together_and_alike(
    clock: Clock, limiter: RateLimiter, count: int
) -> None:
    streams = [Stream(limiter, speed=10 * RATE) for _ in range(count)]
    got = play(clock, 20, streams, [])
    assert sum(got) == pytest.approx(20 * RATE, rel=0.02)
    assert max(got) <= min(got) * 1.1


def test_there_is_no_burst_at_the_start(clock: Clock, limiter: RateLimiter) -> None:
    streams = [Stream(limiter, speed=10 * RATE) for _ in range(4)]
    assert sum(play(clock, 0.5, streams, [])) <= 0.55 * RATE + 4 * 16_384


def test_a_pause_is_not_made_up_for(clock: Clock, limiter: RateLimiter) -> None:
    stream = Stream(limiter, speed=10 * RATE)
    play(clock, 1, [stream], [])
    clock.now += 3600
    assert sum(play(clock, 1, [stream], [])) <= 1.1 * RATE


@pytest.mark.parametrize("lump", LUMPS)
def test_a_swarm_alone_has_it_all(clock: Clock, limiter: RateLimiter, lump: int) -> None:
    swarm = Swarm(limiter, speed=10 * RATE, lump=lump)
    play(clock, 10, [], [swarm])
    assert play(clock, 20, [], [swarm]) == [pytest.approx(20 * RATE, rel=0.01)]


@pytest.mark.parametrize("lump", LUMPS)
def test_streams_and_a_swarm_share_alike(clock: Clock, limiter: RateLimiter, lump: int) -> None:
    streams = [Stream(limiter, speed=10 * RATE) for _ in range(4)]
    swarm = Swarm(limiter, speed=10 * RATE, lump=lump)
    play(clock, 10, streams, [swarm])
    *by_stream, by_swarm = play(clock, 60, streams, [swarm])
    assert sum(by_stream) + by_swarm == pytest.approx(60 * RATE, rel=0.05)
    assert by_swarm == pytest.approx(30 * RATE, rel=0.2)


def test_streams_that_come_later_soon_have_theirs(clock: Clock, limiter: RateLimiter) -> None:
    swarm, stream = Swarm(limiter, speed=10 * RATE), Stream(limiter, speed=0)
    play(clock, 10, [stream], [swarm])
    stream.speed = 10 * RATE
    play(clock, 2.5, [stream], [swarm])
    by_stream, _ = play(clock, 2, [stream], [swarm])
    assert by_stream >= 0.4 * 2 * RATE


def test_streams_that_end_leave_theirs_at_once(clock: Clock, limiter: RateLimiter) -> None:
    swarm, stream = Swarm(limiter, speed=10 * RATE), Stream(limiter, speed=10 * RATE)
    play(clock, 10, [stream], [swarm])
    stream.speed = 0
    play(clock, 2.5, [stream], [swarm])
    assert swarm.limit == RATE


@pytest.mark.parametrize(("slow", "fast"), [("swarm", "stream"), ("stream", "swarm")])
def test_what_one_leaves_the_other_has(
    clock: Clock, limiter: RateLimiter, slow: str, fast: str
) -> None:
    speeds = {slow: 0.1 * RATE, fast: 10.0 * RATE}
    stream, swarm = Stream(limiter, speeds["stream"]), Swarm(limiter, speeds["swarm"])
    play(clock, 10, [stream], [swarm])
    got = dict(zip(("stream", "swarm"), play(clock, 20, [stream], [swarm]), strict=True))
    assert sum(got.values()) == pytest.approx(20 * RATE, rel=0.05)
    assert got[slow] == pytest.approx(20 * 0.1 * RATE, rel=0.1)


def test_it_is_divided_anew_as_sources_come_and_go(clock: Clock, limiter: RateLimiter) -> None:
    streams = [Stream(limiter, speed=0)]
    swarms = [Swarm(limiter, speed=10 * RATE) for _ in range(2)]
    for stream_speed, first_speed, expected in [
        (0.0, 10.0, [0, 1 / 2, 1 / 2]),
        (10.0, 10.0, [1 / 3, 1 / 3, 1 / 3]),
        (10.0, 0.0, [1 / 2, 0, 1 / 2]),
        (0.0, 0.0, [0, 0, 1]),
    ]:
        streams[0].speed = stream_speed * RATE
        swarms[0].speed = first_speed * RATE
        play(clock, 10, streams, swarms)
        got = play(clock, 10, streams, swarms)
        assert sum(got) == pytest.approx(10 * RATE, rel=0.05)
        assert got == [pytest.approx(part * 10 * RATE, rel=0.2) for part in expected]
    swarms[1].share.close()
    swarms[1].speed = 0
    streams[0].speed = 10 * RATE
    assert play(clock, 10, streams, swarms)[0] == pytest.approx(10 * RATE, rel=0.05)


def test_a_share_that_takes_too_much_does_not_hold_streams_up_for_ever(
    clock: Clock, limiter: RateLimiter
) -> None:
    share = limiter.share("torrent:x", lambda _: None)
    share.spend(10_000 * RATE)
    assert limiter.spend(1) <= 20.01


def test_threads_keep_the_limit_in_real_time() -> None:
    """No upper bound on the time: a busy machine may only be slower."""
    limiter = RateLimiter(4_000_000)
    begun = time.monotonic()

    def work() -> None:
        for _ in range(16):
            time.sleep(limiter.spend(16_384))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert time.monotonic() - begun >= 4 * 16 * 16_384 / 4_000_000 * 0.75
