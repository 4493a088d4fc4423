"""A short soak from end to end, and that each of its alarms does ring."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import __main__ as command
from benchmarks.soak.memory import Sample, has_grown, rise
from benchmarks.soak.page import FETCH_PEAK, faults, render
from benchmarks.soak.traffic import KINDS

FEW = '{"prompts": 3, "seeds": 1, "tokens": 8}'


WRONG: list[tuple[tuple[str | int, ...], object, str]] = [
    (("serve", "wrong"), ["stream: wrong text"], "wrong text"),
    (("serve", "memory", "grown"), True, "memory grew"),
    (("serve", "idle_afterwards"), False, "still ran"),
    (("serve", "exit_code"), 1, "ended with 1"),
    (("serve", "kinds", "n", "right"), 0, "no n ended well"),
    (("fetch", "runs", 0, "fetch", "peak_bytes"), FETCH_PEAK + 1, "fetch of 40 files held"),
]
"""Where in the results, what stands there, and what the page then says."""


def test_a_short_soak_and_each_of_its_alarms(tmp_path: Path) -> None:
    """Two seconds of every kind of request, some small files and one that is a hole.

    One test, since another worker would soak anew for its share of several.
    """
    argv = ["--seconds", "2", "--callers", "2", "--kernels", "plain", "--known", FEW]
    argv += ["--files", "40", "--bytes", str(64 << 20), "--work", str(tmp_path)]
    code = command.main([*argv, "--output", str(tmp_path)])
    results = json.loads((tmp_path / "soak.json").read_text("utf-8"))
    # In two seconds nothing is warm, so that memory is not looked at here.
    results["serve"]["memory"]["grown"] = False
    assert faults(results) == [], code
    assert list(tmp_path.glob("grokdist-soak-*")) == []

    page = render(results)
    for kind in KINDS:
        assert results["serve"]["kinds"][kind]["right"] > 0
        assert f"| {kind} | " in page
    assert "Faults: none." in page
    assert [each["verify"]["ok"] for each in results["fetch"]["runs"]] == [True, True]

    for path, value, says in WRONG:
        changed = _changed(results, path, value)
        (fault,) = faults(changed)
        assert says in fault
        assert says in render(changed)


def _changed(results: Any, path: tuple[str | int, ...], value: object) -> Any:
    changed = copy.deepcopy(results)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def samples(*resident: int) -> list[Sample]:
    return [
        Sample(at=float(at), resident=each, threads=1, files=1) for at, each in enumerate(resident)
    ]


def test_a_leak_is_told_from_a_spread() -> None:
    assert rise(samples(100, 110, 120)) == pytest.approx(20)
    assert has_grown(samples(*range(1000, 1100)))
    assert not has_grown(samples(*[1000, 1040] * 50))
    with pytest.raises(ValueError, match="1 samples"):
        rise(samples(100))
