"""Every target takes what is like its seeds and what once was a find, and refuses in our own words.

A few inputs a target, to see that targets and watch work; ``.ci/fuzz`` tries many.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokdist.errors import UsageError
from tests.fuzz.__main__ import gather
from tests.fuzz.mutation import any_bytes, bencode_tree
from tests.fuzz.target import REPOSITORY, Target
from tests.fuzz.targets import FINDS, TARGETS, make
from tests.fuzz.watch import Watch

_target = cache(make)
_ONCE = sorted(path.relative_to(FINDS).as_posix() for path in FINDS.glob("*/*"))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted(name: str) -> None:
    """Else mutations of them would try the first check of a parser alone."""
    target = TARGETS[name]()
    for seed in target.seeds:
        watch = Watch(target=target)
        watch.try_one(seed)
        # Of the answers of a server, some are refusals by themselves.
        assert watch.accepted or name == "http", seed[:200]


@pytest.mark.parametrize("name", _ONCE)
def test_what_was_a_find_is_none(name: str) -> None:
    watch = Watch(target=_target(name.split("/")[0]))
    watch.try_one((FINDS / name).read_bytes())
    assert watch.finds == {}
    assert watch.refused == 1


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**64))
def test_changed_inputs_are_accepted_or_refused(name: str, seed: int) -> None:
    target = _target(name)
    rng = random.Random(seed)
    data = target.mutate(rng, rng.choice(target.seeds))
    watch = Watch(target=target)
    watch.try_one(data)
    assert watch.finds == {}, data


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=15)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_accepted_or_refused(name: str, data: bytes) -> None:
    watch = Watch(target=_target(name))
    watch.try_one(data)
    assert watch.finds == {}


def test_a_process_that_was_stopped_for_a_while_did_not_hang() -> None:
    # Which is one alarm, when it goes on.
    target = Target(
        seeds=[b""], run=lambda _: signal.raise_signal(signal.SIGALRM), refusals=(), mutate=_same
    )
    watch = Watch(target=target)
    watch.try_one(b"")
    watch.try_one(b"")
    assert (watch.finds, watch.accepted) == ({}, 2)


@pytest.mark.parametrize("data", [b"l-3:", b"d1:al-3:"])
def test_a_string_of_less_than_no_bytes_does_not_lead_a_mutation_back(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.watch.HUNG_S", 0.3)
    rng = random.Random(1)
    target = Target(
        seeds=(), run=lambda data: bencode_tree(rng, data), refusals=(), mutate=bencode_tree
    )
    watch = Watch(target=target)
    watch.try_one(data)
    assert (watch.finds, watch.accepted) == ({}, 1)


def _same(_: random.Random, data: bytes) -> bytes:
    return data


def _crash(data: bytes) -> None:
    raise KeyError(data[:1])


def _spin(_: bytes) -> None:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass


def _hang(_: bytes) -> None:
    time.sleep(60)


def _refuse(_: bytes) -> None:
    raise UsageError("no")


@pytest.mark.parametrize(
    ("run", "kind"),
    [(_crash, "KeyError"), (_spin, "slow"), (_hang, "HungError"), (_refuse, "memory")],
)
def test_the_watch_sees(
    run: Callable[[bytes], object], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.watch.SLOW_S", 0.01 if kind == "slow" else 60)
    monkeypatch.setattr("tests.fuzz.watch.HUNG_S", 0.3 if kind == "HungError" else 60)
    if kind == "memory":
        # What this process held before is more than a test would like to ask for.
        peaks: Iterator[int] = iter((100, 100, 100 + (65 << 20)))
        monkeypatch.setattr("tests.fuzz.watch.peak", lambda: next(peaks))
    target = Target(seeds=(), run=run, refusals=(UsageError,), mutate=any_bytes)
    watch = Watch(target=target, keep=tmp_path / "finds")
    if kind == "memory":
        watch.try_one(b"first")
        assert watch.finds == {}
    watch.try_one(b"input")
    (find,) = watch.finds
    assert find.startswith(kind)
    assert [path.read_bytes() for path in (tmp_path / "finds").iterdir()] == [b"input"]


def test_a_run_counts_what_it_tried_and_goes_on_from_there(tmp_path: Path) -> None:
    kept = ["--results", str(tmp_path / "r.jsonl"), "--keep", str(tmp_path)]
    for inputs in (200, 300):
        bounds = ("--engine", "plain", "--seconds", "60", "--inputs", str(inputs))
        ended = subprocess.run(
            (sys.executable, "-m", "tests.fuzz", "http", *bounds, *kept),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "r.jsonl").read_text("utf-8").splitlines()
    first, second = (json.loads(line) for line in lines)
    assert 200 <= first["inputs"] < 300
    inputs = first["inputs"] + second["inputs"]
    assert 300 <= inputs < 400
    for result in (first, second):
        assert result["accepted"] + result["refused"] == result["inputs"]
        assert min(result["accepted"], result["refused"]) > 10
    assert f"| http | plain | 2 | {inputs} |" in ended.stdout


def test_runs_of_a_target_are_added() -> None:
    run = {"target": "http", "engine": "plain", "inputs": 10, "accepted": 4, "refused": 6}
    run |= {"seconds": 1.5, "slowest_ms": 2.0, "peak_mib": 30, "grown_mib": 0.5, "finds": ["a"]}
    worse = {**run, "slowest_ms": 3.0, "peak_mib": 20, "grown_mib": 1.0, "finds": ["b"]}
    (whole,) = gather([run, worse])
    assert (whole["runs"], whole["inputs"], whole["accepted"], whole["seconds"]) == (2, 20, 8, 3.0)
    assert (whole["slowest_ms"], whole["peak_mib"], whole["grown_mib"]) == (3.0, 30, 1.0)
    assert whole["finds"] == ["a", "b"]
    other = {**run, "engine": "atheris"}
    assert [each["engine"] for each in gather([run, other])] == ["atheris", "plain"]
