"""What progress says, on a real terminal and where there is none."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import pytest

import grokdist
from grokdist.cli.frame import frame
from grokdist.cli.output import Output
from grokdist.cli.progress import (
    LineProgress,
    LiveProgress,
    progress_for,
    showing,
    showing_load,
)
from grokdist.transfer.progress import NoProgress, SourceState
from tests.servers.hub_server import Faults, HubServer, wait_until
from tools.terminal_screen import Screen


def test_the_listener_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_for(Output(quiet=True)), NoProgress)
    assert isinstance(progress_for(Output()), LineProgress)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_for(Output()), LiveProgress)
    for term in ("dumb", "unknown"):
        monkeypatch.setenv("TERM", term)
        assert isinstance(progress_for(Output()), LineProgress)


def test_one_trouble_is_said_once_and_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for progress in (LineProgress(Output()), LiveProgress(Output())):
        for message in ("the hub is slow", "the hub is slow", "a \x1b[2Jlie", "the hub is slow"):
            progress.note(message)
        assert capsys.readouterr().err == "the hub is slow\na \\x1b[2Jlie\n"


def test_a_line_tells_files_bytes_rate_and_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("grokdist.cli.progress.time.monotonic", lambda: now[0])
    with showing(Output()) as progress:
        progress.begin("fetch", files=2, size=4_000_000, have=1_000_000)
        progress.file_done("a", 1_000_000, "hub:x/y")
        now[0] = 9.0
        progress.source("torrent:z", SourceState(peers=3))
        assert capsys.readouterr().err == ""
        now[0] = 12.0
        progress.advance("hub:x/y", "b", 2_000_000)
        assert capsys.readouterr().err == (
            "fetching 1/2 files, 3.0 MB of 4.0 MB, 200.0 kB/s, 5 s left,"
            " torrent:z 0 B from 3 peers, hub:x/y 2.0 MB\n"
        )
        now[0] = 40.0
        progress.source("torrent:z", SourceState(peers=3))
        assert "3.0 MB of 4.0 MB, 0 B/s, torrent:z" in capsys.readouterr().err


_FOREIGN = ("NO_COLOR", "COLUMNS", "LINES")


def test_trees_that_take_long_are_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("grokdist.cli.progress.time.monotonic", lambda: now[0])
    with showing(Output()) as progress:
        progress.begin("fetch", files=2, size=4, have=0)
        progress.end()
        progress.trees(0, 2)
        now[0] = 11.0
        progress.trees(1, 2)
    assert capsys.readouterr().err == "all verified; building hash trees 1/2 files\n"


CHILD = """
    import sys, time
    from grokdist.cli.output import Output
    from grokdist.cli.progress import showing
    from grokdist.transfer.progress import SourceCondition, SourceState

    with showing(Output()) as progress:
        progress.begin("fetch", files=3, size=4_000_000, have=1_000_000)
        progress.file_begun("ckpt-0/gewicht-\\u00e4", size=2_000_000, have=0)
        progress.claim("hub:acme/tiny", "ckpt-0/gewicht-\\u00e4", 0)
        progress.advance("hub:acme/tiny", "ckpt-0/gewicht-\\u00e4", 1_000_000)
        progress.source("hub:acme/tiny", SourceState(connections=2))
        resting = SourceState(condition=SourceCondition.RESTING, reason="tracker dead \\x1b[2J")
        progress.source("torrent:abc", resting)
        progress.note("a note that stays above \\u00e4")
        time.sleep(1.3)
        print("seen", flush=True)
        sys.stdin.readline()
        progress.end()
        progress.trees(1, 3)
        time.sleep(0.5)
        progress.trees(3, 3)
    print("after", file=sys.stderr)
"""


def _on_a_terminal(
    repository: Path, *, columns: int = 80, rows: int = 24, **environment: str
) -> tuple[list[str], Screen, str]:
    """Run the child with stderr on a terminal: the screen while it waits, at its end, and raw."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, columns))
    inherited = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        cwd=repository,
        env={**inherited, "PYTHONPATH": ".:runtime", "TERM": "xterm-256color"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    screen = Screen(columns=columns, rows=rows)
    decoder = codecs.getincrementaldecoder("utf-8")()
    raw = ""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "seen\n"
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
        raw += decoder.decode(_drain(ours))
        screen.feed(raw)
        during = screen.lines()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.read() == ""
        assert child.wait(timeout=60) == 0
        rest = decoder.decode(_drain(ours))
        screen.feed(rest)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        os.close(ours)
    return during, screen, raw + rest


def _drain(fd: int) -> bytes:
    data = b""
    while True:
        try:
            more = os.read(fd, 1 << 16)
        except (BlockingIOError, OSError):
            return data
        if not more:
            return data
        data += more


def test_a_terminal_shows_the_whole_the_sources_and_the_files(repository: Path) -> None:
    during, screen, raw = _on_a_terminal(repository)
    assert during[0] == "a note that stays above ä"
    assert during[1].startswith("fetching  2.0 MB of 4.0 MB  ")
    assert during[1].endswith("0/3 files")
    assert during[2].endswith("  50.0%")
    assert during[3].startswith("  hub:acme/tiny                 1.0 MB")
    assert during[3].endswith("/s  2 connections")
    assert during[4].startswith("  torrent:abc                      0 B      0 B/s  resting: tr")
    assert during[5].startswith("    ckpt-0/gewicht-ä  ")
    assert during[5].endswith("  50%  1.0 MB of 2.0 MB")
    assert screen.lines() == ["a note that stays above ä", "after"]
    assert screen.cursor_shown
    assert "\x1b[36m" in raw
    assert "building hash trees  1/3 files" in raw


def test_a_narrow_terminal_is_not_wrapped(repository: Path) -> None:
    during, screen, _ = _on_a_terminal(repository, columns=30, rows=8)
    assert during[1] == "fetching  2.0 MB of 4.0 MB"
    assert len(during) == 6
    assert screen.lines() == ["a note that stays above ä", "after"]


def test_no_color_has_none(repository: Path) -> None:
    _, _, raw = _on_a_terminal(repository, NO_COLOR="1")
    assert not any(f"\x1b[{colour}m" in raw for colour in (31, 32, 33, 36))


def test_a_terminal_without_unicode_gets_ascii(repository: Path) -> None:
    during, screen, raw = _on_a_terminal(repository, PYTHONIOENCODING="ascii")
    assert raw.isascii()
    assert during[2].startswith("####")
    assert screen.lines() == ["a note that stays above \\xe4", "after"]


def test_a_dumb_terminal_gets_lines(repository: Path) -> None:
    during, screen, raw = _on_a_terminal(repository, TERM="dumb")
    assert during == ["a note that stays above ä"]
    assert "\x1b" not in raw
    assert screen.lines() == ["a note that stays above ä", "after"]


def test_an_interrupted_fetch_leaves_the_terminal_as_it_was(
    repository: Path, tmp_path: Path
) -> None:
    bundled = Path(grokdist.__file__).parent / "bundled/grok-mini"
    path = "ckpt-0/tensor00000_000"
    files = {path: (bundled / path).read_bytes()}
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    written = bytearray()
    with HubServer(files, faults=Faults(throttle=100_000)) as server:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "grokdist", "fetch", "grok-mini", "--source", "https"),
                *("--source", server.mirror, "--dir", tmp_path / "d", "--include", path),
            ],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": ".:runtime", "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        os.set_blocking(ours, False)

        def shows(words: bytes) -> bool:
            written.extend(_drain(ours))
            return words in written

        try:
            wait_until(lambda: shows(path.encode()))
            child.send_signal(signal.SIGINT)
            assert child.wait(timeout=60) == 130
            shows(b"")
        finally:
            child.kill()
            child.wait()
            os.close(ours)
    screen = Screen(columns=80, rows=24)
    screen.feed(written.decode())
    assert screen.cursor_shown
    assert screen.lines()[-2:] == [
        "error: interrupted",
        "hint: run the same command again to go on",
    ]
    assert not any(path in line for line in screen.lines())


def test_a_load_is_shown_once_it_takes_a_second_and_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    seen: list[str] = []
    monkeypatch.setattr("grokdist.cli.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(LiveProgress, "_show", lambda live: seen.append(whole(live)))

    def whole(live: LiveProgress) -> str:
        return "".join(span.text for span in frame(live.view(), width=80, height=9)[0])

    with showing_load(Output()) as on_bytes:
        now[0] = 9.0
        on_bytes(1_000_000, 4_000_000)
    assert seen == []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with showing_load(Output()) as on_bytes:
        on_bytes(1_000_000, 4_000_000)
        now[0] += 0.9
        on_bytes(1_000_000, 4_000_000)
        assert seen == []
        now[0] += 0.2
        on_bytes(1_000_000, 4_000_000)
        assert seen == ["loading  3.0 MB of 4.0 MB  0 B/s"]
    assert capsys.readouterr().err == ""


def test_a_load_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    live = LiveProgress(Output())
    monkeypatch.setattr(live, "_clock", lambda: now[0])
    monkeypatch.setattr(live, "_show", lambda: None)
    live.begin("load", files=0, size=10_000_000, have=2_000_000)
    now[0] = 2.0
    live.advance("disk", "", 4_000_000)
    lines = frame(live.view(), width=80, height=9)
    text = "".join(span.text for span in lines[0])
    assert text == "loading  6.0 MB of 10.0 MB  2.0 MB/s  2 s left"
    assert len(lines) == 2  # no line for a file
