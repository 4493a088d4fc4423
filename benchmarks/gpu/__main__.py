"""Grok-1's layers on one GPU, in one command.

    python -m benchmarks.gpu                      # on a machine with a GPU: all, 10 to 20 minutes
    python -m benchmarks.gpu --compile-only       # without one: what XLA makes of them
    python -m benchmarks.gpu --small              # a trial in small, on anything

Makes layers of true size with random int8 weights on the device, as many as fit, and one device's
share of the whole model; times decode and prefill through the runtime's own programs; measures the
memory's bandwidth; looks in the compiled programs for weights that are written to memory; reckons
what eight such devices would do. Writes ``benchmarks/results/gpu-<device>.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig

RESULTS = Path(__file__).parents[1] / "results"
_LEFT_FOR_WORK = 6 << 30  # caches, activations, copies of matrices where XLA makes them
_KERNELS = ("plain", "pallas")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what was asked for; 1 and a sentence where that is not possible."""
    # JAX would take three quarters of the GPU; asked before it is imported.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    options = _options(argv)
    from benchmarks.gpu.failure import BenchmarkError

    command = shlex.join(["python", "-m", "benchmarks.gpu", *(argv or sys.argv[1:])])
    try:
        if options.compile_only:
            name, results, text = _compiled(options, command)
        else:
            name, results, text = _measured(options, command)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    if options.output is not None or not options.small:
        folder = RESULTS if options.output is None else options.output
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        (folder / f"{name}.md").write_text(text, "utf-8")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--layers", type=int, help="of true size; by default as many as fit")
    parser.add_argument("--batch", type=_numbers, default=(1, 8, 32))
    parser.add_argument("--prefill", type=_numbers, default=(256, 512, 2048))
    parser.add_argument("--kernels", type=_kernels, default=_KERNELS)
    parser.add_argument("--cache", type=int, default=1024, help="tokens; half of it is filled")
    parser.add_argument("--steps", type=int, default=50, help="of decoding in a run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--devices", type=int, default=8, help="that share the whole model")
    parser.add_argument("--all-reduce-us", type=float, help="latency of a collective")
    parser.add_argument("--bus-gb-s", type=float, help="bandwidth of a collective")
    parser.add_argument("--tune", action="store_true", help="try the kernel's tiles")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="write a trace")
    parser.add_argument("--compile-only", action="store_true", help="for an H100, without one")
    parser.add_argument("--small", action="store_true", help="tiny sizes, on any device")
    parser.add_argument("--output", type=Path, help="folder; of a small trial none by default")
    options = parser.parse_args(argv)
    if options.steps >= options.cache // 2:
        parser.error(f"--steps {options.steps} do not fit in the free half of --cache")
    return options


def _measured(options: argparse.Namespace, command: str) -> tuple[str, dict[str, Any], str]:
    import jax

    from benchmarks.gpu.failure import BenchmarkError
    from benchmarks.gpu.measure import Request, measure
    from benchmarks.gpu.page import page
    from benchmarks.gpu.roofline import Communication, kind_of
    from grokdist_runtime.device_table import DEVICES

    device = jax.devices()[0]
    if device.platform != "gpu" and not options.small:
        raise BenchmarkError(
            f"JAX's first device is {device.device_kind}; expected a GPU."
            " --small tries the program on anything, --compile-only compiles for an H100"
        )
    kind = kind_of(device.device_kind)
    if kind is None and not options.small:
        raise BenchmarkError(f"no bandwidth is known for {device.device_kind}; see device_table.py")
    stats = device.memory_stats() or {}
    limit = int(stats.get("bytes_limit", 1 << 33))
    communication = Communication(devices=options.devices)
    changes = {
        "latency_s": None if options.all_reduce_us is None else options.all_reduce_us * 1e-6,
        "bytes_per_s": None if options.bus_gb_s is None else options.bus_gb_s * 1e9,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    request = Request(
        config=_config(options),
        layers=options.layers,
        batches=options.batch,
        chunks=options.prefill,
        kernels=options.kernels,
        room=limit - _LEFT_FOR_WORK,
        devices=options.devices,
        kind=kind or DEVICES[0],
        cache=options.cache,
        steps=options.steps,
        runs=options.runs,
        copy_bytes=1 << (20 if options.small else 32),
        communication=Communication(**{**vars(communication), **given}),
        tuned=options.tune,
        trace=options.profile,
    )
    results = measure(request) | {
        "command": command,
        "date": _today(),
        "machine": {
            "device": device.device_kind,
            "memory_gb": limit / 1e9,
            "driver": _driver(),
            "platform": device.client.platform_version.replace("\n", " "),
            "jax": jax.__version__,
        },
    }
    short = (kind.name if kind else device.device_kind).lower().replace(" ", "-")
    # A trial is never taken for a result, whatever it ran on.
    return ("small-trial" if options.small else f"gpu-{short}"), results, page(results)


def _compiled(options: argparse.Namespace, command: str) -> tuple[str, dict[str, Any], str]:
    import jax

    # Devices are described, not found; nothing is to be looked for on this machine.
    jax.config.update("jax_platforms", "cpu")

    from benchmarks.gpu.ahead import described_devices
    from benchmarks.gpu.compiled import compiled_rows
    from benchmarks.gpu.page import compiled_page

    rows = compiled_rows(
        _config(options),
        described_devices(options.devices),
        batches=options.batch,
        chunks=options.prefill,
        kernels=options.kernels,
        cache=options.cache,
        layers=options.layers or 12,
    )
    results = {"command": command, "date": _today(), "jax": jax.__version__, "rows": rows}
    return "gpu-compiled", results, compiled_page(results)


def _config(options: argparse.Namespace) -> ModelConfig:
    from benchmarks.gpu import grok

    return grok.small() if options.small else grok.grok_1()


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


def _kernels(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    if not set(found) <= set(_KERNELS):
        raise argparse.ArgumentTypeError(f"{text!r}; expected some of {', '.join(_KERNELS)}")
    return found


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip()


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


if __name__ == "__main__":
    sys.exit(main())
