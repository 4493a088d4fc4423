"""What progress says where there is no terminal."""

from __future__ import annotations

import pytest

from grokdist.cli.output import Output
from grokdist.cli.progress import BarProgress, LineProgress, progress_for
from grokdist.transfer.progress import NoProgress


def test_the_listener_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_for(Output(quiet=True)), NoProgress)
    assert isinstance(progress_for(Output()), LineProgress)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_for(Output()), BarProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_for(Output()), LineProgress)


def test_one_trouble_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (LineProgress(Output()), BarProgress(Output())):
        for message in ("the hub is slow", "the hub is slow", "a peer lied", "the hub is slow"):
            progress.note(message)
        assert capsys.readouterr().err == "the hub is slow\na peer lied\n"


def test_a_line_tells_files_bytes_rate_and_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 20.0])
    monkeypatch.setattr("grokdist.cli.progress.time.monotonic", lambda: next(clock))
    progress = LineProgress(Output())
    progress.begin("fetch", files=2, size=4_000_000, have=1_000_000)
    progress.file_done("a", 1_000_000, "hub:x/y")
    progress.advance("hub:x/y", "b", 2_000_000)
    assert capsys.readouterr().err == (
        "fetching 1/2 files, 3.0 MB of 4.0 MB, 100.0 kB/s, 10.0 s left, hub:x/y 2.0 MB\n"
    )
