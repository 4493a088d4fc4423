"""What a command prints, and what it keeps from the terminal."""

from __future__ import annotations

import json
import sys

import pytest

from grokdist.cli.output import Output, begin

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


def test_stdout_has_one_document_whatever_comes_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for first in (True, False):  # the next command has its own
        begin()
        out = Output(json=True)
        if first:
            out.result({"verified": True}, "")
        out.error("interrupted", None, 130)
        said = capsys.readouterr()
        assert ("error" not in json.loads(said.out)) is first
        assert said.err == "error: interrupted\n"
