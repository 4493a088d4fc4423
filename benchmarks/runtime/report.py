"""Tables and plots of the runtime benchmark, made from its JSON document alone."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.runtime.contest import LLAMA, LONG_PROMPT, ORIGINAL, OURS, PROMPT
from benchmarks.svg_plot import Axis, Series, line_plot, write_plot

NAMES = {OURS: "grokdist", LLAMA: "llama.cpp", ORIGINAL: "original algorithm"}
START, END = "<!-- figures: start -->", "<!-- figures: end -->"
"""The lines of a page between which the main table is put."""

_GB = 1e9


def render(results: Mapping[str, Any]) -> str:
    """The whole page of results."""
    machine, sizes = results["machine"], results["sizes"]
    wide = ", ".join(machine["instructions"]) or "no wide vectors known"
    ceiling = max(results["read_rates"]) / _GB
    lines = [
        "# The runtime against llama.cpp and the original algorithm",
        "",
        f"`{results['command']}`, {results['date']}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({wide}), "
        f"{machine['memory'] / 2**30:.0f} GiB, {machine['system']}; load average before "
        f"{machine['load_before']}. Python {machine['python']}, jax {machine['jax']}, jaxlib "
        f"{machine['jaxlib']}, NumPy {machine['numpy']}; grokdist: "
        f"{sizes[0]['runtimes'][OURS]['how']}.",
        *([f"{_one_line(machine['llama_cpp'])}"] if "llama_cpp" in machine else []),
        "",
        f"{results['threads']} threads each, one process at a time, {results['rounds']} rounds in "
        "turn; medians of the rounds (least to most).",
        f"Read ceiling: {ceiling:.1f} GB/s, the best of "
        f"{len(results['read_rates'])} passes of {results['threads']} threads over "
        f"{results['read_bytes'] / _GB:.0f} GB of int8.",
        *_busy(results),
        "",
        "## Decode",
        "",
        *decode_table(results),
        "",
        "## Prefill",
        "",
        *_prefill_table(sizes),
        "",
        "## Load and memory",
        "",
        *_memory_table(sizes),
        "",
        "## What is counted",
        "",
        *_notes(results),
    ]
    return "\n".join(lines) + "\n"


def decode_table(results: Mapping[str, Any]) -> list[str]:
    """Decode: tokens a second, ratios, and shares of the read ceiling."""
    ceiling = max(results["read_rates"])
    lines = [
        "| int8 weights, GB | read a token, MB | grokdist, tokens/s | llama.cpp | original |"
        " to llama.cpp | to the original | share of the read ceiling | llama.cpp's share |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in results["sizes"]:
        runs = size["runtimes"]
        lines.append(
            f"| {size['values'] / _GB:.2f} | {runs[OURS]['active'] / 1e6:.0f} | "
            f"{_cell(runs, OURS, 'decode')} | {_cell(runs, LLAMA, 'decode')} | "
            f"{_cell(runs, ORIGINAL, 'decode')} | {_ratio(runs, LLAMA, 'decode')} | "
            f"{_ratio(runs, ORIGINAL, 'decode')} | {_share(runs, OURS, ceiling)} | "
            f"{_share(runs, LLAMA, ceiling)} |"
        )
    return lines


def write_plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Tokens a second against the size of the model, for decode and prefill."""
    ticks = [float(size["label"]) for size in results["sizes"]]
    paths = []
    for kind, title in (
        ("decode", "Decode, one sequence"),
        ("prefill", f"Prefill of {LONG_PROMPT} tokens"),
    ):
        svg = line_plot(
            f"{title}, {results['threads']} CPU threads",
            [_series(results["sizes"], name, kind) for name in _present(results)],
            x=Axis(label="int8 weights, GB", log=True, ticks=ticks),
            y=Axis(label="tokens a second", log=True),
        )
        paths.append(folder / f"runtime-{kind}.svg")
        write_plot(paths[-1], svg)
    return paths


def with_figures(page: str, results: Mapping[str, Any]) -> str:
    """A page with the main table between its marks put in anew.

    Raises:
        ValueError: The page has no marks.
    """
    if START not in page or END not in page:
        raise ValueError(f"the page has no {START} and {END}; expected both")
    before, rest = page.split(START, 1)
    machine = results["machine"]
    said = (
        f"{machine['cpu']}, {results['threads']} threads, {results['date']}; medians of "
        f"{results['rounds']} rounds (least to most)."
    )
    tables = [*decode_table(results), "", *_prefill_table(results["sizes"])]
    block = "\n".join([said, *_busy(results), "", *tables])
    return f"{before}{START}\n{block}\n{END}{rest.split(END, 1)[1]}"


def _busy(results: Mapping[str, Any]) -> list[str]:
    """A warning if others used the machine: they slow contestants down by different factors."""
    machine = results["machine"]
    remark = results.get("remark", "")
    said = ["", remark] if remark else []
    if machine["load_before"] <= machine["cores"] / 2:
        return said
    return [
        *said,
        "",
        f"**Provisional: the machine was busy** (load average {machine['load_before']} on "
        f"{machine['cores']} cores). The ratios do not count: threads that wait actively for one "
        "another, as llama.cpp's do, lose far more by it than others.",
    ]


def _prefill_table(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"| int8 weights, GB | grokdist, tokens/s at {LONG_PROMPT} | llama.cpp | original |"
        " to llama.cpp | to the original |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in sizes:
        runs = size["runtimes"]
        lines.append(
            f"| {size['values'] / _GB:.2f} | {_cell(runs, OURS, 'prefill')} | "
            f"{_cell(runs, LLAMA, 'prefill')} | {_cell(runs, ORIGINAL, 'prefill')} | "
            f"{_ratio(runs, LLAMA, 'prefill')} | {_ratio(runs, ORIGINAL, 'prefill')} |"
        )
    return lines


def _memory_table(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| int8 weights, GB | | load, s | load from safetensors, s | weights kept, GB |"
        " own memory, GB | peak resident, GB |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in sizes:
        for name, run in size["runtimes"].items():
            converted = run.get("load_converted_s")
            private = [each["private"] for each in run["memory"]]
            lines.append(
                f"| {size['values'] / _GB:.2f} | {NAMES[name]} | {_spread(run['load_s'])} | "
                f"{_spread(converted) if converted else ''} | {run['weights'] / _GB:.2f} | "
                f"{'' if None in private else f'{statistics.median(private) / _GB:.2f}'} | "
                f"{statistics.median(each['peak'] for each in run['memory']) / _GB:.2f} |"
            )
    return lines


def _notes(results: Mapping[str, Any]) -> list[str]:
    tokens = ", ".join(str(size["decode_tokens"]) for size in results["sizes"])
    ours = [size["runtimes"][OURS] for size in results["sizes"]]
    compiling = ", ".join(f"{run['compile_s']:.1f}" for run in ours)
    notes = [
        "- Every contestant gets the same prompts of random tokens, new in each measurement, and "
        "runs them once before to warm up. A step ends when the likeliest token is known to the "
        "host, which feeds it to the next step.",
        f"- Decode: {tokens} tokens after a prompt of {PROMPT}, the first left out. Prefill: from "
        f"{LONG_PROMPT} tokens to the first token. Compiling is left out: it took {compiling} s in "
        "the first round, and is kept on disk.",
        "- Load: from files in the page cache to a model ready to be used, without the start of "
        "Python and JAX. Weights kept are those of the runtime; own memory leaves out pages of "
        "mapped files, peak resident counts them.",
        "- Share of the read ceiling: bytes of weights that one token reads (the two chosen "
        "experts of each layer, attention, output head, each as the runtime keeps it) times "
        "tokens a second, against the ceiling above.",
        f"- The original algorithm is a few lines of JAX in float32 "
        f"(`benchmarks/runtime/original.py`): {_layers(results)} The rest counts as their mean. "
        "It is loaded here by our safe reader, with a copy, not in the original's way.",
    ]
    differences = [size["difference"] for size in results["sizes"] if "difference" in size]
    if differences:
        median = max(each["median"] for each in differences)
        same = min(each["same_choice"] for each in differences)
        notes.append(
            "- llama.cpp runs the same weights: int8 values carry over to Q8_0 as they are, "
            "each scale repeated for every block of 32. Its logits differ from ours by at most "
            f"{median:.4f} of their size (root mean square over the vocabulary, median over "
            f"tokens), since it rounds activations to 8 bits; the likeliest token is the same "
            f"after {same:.0%} of tokens. It makes the two experts' shares sum to one and the "
            "original does not; the norm behind them takes that factor out again. It has no flash "
            "attention for this architecture."
        )
    else:
        notes.append(
            "- llama.cpp was left out: the interpreter has no `llama_cpp` and `gguf`. "
            "`pip install llama-cpp-python gguf` and give it with `--llama-python`."
        )
    return notes


def _layers(results: Mapping[str, Any]) -> str:
    parts = []
    for size in results["sizes"]:
        run, layers = size["runtimes"][ORIGINAL], size["config"]["num_layers"]
        parts.append(
            f"at {size['label']} GB {run['decode_layers']} of {layers} layers of a step were "
            f"timed, {run['prefill_layers']} of {layers} of a prompt padded to 1024"
        )
    return "; ".join(parts) + "."


def _present(results: Mapping[str, Any]) -> list[str]:
    return [name for name in NAMES if name in results["sizes"][0]["runtimes"]]


def _series(sizes: Sequence[Mapping[str, Any]], name: str, kind: str) -> Series:
    figures = [size["runtimes"][name][kind] for size in sizes]
    return Series(
        label=NAMES[name],
        xs=[float(size["label"]) for size in sizes],
        ys=[statistics.median(each) for each in figures],
        spread=[(min(each), max(each)) for each in figures],
    )


def _cell(runs: Mapping[str, Any], name: str, kind: str) -> str:
    return _spread(runs[name][kind]) if name in runs else ""


def _spread(values: Sequence[float]) -> str:
    middle = _three(statistics.median(values))
    return f"{middle} ({_three(min(values))} to {_three(max(values))})"


def _three(value: float) -> str:
    """Three digits, none behind the point from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(runs: Mapping[str, Any], name: str, kind: str) -> str:
    if name not in runs:
        return ""
    ratio = statistics.median(runs[OURS][kind]) / statistics.median(runs[name][kind])
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def _share(runs: Mapping[str, Any], name: str, ceiling: float) -> str:
    if name not in runs:
        return ""
    return f"{runs[name]['active'] * statistics.median(runs[name]['decode']) / ceiling:.0%}"


def _one_line(text: str) -> str:
    """llama.cpp's own words on what it was built for."""
    return re.sub(r"\s*\|\s*", ", ", text.replace("\n", ": ").strip().rstrip("|").strip()) + "."
