"""The transcript of a first hour is what its script types; the recorder tells when it failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.first_hour_steps import PARTS, Line
from tools.record_first_hour import RecordingError, Shell, as_text, page, play


def test_the_page_shows_what_the_script_types(repository: Path) -> None:
    text = (repository / "docs" / "first-hour.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [part.title for part in PARTS]
    shown = text
    for line in (line for part in PARTS for line in part.lines):
        typed = f"$ {line.text}\n"
        assert typed in shown, line.text
        shown = shown.partition(typed)[2]
        if line.code > 0:
            assert f"\n[{line.code}]\n" in shown.partition("\n$ ")[0] + "\n", line.text
    assert "Traceback" not in text
    assert "correct horse" not in text
    assert not re.search(r"first-hour-|/root|/home", text)


def test_a_shell_is_typed_into(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        assert play(shell, Line(text="cd ~ && pwd")).strip().endswith(str(tmp_path))
        failed = play(shell, Line(text="(exit 7)", code=7))
        assert as_text(f"$ {failed}", tmp_path) == "$ (exit 7)\n[7]"
        with pytest.raises(RecordingError, match="ended with 1"):
            play(shell, Line(text="false"))
        ask = Line(text="read -r name; echo \"'$name'\"", then=((r"\n", "Ann\n"),))
        assert "'Ann'" in play(shell, ask)
    finally:
        shell.close()


def test_a_page_has_every_part() -> None:
    text = page([(part, "$ true", 1.5) for part in PARTS])
    assert text.count("```text\n$ true\n```") == len(PARTS)
