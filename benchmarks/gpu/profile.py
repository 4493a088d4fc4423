"""What the time of a step goes to: a trace by JAX's profiler, and its kernels by time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def profile(step: Callable[[], Any], directory: Path, most: int = 16) -> list[dict[str, Any]]:
    """Traces three steps into ``directory`` and lists what ran longest on the device.

    Returns:
        Name, share and milliseconds a step; empty where the trace shows no device.
    """
    jax.block_until_ready(step())
    with jax.profiler.trace(str(directory)):
        for _ in range(3):
            out = step()
        jax.block_until_ready(out)
    traces = sorted(directory.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    if not traces:
        return []
    totals: dict[str, float] = {}
    for plane in jax.profiler.ProfileData.from_file(str(traces[-1])).planes:
        if "/device:GPU" not in plane.name:
            continue
        for line in plane.lines:
            if line.name.startswith("Stream"):
                for event in line.events:
                    totals[event.name] = totals.get(event.name, 0.0) + event.duration_ns
    whole = sum(totals.values())
    ordered = sorted(totals.items(), key=lambda item: -item[1])[:most]
    return [{"kernel": k, "ms": ns / 3e6, "share": ns / whole} for k, ns in ordered]
