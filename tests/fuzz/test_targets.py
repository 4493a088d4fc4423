"""Every target takes what is like its seeds and what once was a find, and refuses in our own words.

A few inputs a target, to see that targets and watch work; ``.ci/fuzz`` tries many.
"""

from __future__ import annotations

import json
import random
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
from tests.fuzz.mutation import any_bytes
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


def test_a_run_counts_what_it_tried(tmp_path: Path) -> None:
    bounds = ("--inputs", "300", "--seconds", "60")
    kept = ("--json", str(tmp_path / "r.json"), "--keep", str(tmp_path))
    ended = subprocess.run(
        (sys.executable, "-m", "tests.fuzz", "http", "--engine", "plain", *bounds, *kept),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert 300 <= result["inputs"] < 400
    assert result["accepted"] + result["refused"] == result["inputs"]
    assert min(result["accepted"], result["refused"]) > 30
    assert f"| http | plain | {result['inputs']} |" in ended.stdout
