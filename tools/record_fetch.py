"""Records the progress display of a real fetch: from loopback servers, on a terminal of its own.

Writes ``docs/recordings/fetch.cast`` (asciicast v2, for asciinema and other players) and
``fetch.svg``, the screen after a third of the fetch. What is fetched is grok-mini, by its signed
manifest, from a Hub, a mirror that is busy at first, a swarm with one peer, and a repository that
is not there; all of them run in this process and are slow on purpose.

    python -m tools.record_fetch
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import html
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import grokdist
from grokdist.catalog.registry import Registry
from grokdist.transfer.seeding import Seeder
from grokdist.transfer.sources.torrent_session import SwarmSettings
from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
from tests.servers.hub_server import Faults, HubServer
from tools.terminal_screen import Screen

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 80, 24
_MAX_SECONDS = 120.0
_FRAME_S = 0.2
_COLOURS = {"31": "#f7768e", "33": "#e0af68", "36": "#7dcfff", "32": "#9ece6a", "2": "#737a9e"}
_WIDTH, _HEIGHT = 8.4, 18


def record(
    command: list[str], *, cwd: Path, environment: dict[str, str]
) -> list[tuple[float, str]]:
    """Run a command on a terminal; returns what it wrote, as (seconds, text).

    Raises:
        RuntimeError: it failed, or took too long.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    child = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    decoder = codecs.getincrementaldecoder("utf-8")()
    written: list[tuple[float, str]] = []
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < _MAX_SECONDS:
            if not select.select([ours], [], [], 0.5)[0]:
                continue
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # The other end is closed.
                data = b""
            if not data:
                break
            written.append((time.monotonic() - begun, decoder.decode(data)))
        if child.wait(timeout=10) != 0:
            raise RuntimeError("".join(text for _, text in written))
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return written


def as_cast(written: list[tuple[float, str]], title: str) -> str:
    """An asciicast, version 2; what came within a frame is one event."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": title}
    events: list[list[object]] = []
    for moment, text in written:
        if events and moment - float(str(events[-1][0])) < _FRAME_S / 10:
            events[-1][2] = f"{events[-1][2]}{text}"
        else:
            events.append([round(moment, 3), "o", text])
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *events))


def screen_at(written: list[tuple[float, str]], moment: float) -> Screen:
    """What the terminal showed at a moment."""
    screen = Screen(columns=COLUMNS, rows=ROWS)
    for at, text in written:
        if at > moment:
            break
        screen.feed(text)
    return screen


def as_svg(screen: Screen, title: str) -> str:
    """The screen as a picture that needs nothing from elsewhere."""
    lines = screen.lines()
    rows = []
    for number, line in enumerate(lines):
        x, spans = 0, []
        while x < len(line):
            style = screen.styled[number][x]
            end = x
            while end < len(line) and screen.styled[number][end] == style:
                end += 1
            colour = next((_COLOURS[part] for part in style.split(";") if part in _COLOURS), "")
            fill = f' fill="{colour}"' if colour else ""
            weight = ' font-weight="bold"' if "1" in style.split(";") else ""
            text = html.escape(line[x:end])
            spans.append(
                f'<tspan x="{12 + x * _WIDTH:.1f}"'
                f' textLength="{(end - x) * _WIDTH:.1f}"{fill}{weight}>{text}</tspan>'
            )
            x = end
        rows.append(
            f'<text y="{24 + number * _HEIGHT}" xml:space="preserve">{"".join(spans)}</text>'
        )
    width, height = COLUMNS * _WIDTH + 24, len(lines) * _HEIGHT + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}"'
            ' font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"'
            ' font-size="14" fill="#c0caf5">',
            f"<title>{html.escape(title)}</title>",
            f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#1a1b26"/>',
            *rows,
            "</svg>\n",
        ]
    )


def recorded_fetch() -> list[tuple[float, str]]:
    """Fetch grok-mini from servers of this process, on a terminal."""
    bundled = Path(grokdist.__file__).parent / "bundled/grok-mini"
    paths = [entry.path for entry in Registry.embedded().load("grok-mini").manifest.files]
    files = {path: (bundled / path).read_bytes() for path in paths}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = stack.enter_context(
            HubServer(files, repository="acme/grok-mini", faults=Faults(throttle=110_000))
        )
        mirror = stack.enter_context(
            HubServer(files, faults=Faults(throttle=70_000, slow_down=2, retry_after="4"))
        )
        torrent = create_torrent(
            bundled, paths, name="grok-mini", version=TorrentVersion.HYBRID, piece_size=1 << 16
        )
        (folder / "grok-mini.torrent").write_bytes(torrent.data)
        seeder = stack.enter_context(
            Seeder(torrent.data, bundled, settings=SwarmSettings.on_loopback(max_upload=250_000))
        )
        arguments = ["fetch", "grok-mini", "--dir", "grok-mini", "--torrent", "grok-mini.torrent"]
        arguments += ["--source", "torrent", "--source", "hub:acme/grok-mini"]
        arguments += ["--source", mirror.mirror, "--source", "hub:acme/withdrawn"]
        arguments += ["--peer", f"127.0.0.1:{seeder.port}"]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'runtime'}",
            "GROKDIST_HOME": str(folder / "home"),
            "HF_ENDPOINT": hub.endpoint,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "NO_PROXY": "*",
            "TERM": "xterm-256color",
        }
        return record(
            [sys.executable, "-m", "grokdist", *arguments], cwd=folder, environment=environment
        )


def main() -> None:
    """Record, and write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/recordings")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    written = recorded_fetch()
    title = "grokdist fetch: a Hub, a mirror and a swarm together"
    (out / "fetch.cast").write_text(as_cast(written, title), "utf-8")
    middle = screen_at(written, written[-1][0] / 3)
    (out / "fetch.svg").write_text(as_svg(middle, title), "utf-8")


if __name__ == "__main__":
    main()
