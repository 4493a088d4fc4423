"""The load benchmark: what it reads, and what its page says."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import CONTENDERS, ORDERS, render
from benchmarks.load_ours_child import plain_read, prepare_files


def results(load: float, **seconds: list[float]) -> dict[str, Any]:
    machine = {"cpu": "a CPU", "cores": 2, "memory": 2**34, "system": "Linux", "python": "3"}
    machine |= {"load_before": load, "jax": "0", "numpy": "2"}
    size = {"label": "1", "bytes": 10**9, "files": 98, "seconds": seconds}
    return {
        "command": "python -m benchmarks.load",
        "date": "2026-01-01",
        "machine": machine,
        "cold": False,
        "rounds": 3,
        "sizes": [size],
    }


def test_in_four_rounds_each_comes_once_behind_each_other() -> None:
    assert all(sorted(order) == sorted(CONTENDERS) for order in ORDERS)
    pairs = [pair for order in ORDERS for pair in itertools.pairwise(order)]
    assert sorted(pairs) == sorted(itertools.permutations(CONTENDERS, 2))


def test_the_page_has_medians_and_their_ratios() -> None:
    page = render(
        results(
            0.5,
            shards=[0.3, 0.2, 0.1],
            converted=[0.01] * 3,
            plain=[0.18, 0.18, 9.0],
            original=[1.0, 1.2, 1.1],
        )
    )
    assert "| 1.00 | 98 | 0.200 (0.100 to 0.300) | 0.010 (0.010 to 0.010) |" in page
    assert "| 1.00 | 5.00 | 5.56 | 0.90 (1.80) | 5.5 (10.0) | 6.1 (5.6) | 110 |" in page
    assert "Provisional" not in page


def test_a_busy_machine_is_said() -> None:
    same: dict[str, list[float]] = {name: [1.0] for name in CONTENDERS}
    assert "Provisional: the machine was busy" in render(results(1.5, **same))


@pytest.mark.parametrize("cold", [False, True])
def test_the_plain_read_reads_every_byte(tmp_path: Path, cold: bool) -> None:
    sizes = {"a": 5, "b": (8 << 20) + 3, "c": 1}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    files = sorted(tmp_path.iterdir())
    prepare_files(files, cold=cold)
    assert bytes(plain_read(files)) == b"".join(path.read_bytes() for path in files)
