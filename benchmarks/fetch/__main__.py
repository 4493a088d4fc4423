"""Run the contests and write the table.

    PYTHONPATH=.:runtime python -m benchmarks.fetch                     # all, about half an hour
    PYTHONPATH=.:runtime python -m benchmarks.fetch --size 64M --repeats 1
    PYTHONPATH=.:runtime python -m benchmarks.fetch --only http-large,verify-large

Needs root (or the right to make user namespaces) for the swarm contest with transmission and for
the limited links. Programs that are not installed are named in the table with the way to get them.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import benchmarks
import grokdist
from benchmarks.fetch.both import both_contest
from benchmarks.fetch.ceilings import evict, measure_ceilings
from benchmarks.fetch.contest import Arena, Figures, document, fetch_contest, verify_contest
from benchmarks.fetch.http_clients import http_clients
from benchmarks.fetch.measure import adopt_orphans
from benchmarks.fetch.network import enter
from benchmarks.fetch.payload import Payload, make_payload, warm
from benchmarks.fetch.swarm_clients import Swarm, swarm_clients
from benchmarks.fetch.table import render
from benchmarks.fetch.tools import Peers, file_system, install_peers, machine, missing, versions
from benchmarks.fetch.verifiers import fetched_copy, verifiers
from benchmarks.fetch.web import Web

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_RESULTS = Path(__file__).parents[1] / "results"
_HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "grokdist-benchmarks"
_START_FILES = 10_000
_LONG = 4
GROUPS = (
    "http-large",
    "http-small",
    "swarm-large",
    "swarm-small",
    "both",
    "verify-large",
    "verify-small",
    "verify-long",
    "verify-cold",
    "start",
    "memory",
)


class Bench:
    """One run of the benchmark: where things are, and a method for each group of contests."""

    def __init__(self, options: argparse.Namespace, peers: Peers, address: str) -> None:
        self.home: Path = options.home.absolute()
        self.options = options
        self.address = address
        self.arena = Arena(home=self.home, repeats=options.repeats, warm=options.warm, say=_say)
        self.peers = peers

    def run(self, group: str) -> dict[str, Any]:
        """One group's figures, and the circumstances."""
        kind, _, which = group.partition("-")
        contest: Callable[[str], tuple[Payload, list[Figures]]] = getattr(self, f"_{kind}")
        before = os.getloadavg()[0]
        payload, figures = contest(which)
        return {
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "load_before": round(before, 2),
            "cores": os.cpu_count(),
            "machine": f"{machine()}, {file_system(self.home)}",
            "repeats": self.options.repeats,
            "files": len(payload.files),
            "bytes": payload.size,
            "command": self.options.command,
            "ceilings": asdict(measure_ceilings(self.home, write=min(payload.size, 1 << 28))),
            "limit": self.options.rate if kind == "both" else None,
            "figures": document(figures),
        }

    def _payload(self, which: str) -> Payload:
        name = which if which in ("small", "long") else "large"
        files = self.options.small_files if name == "small" else self.options.files
        size = self.options.size * (_LONG if name == "long" else 1)
        payload = make_payload(self.home, name, files=files, size=size)
        warm(payload)
        return payload

    def _web(self, payload: Payload) -> Web:
        lacking = missing("nginx")
        if lacking is not None:
            raise LookupError(lacking)
        return Web([payload], home=self.home / "web", address=self.address)

    def _http(self, which: str) -> tuple[Payload, list[Figures]]:
        payload = self._payload(which)
        with self._web(payload) as web:
            contestants = http_clients(payload, web, self.peers, self.home)
            return payload, fetch_contest(self.arena, payload, contestants)

    def _swarm(self, which: str) -> tuple[Payload, list[Figures]]:
        payload = self._payload(which)
        with Swarm(payload, home=self.home / "swarm", address=self.address) as swarm:
            contestants = swarm_clients(payload, swarm, self.home)
            return payload, fetch_contest(self.arena, payload, contestants)

    def _both(self, _: str) -> tuple[Payload, list[Figures]]:
        lacking = missing("nginx", "tc", "ip", "nsenter", "unshare")
        if lacking is not None:
            raise LookupError(lacking)
        payload = self._payload("large")
        return payload, both_contest(self.arena, payload, self.address, self.options.rate)

    def _verify(self, which: str) -> tuple[Payload, list[Figures]]:
        payload = self._payload(which)
        copy = fetched_copy(payload, self.home)
        cold = which == "cold"

        def before() -> None:
            if cold:
                evict([payload.directory, copy])

        def run(web: Web | None) -> list[Figures]:
            contestants = verifiers(payload, copy, web, self.peers, self.home)
            return verify_contest(self.arena, payload, copy, contestants, before=before)

        if missing("nginx") is not None:
            return payload, run(None)
        with self._web(payload) as web:
            return payload, run(web)

    def _start(self, _: str) -> tuple[Payload, list[Figures]]:
        files = min(_START_FILES, self.options.start_files)
        payload = make_payload(self.home, "start", files=files, size=files * 4096, alike=True)
        return payload, self._ours(payload, watch=True)

    def _memory(self, _: str) -> tuple[Payload, list[Figures]]:
        payload = make_payload(
            self.home,
            "memory",
            files=_LONG * self.options.files,
            size=_LONG * self.options.size,
            alike=True,
        )
        return payload, self._ours(payload, watch=False)

    def _ours(self, payload: Payload, *, watch: bool) -> list[Figures]:
        with self._web(payload) as web:
            contestants = http_clients(payload, web, self.peers, self.home)
            ours = [each for each in contestants if each.name.startswith("grokdist")]
            return fetch_contest(self.arena, payload, ours, watch=watch)


def main() -> None:
    """Run what was asked for, and write JSON and Markdown."""
    options = _options()
    options.command = _command(sys.argv[1:])
    _compile()
    # Before the namespace: there is no way out of it.
    options.home.mkdir(parents=True, exist_ok=True)
    peers = install_peers(options.home.absolute(), allowed=not options.no_install)
    address = "127.0.0.1" if options.no_namespace else enter("benchmarks.fetch", sys.argv[1:])
    adopt_orphans()
    # So that servers are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options, peers, address)
    options.output.mkdir(parents=True, exist_ok=True)
    raw = options.output / "fetch.json"
    results: dict[str, Any] = json.loads(raw.read_text("utf-8")) if raw.is_file() else {}
    results["versions"] = {**results.get("versions", {}), **versions(bench.peers)}
    groups = results.setdefault("groups", {})
    bench.arena.clean()
    try:
        for group in options.only.split(",") if options.only else GROUPS:
            _say(f"== {group}")
            try:
                groups[group] = bench.run(group)
            except LookupError as error:
                groups[group] = {"missing": str(error)}
                _say(str(error))
            raw.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            (options.output / "fetch.md").write_text(render(results), "utf-8")
    finally:
        bench.arena.clean()
    print(render(results))


def _compile() -> None:
    """Compile grokdist's modules, as pip does when it installs, and did for the others.

    Else each run would where Python is told not to write what it compiled.
    """
    for package in (grokdist, benchmarks):
        compileall.compile_dir(package.__path__[0], quiet=2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fetch",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--size", type=_size, default=2 << 30, help="bytes, e.g. 64M (2G)")
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--small-files", type=int, default=2000)
    parser.add_argument("--start-files", type=int, default=_START_FILES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rate", default="500mbit", help="limit of each link for 'both'")
    parser.add_argument(
        "--warm",
        type=_size,
        default=0,
        help="memory to touch before each run, on machines that give free memory back (0)",
    )
    parser.add_argument("--only", default="", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--home", type=Path, default=_HOME, help="payloads, programs, copies")
    parser.add_argument("--output", type=Path, default=_RESULTS)
    parser.add_argument("--no-install", action="store_true", help="no peers from package indexes")
    parser.add_argument("--no-namespace", action="store_true", help="stay on 127.0.0.1")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - {"", *GROUPS}
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} is not of {', '.join(GROUPS)}")
    return options


def _command(arguments: list[str]) -> str:
    """The command as the page shows it: without places that are this machine's own."""
    shown = re.sub(r"--(home|output)[ =]\S+ ?", "", shlex.join(arguments))
    return f"python -m benchmarks.fetch {shown}".strip()


def _size(text: str) -> int:
    unit = _UNITS.get(text[-1:].upper(), 1)
    return int(text[:-1] if unit > 1 else text) * unit


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
