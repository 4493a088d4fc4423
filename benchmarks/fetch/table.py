"""From raw figures to the Markdown page: one table a contest, the bars and whether they are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.fetch import both, http_clients, swarm_clients, verifiers

_TITLES = {
    "http-large": "HTTP, few large files",
    "http-small": "HTTP, many small files",
    "swarm-large": "Swarm, few large files",
    "swarm-small": "Swarm, many small files",
    "both": "HTTP and swarm at once",
    "verify-large": "Verify, few large files, cached",
    "verify-small": "Verify, many small files, cached",
    "verify-long": "Verify, few larger files, cached",
    "verify-cold": "Verify, few large files, not cached",
    "start": "Start of many files",
    "memory": "Memory with a long payload",
}
_REFERENCE = {
    "http": http_clients.CURL,
    "swarm": swarm_clients.BARE,
    "both": both.HTTP,
    "verify": verifiers.HASHER,
}
_HTTP_ASKED = ((http_clients.HF, 3.0), (http_clients.ARIA2, 2.0), (http_clients.CURL, 0.8))
_SWARM_ASKED = (
    (swarm_clients.BARE, 0.9),
    *((client, 1.0) for client in ("aria2c", "transmission-cli", "qbittorrent-nox")),
)
_LEAST = {
    "http": ((http_clients.PLAIN, http_clients.DURABLE), http_clients.NO_TREES, _HTTP_ASKED),
    "swarm": ((swarm_clients.HASHING,), swarm_clients.NO_TREES, _SWARM_ASKED),
}
"""By the kind of a contest: who does the least of the same work, ours, and what is asked of it."""
_MEMORY_MB = 300
_START_S = 2.0

_HEAD = """\
# The fetch engine beside today's tools

    {command}

Versions: {versions}. Each table names its machine: ratios hold within one.

Rates are 10^6 bytes a second by the wall clock of the whole process, from its start to its exit
with every file in place (BitTorrent clients that never exit: to the moment they say that they are
done; fetches that build hash trees behind the files: to the moment they say that all is verified):
the median of the runs, and the lowest and highest. CPU is user and system time of all its
processes, a 10^9 bytes of payload; memory is the highest resident sum of its processes. Everyone
runs once a round, on the same bytes, from a page-cached nginx or one seed on loopback.
"""

_LIMITS = """\
## What limits it

Beside everyone else ran the least that does the same work, with no engine around it: a reader over
`http.client` that writes and hashes (and, where it is durable, has every file synced at its exit),
and bare libtorrent with a SHA-256 of each file once that is complete. Where these miss a bar, no
engine in the same language that does as much can meet it on that machine. The last column is ours,
without trees, to them: what is lost to all that an engine does besides.

| who | MB/s | of what is asked | ours to it |
|---|---|---|---|"""


def render(results: Mapping[str, Any]) -> str:
    """The whole page."""
    groups: Mapping[str, Any] = results["groups"]
    commands = {group["command"]: None for group in groups.values() if "command" in group}
    versions = ", ".join(f"{name} {text}" for name, text in results["versions"].items())
    parts = [
        _HEAD.format(command="\n    ".join(commands), versions=versions),
        "## Bars\n\n| what | asked | measured | |\n|---|---|---|---|\n" + "".join(_bars(groups)),
        _limits(groups),
    ]
    parts += [
        _section(name, title, groups[name]) for name, title in _TITLES.items() if name in groups
    ]
    return "\n".join(parts)


def _section(name: str, title: str, group: Mapping[str, Any]) -> str:
    if "missing" in group:
        return f"## {title}\n\nLeft out: {group['missing']}.\n"
    figures = group["figures"]
    reference = _median(_find(figures, _REFERENCE.get(name.partition("-")[0], "")), "rates")
    rows = "".join(_row(each, reference) for each in figures)
    inside = "".join(
        f"- {each['name']}, by its own clock (without the start of the process):"
        f" {_median(each, 'inside'):,.0f} MB/s.\n"
        for each in figures
        if each.get("inside")
    )
    exits = "".join(
        f"- {each['name']}, to its exit, with all trees built:"
        f" {_median(each, 'exits'):,.0f} MB/s.\n"
        for each in figures
        if each.get("exits")
    )
    starts = "".join(
        f"- {each['name']}: first file in place after {_median(each, 'first'):.2f} s"
        f" (lowest {min(each['first']):.2f}, highest {max(each['first']):.2f}).\n"
        for each in figures
        if each["first"]
    )
    bounds = "".join(
        f"- {each['name']}: at {_median(each, 'cpu'):.2f} CPU s/GB, {group['cores']} cores give at"
        f" most {1000 * group['cores'] / (_median(each, 'cpu') or 1):,.0f} MB/s, less what the"
        " other end needs of them.\n"
        for each in figures
        if each["name"].startswith("grokdist")
        and each["cpu"]
        and not (each.get("exits") or group["limit"] or reference is None)
    )
    limit = f", each link limited to {group['limit']} by tc" if group["limit"] else ""
    ceilings = group["ceilings"]
    against = f" / {_REFERENCE[name.partition('-')[0]]}" if reference else ""
    return (
        f"## {title}\n\n"
        f"{group['files']:,} files, {group['bytes']:,} bytes{limit}; {group['repeats']} rounds;"
        f" {group['when']}; load before: {group['load_before']}. {group['machine']}.\n\n"
        f"| tool | checks | MB/s | lowest, highest |{against} | CPU s/GB | peak MB |\n"
        f"|---|---|---|---|---|---|---|\n{rows}\n"
        + (f"{exits}{inside}{starts}{bounds}\n" if exits or inside or starts or bounds else "")
        + f"Ceilings in the same run: SHA-256 {ceilings['hash_one']:,.0f} MB/s on one core,"
        f" {ceilings['hash_all']:,.0f} on all; memory copy {ceilings['copy']:,.0f};"
        f" writing with fsync {ceilings['write']:,.0f}.\n"
    )


def _row(figures: Mapping[str, Any], reference: float | None) -> str:
    name, checks = figures["name"], figures["checks"]
    if not figures["rates"]:
        return f"| {name} | {checks} | left out: {figures['missing']} | | | | |\n"
    rate = statistics.median(figures["rates"])
    times = f"{rate / reference:.2f}" if reference else ""
    failed = f" ({figures['missing']})" if figures["missing"] else ""
    return (
        f"| {name}{failed} | {checks} | {rate:,.0f}"
        f" | {min(figures['rates']):,.0f}, {max(figures['rates']):,.0f} | {times}"
        f" | {statistics.median(figures['cpu']):.2f} | {figures['peak']:,.0f} |\n"
    )


def _bars(groups: Mapping[str, Any]) -> Iterator[str]:
    for name in ("http-large", "http-small"):
        for ours in (http_clients.GROKDIST, http_clients.NO_TREES):
            yield from _bars_against(groups, name, ours, _HTTP_ASKED)
    for name in ("swarm-large", "swarm-small"):
        for ours in (swarm_clients.GROKDIST, swarm_clients.NO_TREES):
            yield from _bars_against(groups, name, ours, _SWARM_ASKED)
    links = [_rate(groups, "both", each) for each in (both.HTTP, both.SWARM)]
    slower = min((each for each in links if each), default=None)
    yield from _bar("Both at once / R", 1.9, _rate(groups, "both", both.BOTH), slower)
    for name in ("verify-large", "verify-small", "verify-long", "verify-cold"):
        rate, ceiling = _rate(groups, name, verifiers.GROKDIST), _verify_ceiling(groups, name)
        what = f"{_TITLES[name]}: {verifiers.GROKDIST}"
        yield from _bar(f"{what} / lower of hashing and reading", 0.95, rate, ceiling)
        inside = _median(
            _find(groups.get(name, {}).get("figures", ()), verifiers.GROKDIST), "inside"
        )
        yield from _bar(f"{what}, by its own clock / the same", 0.95, inside, ceiling)
        tools = ("sha256sum by xargs, all cores", "hf cache verify", "model_signing verify")
        peers = tuple((tool, 1.0) for tool in tools)
        yield from _bars_against(groups, name, verifiers.GROKDIST, peers)
    for each in groups.get("start", {}).get("figures", ()):
        if each["first"]:
            seconds = _median(each, "first") or 0.0
            met = "met" if seconds <= _START_S else "missed"
            files = groups["start"]["files"]
            yield (
                f"| {each['name']}: first of {files:,} files | ≤ {_START_S:.0f} s"
                f" | {seconds:.2f} s | {met} |\n"
            )
    for name, group in groups.items():
        for each in group.get("figures", ()):
            if each["name"].startswith("grokdist") and each["rates"]:
                met = "met" if each["peak"] <= _MEMORY_MB else "missed"
                yield (
                    f"| Memory, {_TITLES[name]}, {each['name']} | ≤ {_MEMORY_MB} MB"
                    f" | {each['peak']:.0f} MB | {met} |\n"
                )


def _limits(groups: Mapping[str, Any]) -> str:
    """What the least that does the same work reaches, and ours of that."""
    rows = []
    for name, title in _TITLES.items():
        who, ours, asked = _LEAST.get(name.partition("-")[0], ((), "", ()))
        for least in who:
            rate, reached = _rate(groups, name, least), _rate(groups, name, ours)
            theirs = [(peer, factor, _rate(groups, name, peer)) for peer, factor in asked]
            if not rate or not reached:
                continue
            bars = ", ".join(
                f"{rate / other:.2f} of {factor:g} ({peer})"
                for peer, factor, other in theirs
                if other
            )
            rows.append(f"| {title}: {least} | {rate:,.0f} | {bars} | {reached / rate:.2f} |\n")
    return f"{_LIMITS}\n{''.join(rows)}"


def _bars_against(
    groups: Mapping[str, Any], name: str, ours: str, peers: Sequence[tuple[str, float]]
) -> Iterator[str]:
    for peer, factor in peers:
        what = f"{_TITLES[name]}: {ours} / {peer}"
        yield from _bar(what, factor, _rate(groups, name, ours), _rate(groups, name, peer))


def _bar(what: str, factor: float, ours: float | None, theirs: float | None) -> Iterator[str]:
    if ours and theirs:
        got = ours / theirs
        met = "met" if got >= factor else "missed"
        yield f"| {what} | {factor:g} | {got:.2f} | {met} |\n"


def _verify_ceiling(groups: Mapping[str, Any], name: str) -> float | None:
    """The lower of cores times what one thread hashes, and reading alone."""
    reading = _rate(groups, name, verifiers.READER)
    hashing = _rate(groups, name, verifiers.ONE_THREAD)
    if reading is None or hashing is None:
        return None
    return min(hashing * float(groups[name]["cores"]), reading)


def _rate(groups: Mapping[str, Any], group: str, name: str) -> float | None:
    return _median(_find(groups.get(group, {}).get("figures", ()), name), "rates")


def _find(figures: Any, name: str) -> Mapping[str, Any]:
    return next((each for each in figures if each["name"] == name), {})


def _median(figures: Mapping[str, Any], key: str) -> float | None:
    values = figures.get(key)
    return statistics.median(values) if values else None
