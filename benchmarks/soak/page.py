"""The results page of the soak, and what of it is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.soak.memory import ALLOWED_SHARE

FETCH_PEAK = 256 << 20
"""A fetch may hold so much, whatever it fetches."""

_LISTED = 5


def faults(results: Mapping[str, Any]) -> list[str]:
    """What should not have been, a sentence each."""
    found = []
    if serve := results.get("serve"):
        found += serve["wrong"]
        found += [f"no {kind} ended well" for kind, each in serve["kinds"].items() if _none(each)]
        if serve["memory"]["grown"]:
            found.append(f"memory grew by {_mib(serve['memory']['rise'])} MiB")
        if not serve["idle_afterwards"]:
            found.append("texts still ran when nobody asked any more")
        if serve["exit_code"] != 0:
            found.append(f"the server ended with {serve['exit_code']}")
    for fetch in results["fetch"]["runs"] if "fetch" in results else []:
        for what in ("fetch", "verify"):
            if fetch[what]["exit_code"] != 0:
                found.append(f"{what} of {fetch['name']}: {fetch[what]['error']}")
            elif fetch[what]["peak_bytes"] > FETCH_PEAK:
                held = _mib(fetch[what]["peak_bytes"])
                found.append(f"{what} of {fetch['name']} held {held} MiB")
    return found


def render(results: Mapping[str, Any]) -> str:
    """The page, in Markdown."""
    lines = ["# Soak", ""]
    if serve := results.get("serve"):
        lines += _serve(serve)
    if "fetch" in results:
        lines += _fetch(results["fetch"])
    wrong = faults(results)
    lines += [f"**Not as it should be: {len(wrong)}.**", ""] if wrong else ["Faults: none.", ""]
    lines += [f"- {each}" for each in wrong[:_LISTED]]
    return "\n".join(lines).rstrip() + "\n"


def _serve(serve: Mapping[str, Any]) -> list[str]:
    memory, kinds = serve["memory"], serve["kinds"]
    lines = [
        "## The server under mixed load",
        "",
        *_made(serve),
        f"`grokdist serve --model grok-mini {' '.join(serve['flags'])}`, {serve['kernels']}"
        f" kernels, {serve['callers']} callers for {serve['seconds']:g} seconds, choosing by seed"
        f" {serve['seed']}. Every text has a seed and is compared with what the model gives alone"
        f" ({serve['known_texts']} known texts); every refusal with the status that it should have."
        " Busy are those that the full queue answered with 429. Seconds until the first piece, and"
        " until the end, as callers on the same machine saw them.",
        "",
        "| kind | requests | right | busy | first p50 | first p99 | whole p50 | whole p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {kind} | {each['requests']} | {each['right']} | {each['busy']} |"
        f" {_seconds(each['first_s'])} | {_seconds(each['whole_s'])} |"
        for kind, each in kinds.items()
    ]
    rise = memory["rise"] / memory["first"]
    lines += [
        "",
        f"Wrong: {len(serve['wrong'])} of {sum(each['requests'] for each in kinds.values())}."
        f" Nothing ran afterwards: {'yes' if serve['idle_afterwards'] else 'no'}."
        f" SIGTERM ended it with {serve['exit_code']}.",
        "",
        f"Memory: {_mib(memory['first'])} MiB after {serve['warm_s']:g} seconds of warm-up,"
        f" {_mib(memory['last'])} MiB at the end, {_mib(max(memory['resident']))} MiB at most. The"
        f" least-squares line through a sample a second after the warm-up rises by"
        f" {_mib(memory['rise'])} MiB ({rise:+.1%}; allowed {ALLOWED_SHARE:.0%}). Threads"
        f" {memory['threads'][0]}, then {memory['threads'][1]}; open files {memory['files'][0]},"
        f" then {memory['files'][1]}.",
        "",
    ]
    return lines


def _fetch(part: Mapping[str, Any]) -> list[str]:
    fetches = part["runs"]
    lines = [
        "## Large fetches",
        "",
        *_made(part),
        "`grokdist fetch` from a server on this machine, then `grokdist verify`, each in a process"
        f" of its own; each may hold {_mib(FETCH_PEAK)} MiB. The one file is a hole, whose zeros"
        " are sent, hashed and written like other bytes.",
        "",
        "| | files | GB | fetch s | MB/s | peak MiB | verify s | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in fetches:
        fetch, verify = each["fetch"], each["verify"]
        lines.append(
            f"| {each['name']} | {each['files']} | {each['bytes'] / 1e9:.3f} |"
            f" {fetch['seconds']} | {each['bytes'] / 1e6 / fetch['seconds']:.1f} |"
            f" {_mib(fetch['peak_bytes'])} | {verify['seconds']} | {_mib(verify['peak_bytes'])} |"
        )
    if any(each.get("dug") for each in fetches):
        lines += [
            "",
            "The disk had no room for the one file. Its zeros were dug out again as they were"
            " written (`fallocate` with `FALLOC_FL_PUNCH_HOLE`), and the fetch was told that there"
            " is room, without which it refuses to begin. Nothing else was changed.",
        ]
    return [*lines, ""]


def _made(part: Mapping[str, Any]) -> list[str]:
    machine = part["machine"]
    return [
        f"`{part['command']}`, {part['date']}, {machine['cpu']}, {machine['cores']} cores,"
        f" {_mib(machine['memory'])} MiB, {machine['system']}, Python {machine['python']},"
        f" jax {machine['jax']}; load average before {machine['load_before']}.",
        "",
    ]


def _none(kind: Mapping[str, Any]) -> bool:
    return not kind["right"]


def _seconds(pair: list[float] | None) -> str:
    return " | ".join(f"{each:.3f}" for each in pair) if pair else "- | -"


def _mib(count: float) -> int:
    return round(count / 2**20)
