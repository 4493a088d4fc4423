"""Benchmark loading: ours against a plain read of the same bytes and against the original's way.

    PYTHONPATH=.:runtime python -m benchmarks.load

In one run on one machine, by turns, each in a process of its own whose memory is warm:

- ``shards``: from the original shards to JAX arrays, as ``run`` does it;
- ``converted``: from what ``grokdist convert`` writes, the same;
- ``plain``: threads that do nothing but read the same files into fresh memory;
- ``original``: the release's way, which is to copy each file to shared memory and unpickle it.

Three sizes and eight rounds take about twelve minutes on two cores, 9 GB of disk and 16 GB of
memory.
Writes ``load.json`` and ``load.md`` into ``--output`` and a plot into ``--pictures``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load_ours_child import prepare_files
from benchmarks.runtime.machine import describe
from benchmarks.runtime.models import SIZES, write_model
from benchmarks.svg_plot import Axis, Series, line_plot, write_plot
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion

ROOT = Path(__file__).parents[1]
CONTENDERS = ("shards", "converted", "plain", "original")
NAMES = {
    "shards": "grokdist, original shards",
    "converted": "grokdist, converted",
    "plain": "plain read",
    "original": "the original's way",
}
ORDERS = tuple(
    tuple(CONTENDERS[(at + turn) % 4] for at in (0, 1, 3, 2)) for turn in range(len(CONTENDERS))
)
"""Of four rounds: each contender comes once behind each other (a Williams design), since memory
is left behind by some in small pages and by others in huge ones."""
ASKED = {"plain": 0.9, "original": 5.0}
"""How many times as fast as these loading the original shards is asked to be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; 0 if every size has been measured."""
    options = _parse(arguments)
    results: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.load", *_shown(options)]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(None),
        "cold": options.cold,
        "rounds": options.rounds,
        "sizes": [],
    }
    work = options.work or Path(tempfile.mkdtemp(prefix="grokdist-load-"))
    try:
        for label in options.size:
            results["sizes"].append(_measure(label, work / label, options))
            if options.work is None:
                shutil.rmtree(work / label)
            _write(results, options)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print((options.output / f"{_stem(options)}.md").read_text("utf-8"))
    return 0


def _measure(label: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    config = SIZES[label].config
    if not (folder / "shards").exists():
        write_model(folder / "shards", config)
        (folder / "converted").mkdir()
        shutil.copy(folder / "shards" / "config.json", folder / "converted")
        Conversion(open_checkpoint(folder / "shards", config), metadata={}).write(
            folder / "converted"
        )
    files = sorted((folder / "shards" / "ckpt-0").iterdir())
    nbytes = sum(path.stat().st_size for path in files)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for round_ in range(options.rounds):
        for name in ORDERS[round_ % 4]:
            source = folder / ("converted" if name == "converted" else "shards")
            # What another contender reads is not to take the memory that this one needs.
            prepare_files(
                [path for path in _files(folder) if source not in path.parents], cold=True
            )
            seconds[name].append(_child(name, source, nbytes, options))
            print(f"{label} GB, {name}: {seconds[name][-1]:.3f} s", file=sys.stderr, flush=True)
    return {"label": label, "bytes": nbytes, "files": len(files), "seconds": seconds}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _child(name: str, source: Path, nbytes: int, options: argparse.Namespace) -> float:
    """Seconds that one contender takes in a process of its own."""
    module = "original" if name == "original" else "ours"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks" / f"load_{module}_child.py"), name),
            *(str(source), str(nbytes), str(int(options.cold))),
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    return float(json.loads(done.stdout)["seconds"])


def render(results: Mapping[str, Any]) -> str:
    """The page of results."""
    machine = results["machine"]
    cache = "out of" if results["cold"] else "in"
    lines = [
        "# Loading",
        "",
        f"`{results['command']}`, {results['date']}. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory'] / 2**30:.0f} GiB, {machine['system']}; load average before "
        f"{machine['load_before']}. Python {machine['python']}, jax {machine['jax']}, NumPy "
        f"{machine['numpy']}.",
        "",
        f"From files {cache} the page cache to JAX arrays on one CPU device. "
        f"{results['rounds']} rounds by turns, each in a new process with warm memory; medians "
        "(least to most).",
    ]
    if machine["load_before"] > machine["cores"] / 2:
        lines += ["", "**Provisional: the machine was busy with other work.**"]
    lines += [
        "",
        "| GB | files | " + " | ".join(f"{NAMES[name]}, s" for name in CONTENDERS) + " |",
        "| ---: | ---: |" + " ---: |" * len(CONTENDERS),
    ]
    for size in results["sizes"]:
        cells = [_spread(size["seconds"][name]) for name in CONTENDERS]
        lines.append(f"| {size['bytes'] / 1e9:.2f} | {size['files']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Ratios of medians, and in brackets of the fastest rounds, which other guests of the same "
        "host disturbed least.",
        "",
        "| GB | shards, GB/s | plain read, GB/s | shards to plain (asked 0.9) |"
        " shards to the original's way (asked 5) | plain to the original's way |"
        " converted to the original's way |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in results["sizes"]:
        middle = {name: statistics.median(size["seconds"][name]) for name in CONTENDERS}
        least = {name: min(size["seconds"][name]) for name in CONTENDERS}
        lines.append(
            f"| {size['bytes'] / 1e9:.2f} | {size['bytes'] / middle['shards'] / 1e9:.2f} | "
            f"{size['bytes'] / middle['plain'] / 1e9:.2f} | "
            f"{middle['plain'] / middle['shards']:.2f} ({least['plain'] / least['shards']:.2f}) | "
            f"{middle['original'] / middle['shards']:.1f} "
            f"({least['original'] / least['shards']:.1f}) | "
            f"{middle['original'] / middle['plain']:.1f} "
            f"({least['original'] / least['plain']:.1f}) | "
            f"{middle['original'] / middle['converted']:,.0f} |"
        )
    return "\n".join([*lines, "", *_notes()]) + "\n"


def _notes() -> list[str]:
    return [
        "- Ours opens the model too: every shard's structure is read and checked, that of one of "
        "many alike step by step, the others by comparison. That is 4 to 8 ms of Python, and as "
        "much again to plan what is read and to hand it over, which the smallest size pays for. "
        "Scales and, where JAX wants another dtype, the embedding are converted.",
        "- The limit is the first touch of memory: the kernel clears a page before it is filled. "
        "Ours and the plain read both ask for pages of 2 MiB, without which either takes about "
        "three times as long; so the plain read here is as fast as we could make one. How it "
        "stands to the original's way is therefore the most that reading into memory reaches.",
        "- A converted model is mapped, so nothing is read but scales; pages come in, from the "
        "page cache or the disk, when they are first used.",
        "- The original's way: 32 threads copy each file to shared memory, unpickle it there and "
        "give it to JAX. It is timed in a process made for that, which unpickles only files that "
        "this benchmark wrote itself.",
        "- Not counted: the start of Python and JAX, and verification of the files.",
    ]


def _spread(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.3f} ({min(values):.3f} to {max(values):.3f})"


def _write(results: Mapping[str, Any], options: argparse.Namespace) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    stem = _stem(options)
    text = json.dumps(results, indent=1) + "\n"
    (options.output / f"{stem}.json").write_text(text, "utf-8")
    (options.output / f"{stem}.md").write_text(render(results), "utf-8")
    sizes = results["sizes"]
    series = [
        Series(
            label=NAMES[name],
            xs=[size["bytes"] / 1e9 for size in sizes],
            ys=[statistics.median(size["seconds"][name]) for size in sizes],
            spread=[(min(size["seconds"][name]), max(size["seconds"][name])) for size in sizes],
        )
        for name in CONTENDERS
    ]
    ticks = [float(size["label"]) for size in sizes]
    svg = line_plot(
        "Loading onto a CPU",
        series,
        x=Axis(label="checkpoint, GB", log=True, ticks=ticks),
        y=Axis(label="seconds", log=True),
    )
    write_plot(options.pictures / f"{stem}.svg", svg)


def _stem(options: argparse.Namespace) -> str:
    return "load-cold" if options.cold else "load"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    add = parser.add_argument
    add("--size", type=_sizes, default=list(SIZES), help=f"of {','.join(SIZES)} (GB), all")
    add("--rounds", type=int, default=8, help="turns of each contender, best in fours")
    add("--cold", action="store_true", help="from the disk rather than the page cache")
    add("--work", type=Path, help="where the models go, and stay; a temporary folder")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results")
    add("--pictures", type=Path, default=ROOT / "docs" / "pictures")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[str]:
    labels = text.split(",")
    if unknown := [label for label in labels if label not in SIZES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; expected of {', '.join(SIZES)}")
    return labels


def _shown(options: argparse.Namespace) -> list[str]:
    cold = ["--cold"] if options.cold else []
    return ["--size", ",".join(options.size), "--rounds", str(options.rounds), *cold]


if __name__ == "__main__":
    sys.exit(main())
