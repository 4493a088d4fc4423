"""One target fuzzed for a time or a number of inputs, in this process; the result as one line.

Two engines make the inputs. ``atheris`` (libFuzzer under Python) keeps what reaches new code, and
gets our own mutations besides its own. ``plain`` changes seeds, and inputs that were refused in a
way not seen before; it needs nothing but Python and goes through several times as many inputs.
"""

from __future__ import annotations

import argparse
import atexit
import faulthandler
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, make
from tests.fuzz.watch import GROWN, Watch, held, peak

_KEPT = 400
"""Inputs beside the seeds that the plain engine goes on from."""

_WARM = 0.1

_SPARE_S = 240
"""Seconds beyond its time after which the process says where it is, and ends. An input that hangs
is given up by the watch; this is for all else, such as a mutation."""


class Session:
    """The bounds of a run, and what was seen in it.

    Args:
        name: the target's.
        engine: ``atheris`` or ``plain``, for the record.
        target: the target.
        seconds: how long, at most.
        inputs: how many, at most; 0 for no such bound.
        keep: folder for finds.
    """

    def __init__(
        self,
        name: str,
        engine: str,
        target: Target,
        *,
        seconds: float,
        inputs: int = 0,
        keep: Path | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.watch = Watch(target=target, keep=keep)
        self._seconds = seconds
        self._inputs = inputs
        self._start = time.monotonic()
        self._first: int | None = None

    @property
    def done(self) -> float:
        """The part of the run that is over, 1 or more at its end."""
        share = (time.monotonic() - self._start) / self._seconds
        return max(share, self.watch.inputs / self._inputs) if self._inputs else share

    def try_one(self, data: bytes) -> None:
        """Try one input."""
        self.watch.try_one(data)
        if self._first is None and self.done >= _WARM:
            self._first = held()

    def result(self) -> dict[str, Any]:
        """What is reported, as JSON values; sizes in MiB."""
        grown = held() - (self._first or held())
        if grown > GROWN:
            self.watch.finds["growth"] = f"growth: {grown >> 20} MiB from the first tenth on"
        return {
            "target": self.name,
            "engine": self.engine,
            "inputs": self.watch.inputs,
            "accepted": self.watch.accepted,
            "refused": self.watch.refused,
            "seconds": round(time.monotonic() - self._start, 1),
            "slowest_ms": round(self.watch.slowest * 1000, 1),
            "peak_mib": peak() >> 20,
            "grown_mib": round(grown / (1 << 20), 1),
            "finds": sorted(self.watch.finds.values()),
        }


def plain(session: Session, rng: random.Random) -> dict[str, Any]:
    """Fuzz with our own mutations alone."""
    target = session.watch.target
    pool = list(target.seeds)
    fixed = len(pool)
    for data in list(pool):
        session.try_one(data)
    while session.done < 1:
        for _ in range(64):
            origin = rng.choice(target.seeds if rng.random() < 0.5 else pool)
            data = target.mutate(rng, origin)
            if rng.random() < 0.2:
                data = target.mutate(rng, data)
            before = session.watch.accepted
            session.try_one(data)
            # What is accepted leads on; all else only now and then.
            if session.watch.accepted > before or rng.random() < 0.001:
                if len(pool) < fixed + _KEPT:
                    pool.append(data)
                else:
                    pool[fixed + rng.randrange(_KEPT)] = data
    return session.result()


def guided(session: Session, rng: random.Random) -> None:
    """Fuzz with atheris; ends the process, since libFuzzer does not return."""
    import atheris  # type: ignore[import-not-found]

    target = session.watch.target

    def one(data: bytes) -> None:
        session.try_one(data)
        if session.done >= 1:
            print(json.dumps(session.result()), flush=True)
            atexit._run_exitfuncs()
            os._exit(0)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, most))
        if not data or seed % 4 == 1:
            data = rng.choice(target.seeds)
        return target.mutate(random.Random(seed), data)[:most]

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(target.seeds):
            (Path(folder) / f"seed{number}").write_bytes(data)
        bounds = ["-timeout=0", "-rss_limit_mb=0", "-max_len=65536", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *bounds, folder], one, custom_mutator=mutated)
        atheris.Fuzz()


def main() -> None:
    """Run one target as ``tests.fuzz`` asks for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--engine", choices=("atheris", "plain"), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    wanted = parser.parse_args()
    faulthandler.dump_traceback_later(wanted.seconds + _SPARE_S, exit=True)
    if wanted.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["grokdist", "grokdist_runtime"]):
            target = make(wanted.target)
    else:
        target = make(wanted.target)
    session = Session(
        wanted.target,
        wanted.engine,
        target,
        seconds=wanted.seconds,
        inputs=wanted.inputs,
        keep=wanted.keep,
    )
    rng = random.Random(wanted.seed)
    if wanted.engine == "atheris":
        guided(session, rng)
    print(json.dumps(plain(session, rng)))


def has_atheris() -> bool:
    """Whether the coverage-guided engine is installed."""
    return importlib.util.find_spec("atheris") is not None


if __name__ == "__main__":
    main()
