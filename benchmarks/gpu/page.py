"""Results as a page to read."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]

GOAL = 0.7
"""The share of the bandwidth that a step of one sequence is to reach."""


def page(results: Results) -> str:
    """Markdown of one run on a device."""
    machine, bandwidth = results["machine"], results["bandwidth"]
    lines = [
        f"# Grok-1's layers on {machine['device']}",
        "",
        f"    {results['command']}",
        "",
        f"{results['date']}. {machine['device']}, {machine['memory_gb']:.0f} GB for JAX; driver"
        f" {machine['driver']}; {machine['platform']}; jax {machine['jax']}. Weights are random and"
        " made on the device.",
        "",
        f"Measured bandwidth of memory: copying {bandwidth['copy'] / 1e9:.0f} GB/s (bytes read and"
        f" written), reading {bandwidth['read'] / 1e9:.0f} GB/s. Shares are of copying.",
    ]
    for model in results["models"]:
        lines += ["", f"## {model['title']}", "", *_steps(model)]
    lines += ["", *_eight(results["eight"])]
    if results["tiles"]:
        lines += ["", "## Tiles of the kernel", "", *_tiles(results["tiles"])]
    if results["profile"]:
        lines += ["", "## Where a step's time goes", "", *_profile(results["profile"])]
    return "\n".join(lines) + "\n"


def compiled_page(results: Results) -> str:
    """Markdown of what was compiled for a described device, and ran nowhere."""
    lines = [
        "# What XLA makes of Grok-1 for an H100",
        "",
        f"    {results['command']}",
        "",
        f"{results['date']}, jax {results['jax']}. Compiled for an H100 that was described, on a"
        " machine without one: **nothing here ran on a GPU, and nothing was timed**. XLA would try"
        " some of its choices on the device; here it takes its defaults.",
        "",
        "Weights written to memory by one layer of a step, as float (dequantised) and as int8"
        " (copied out of their stack). A step should write none: each is memory traffic beside the"
        " one read of the int8 bytes. What stands in a loop's body counts once: a layer's"
        " collectives, and the experts of one block of a prompt.",
        "",
        "| model | kernels | sequences | new tokens | dequantised, MB | copied, MB |"
        " temporary, MB | collectives |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in results["rows"]:
        said = ", ".join(f"{count} {name}" for name, count in sorted(row["collectives"].items()))
        lines.append(
            f"| {row['model']} | {row['kernels']} | {row['batch']} | {row['new']} |"
            f" {row['widened'] / 1e6:.0f} | {row['copied'] / 1e6:.0f} |"
            f" {row['temporary'] / 1e6:.0f} | {said or 'none'} |"
        )
    return "\n".join(lines) + "\n"


def _steps(model: dict[str, Any]) -> list[str]:
    lines = [
        "| kernels | step | sequences | ms a step | spread | ms a layer | GB a layer |"
        " share of copying | weights written, MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in model["rows"]:
        step = "decode" if row["new"] == 1 else f"prefill {row['new']}"
        share = f"{100 * row['share']:.0f} %" if row["share"] is not None else ""
        read = f"{row['layer_bytes'] / 1e9:.2f}" if row["layer_bytes"] is not None else ""
        lines.append(
            f"| {row['kernels']} | {step} | {row['batch']} | {1e3 * row['step_s']:.3f} |"
            f" {1e3 * row['least_s']:.3f} to {1e3 * row['most_s']:.3f} |"
            f" {1e3 * row['layer_s']:.4f} | {read} | {share} | {row['written'] / 1e6:.0f} |"
        )
    best = [row for row in model["rows"] if row["new"] == 1 and row["batch"] == 1]
    if best:
        share = max(row["share"] for row in best)
        said = "met" if share >= GOAL else "missed"
        lines += [
            "",
            f"At least {100 * GOAL:.0f} % at one sequence: {said}, {100 * share:.0f} %.",
        ]
    return lines


def _eight(eight: dict[str, Any]) -> list[str]:
    model = eight["model"]
    lines = [
        f"## {eight['devices']} devices, extrapolated",
        "",
        "The measured step of one device's share, all layers, and the sums over devices on top:"
        f" {model['sums']} of them and one gather, each {1e6 * model['latency_s']:.0f} us (assumed)"
        f" and its bytes over {model['bytes_per_s'] / 1e9:.0f} GB/s, none hidden. The roofline is"
        f" {eight['peak']:.0f} tokens a second at one sequence; the best public figure is"
        f" {eight['gpt_fast']:.0f}, of gpt-fast on 8 A100.",
        "",
        "| kernels | sequences | ms of work | ms of sums | tokens/s | of the roofline |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in eight["rows"]:
        share = f"{100 * row['tokens_per_s'] / eight['peak']:.0f} %" if row["batch"] == 1 else ""
        lines.append(
            f"| {row['kernels']} | {row['batch']} | {1e3 * row['work_s']:.2f} |"
            f" {1e3 * row['sums_s']:.2f} | {row['tokens_per_s']:.0f} | {share} |"
        )
    return lines


def _tiles(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| rows | inner | columns | splits | warps | stages | GB/s | |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        note = row.get("error", "the usual ones" if row["usual"] else "")
        sizes = " | ".join(
            str(row[name]) for name in ("rows", "inner", "columns", "splits", "warps", "stages")
        )
        lines.append(f"| {sizes} | {row['bytes_per_s'] / 1e9:.0f} | {note} |")
    return lines


def _profile(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| kernel | ms a step | share |", "|---|---:|---:|"]
    for row in rows:
        lines.append(f"| `{row['kernel']}` | {row['ms']:.3f} | {100 * row['share']:.1f} % |")
    return lines
