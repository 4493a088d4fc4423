"""The lines of the progress display at every size of terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from grokdist.cli.frame import Line, frame
from grokdist.cli.tally import FileView, SourceView, View
from grokdist.transfer.progress import DISK, SourceCondition, SourceState

MB = 1_000_000


def _text(line: Line) -> str:
    return "".join(span.text for span in line)


def _source(name: str, state: SourceState, rate: float = 4.5 * MB) -> SourceView:
    return SourceView(name=name, received=812 * MB, rate=rate, state=state)


def _view(**changes: object) -> View:
    fields: dict[str, object] = {
        "task": "fetch",
        "files": 772,
        "files_done": 123,
        "size": 318_200 * MB,
        "done": 12_300 * MB,
        "rate": 45.2 * MB,
        "eta": 6768.0,
        "elapsed": 99.0,
        "sources": (
            _source("hub:xai-org/grok-1", SourceState(connections=4)),
            _source("torrent:5f96d43576e3", SourceState(peers=1)),
            _source(
                "https:https://mirror.example/models/grok-1/",
                SourceState(
                    condition=SourceCondition.RESTING, reason="503 from the server", resumes_in=12.4
                ),
                0,
            ),
            _source(DISK, SourceState()),
        ),
        "active": (
            FileView(path="ckpt-0/tensor00012_000", size=413 * MB, done=188 * MB, seconds=3),
            FileView(path="ckpt-0/gone_in_a_blink", size=413 * MB, done=1 * MB, seconds=0.1),
            FileView(path="ckpt-0/of_no_known_size", size=0, done=1 * MB, seconds=9),
        ),
        "trees": None,
        **changes,
    }
    return View(**fields)  # type: ignore[arg-type]


def test_eighty_columns() -> None:
    assert [_text(line) for line in frame(_view(), width=80, height=24)] == [
        "fetching  12.3 GB of 318.2 GB  45.2 MB/s  1 h 52 min left  123/772 files",
        "━━" + "─" * 71 + "   3.8%",
        "  hub:xai-org/grok-1          812.0 MB   4.5 MB/s  4 connections",
        "  torrent:5f96d43576e3        812.0 MB   4.5 MB/s  1 peer",
        "  https://mirr...els/grok-1/  812.0 MB      0 B/s  resting 12 s: 503 from the...",
        "    ckpt-0/tensor00012_000      " + "━" * 9 + "─" * 12 + "  45%  188.0 MB of 413.0 MB",
        "    ckpt-0/of_no_known_size  1.0 MB",
    ]


@pytest.mark.parametrize("width", [1, 10, 12, 20, 30, 40, 59, 60, 79, 81, 120, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_nothing_wraps_and_nothing_scrolls(width: int, height: int, ascii_only: bool) -> None:
    wide = FileView(path="重み/" + "層" * 60 + "\x1b[2J", size=9, done=3, seconds=3)
    view = _view(active=(wide,) * 9, sources=_view().sources * 5, trees=(1, 9))
    lines = [_text(line) for line in frame(view, width=width, height=height, ascii_only=ascii_only)]
    assert 1 <= len(lines) <= max(height - 1, 1)
    for line in lines:
        assert cell_len(line) <= max(width, 10)
        assert line.isprintable()
        assert line.isascii() or not ascii_only


def test_what_matters_most_stays_on_a_narrow_terminal() -> None:
    lines = [_text(line) for line in frame(_view(), width=40, height=24)]
    assert lines[0] == "fetching  12.3 GB of 318.2 GB  45.2 MB/s"[:40]
    assert lines[2] == "  hub:x...rok-1   4.5 MB/s  4 connect..."
    assert "45%" in lines[5]


def test_sources_beyond_six_are_counted_those_at_work_first() -> None:
    idle = SourceState(condition=SourceCondition.IDLE)
    gone = SourceState(condition=SourceCondition.GIVEN_UP, reason="refused")
    sources = tuple(
        _source(f"s{place}", idle if place % 2 else gone if place == 2 else SourceState())
        for place in range(10)
    )
    lines = [_text(line) for line in frame(_view(sources=sources), width=80, height=24)]
    assert [line.split()[0] for line in lines[2:7]] == ["s0", "s1", "s4", "s6", "s8"]
    assert lines[7] == "  and 5 more sources"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (SourceState(peers=0), "0 peers"),
        (SourceState(connections=1), "1 connection"),
        (SourceState(condition=SourceCondition.IDLE), "idle"),
        (SourceState(condition=SourceCondition.GIVEN_UP, reason="404"), "given up: 404"),
        (SourceState(condition=SourceCondition.BANNED), "given up for wrong bytes"),
    ],
)
def test_a_source_says_how_it_stands(state: SourceState, words: str) -> None:
    lines = frame(_view(sources=(_source("s", state),)), width=80, height=24)
    assert _text(lines[2]).endswith(f"  {words}")


def test_a_hundred_percent_is_only_shown_at_the_end() -> None:
    view = _view(done=318_199 * MB + 999_999)
    assert _text(frame(view, width=80, height=24)[1]).endswith(" 99.9%")
    view = _view(done=318_200 * MB)
    assert _text(frame(view, width=80, height=24)[1]).endswith("━ 100.0%")


def test_trees_that_are_still_built_are_counted() -> None:
    assert "trees 3/9" in _text(frame(_view(trees=(3, 9)), width=100, height=24)[0])
    assert "trees" not in _text(frame(_view(trees=(9, 9)), width=100, height=24)[0])


def test_trees_that_are_all_that_is_left_have_a_bar_of_their_own() -> None:
    view = _view(task="trees", files=8, files_done=2, size=0, done=0, sources=(), active=())
    assert [_text(line) for line in frame(view, width=80, height=24)] == [
        "all verified; building hash trees  2/8 files",
        "━" * 18 + "─" * 55 + "  25.0%",
    ]
