"""Exchange a small model with other BitTorrent clients, both ways, and write the table.

Every exchange is one of tests/interop: real programs of Debian's packages on loopback, every byte
compared. What is not installed is left out and said.

    PYTHONPATH=.:runtime python benchmarks/interop.py        # a minute or two
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import libtorrent

from tests.interop.clients import CLIENTS, PACKAGES, PROGRAMS, Client, version
from tests.interop.exchange import by_tracker, theirs_made, there_and_back

RESULTS = Path(__file__).parent / "results" / "interop.md"
VERSIONS = ("v1", "v2", "hybrid")


def main() -> None:
    """Run all exchanges and write ``benchmarks/results/interop.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=RESULTS)
    output = parser.parse_args().output
    rows: list[tuple[str, ...]] = []
    for client in CLIENTS:
        if PROGRAMS[client.program] is None:
            rows.append((client.program, "-", "-", "-", f"package {PACKAGES[client.program]}"))
            continue
        rows += _direct(client)
        rows += _tracked(client)
    if PROGRAMS["transmission-create"] is not None:
        took = _timed(lambda folder: theirs_made(CLIENTS[1], folder))
        said = f"made by transmission-create {version('transmission-create')}"
        rows.append(_row(CLIENTS[1], said, "they seed, we fetch", "v1", took))
    output.write_text(_page(rows))
    print(output.read_text())


def _direct(client: Client) -> list[tuple[str, ...]]:
    rows = []
    for kind in VERSIONS:
        if kind not in client.versions:
            rows.append(_row(client, "-", "-", kind, "its parser refuses v2 metadata"))
            continue
        took = _timed(lambda folder, kind=kind: there_and_back(client, kind, folder))  # type: ignore[misc]
        rows.append(_row(client, "direct peer", "we seed, they fetch; and back", kind, took))
    return rows


def _tracked(client: Client) -> list[tuple[str, ...]]:
    # Transmission calls no peer on loopback, so a tracker brings it nobody here.
    if PROGRAMS["opentracker"] is None or client.program.startswith("transmission"):
        return []
    kind = client.versions[-1]
    rows = []
    for scheme in ("http", "udp"):
        took = _timed(
            lambda folder, scheme=scheme: by_tracker(client, kind, folder, scheme)  # type: ignore[misc]
        )
        by = f"opentracker {scheme.upper()}"
        rows.append(_row(client, by, "we seed, they fetch; and back", kind, took))
    return rows


def _timed(exchange: Callable[[Path], None]) -> str:
    """Run one exchange in a folder of its own: how it ended, and after how long."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grokdist-interop-") as folder:
        try:
            exchange(Path(folder))
        except Exception as error:
            return f"FAILED: {type(error).__name__}: {error}"
    return f"ok, {time.monotonic() - begun:.1f} s"


def _row(client: Client, by: str, direction: str, kind: str, result: str) -> tuple[str, ...]:
    return f"{client.program} {version(client.program)}", by, direction, kind, result


def _page(rows: list[tuple[str, ...]]) -> str:
    head = ("client", "found by", "direction", "torrent", "result")
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    tracker = version("opentracker") if PROGRAMS["opentracker"] else "not installed"
    return "\n".join(
        [
            "# Interoperation with other BitTorrent clients",
            "",
            f"`python benchmarks/interop.py`, {datetime.now(UTC):%Y-%m-%d}; grokdist with"
            f" libtorrent {libtorrent.__version__}, opentracker {tracker}. 1.2 MB in five files,"
            " every byte compared, fetches with all checks of `grokdist fetch`.",
            "",
            *lines,
            "",
            "aria2 1.36 and Transmission 3.00 do not read hybrid metadata (the empty key in the v2",
            "file tree), so a torrent for them is made with `grokdist torrent create --v1`.",
            "Transmission looks for whom to serve and whom to ask every ten seconds, which is most",
            "of its time here; it calls no peer on loopback, so a tracker brings it nobody.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
