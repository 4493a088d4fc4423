"""The recording of the progress display is what a terminal shows."""

from __future__ import annotations

import json
from pathlib import Path

from tools.record_fetch import as_cast, as_svg, screen_at
from tools.terminal_screen import Screen


def test_the_recording_plays_on_a_screen_of_its_size(repository: Path) -> None:
    lines = (repository / "docs/recordings/fetch.cast").read_text("utf-8").splitlines()
    header, *events = [json.loads(line) for line in lines]
    assert header["version"] == 2
    screen = Screen(columns=header["width"], rows=header["height"])
    fullest: list[str] = []
    for moment, kind, text in events:
        assert moment >= 0
        assert kind == "o"
        screen.feed(text)
        fullest = max(fullest, screen.lines(), key=len)
    shown = "\n".join(fullest)
    for words in ("fetching  ", "hub:acme/grok-mini", " 1 peer", "given up: ", "/67 files"):
        assert words in shown
    assert any("verified: 67 files" in line for line in screen.lines())
    assert screen.cursor_shown


def test_a_recording_is_cut_into_frames_and_a_picture_is_well_formed() -> None:
    written = [(0.0, "\x1b[1mone"), (0.001, " <&>\x1b[0m"), (1.0, "\r\n\x1b[36mtwo\x1b[0m")]
    header, *events = [json.loads(line) for line in as_cast(written, "title").splitlines()]
    assert (header["width"], header["height"]) == (80, 24)
    assert events == [[0.0, "o", "\x1b[1mone <&>\x1b[0m"], [1.0, "o", "\r\n\x1b[36mtwo\x1b[0m"]]
    assert screen_at(written, 0.5).lines() == ["one <&>"]
    picture = as_svg(screen_at(written, 2.0), "a <title>")
    assert 'font-weight="bold">one &lt;&amp;&gt;</tspan>' in picture
    assert 'fill="#7dcfff">two</tspan>' in picture
    assert "<title>a &lt;title&gt;</title>" in picture
