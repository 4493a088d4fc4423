"""What a command prints, and what it keeps from the terminal."""

from __future__ import annotations

import sys

import pytest

from grokdist.cli.output import Output

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b1mb\tc\nd\r\u200de"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_model_writes_cannot_steer_the_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    Output().stream(HOSTILE)
    shown = capsys.readouterr().out
    if terminal:
        assert shown == "a\\x1b]0;title\\x07\\x1b[2J\\x9b1mb\tc\nd\\r\u200de"
    else:
        # A pipe gets the bytes: whoever reads them decides.
        assert shown == HOSTILE
