"""README says what the code does: commands, help and exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from grokdist.catalog.trust_root import ROOT_SHA256
from grokdist.cli.exit_codes import MEANINGS
from grokdist.cli.main import app


def _readme(repository: Path) -> str:
    return (repository / "README.md").read_text("utf-8")


def test_exit_code_table_equals_the_code(repository: Path) -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", _readme(repository), re.MULTILINE)
    assert [(int(code), text) for code, text in rows] == [
        (int(code), text) for code, text in MEANINGS.items()
    ]


def test_command_table_equals_the_help(repository: Path) -> None:
    rows = re.findall(r"^\| `grokdist (\S+)` \| (.+?) \|$", _readme(repository), re.MULTILINE)
    group: Any = typer.main.get_command(app)
    commands = [
        (name, command.help.partition("\n")[0].strip()) for name, command in group.commands.items()
    ]
    assert rows == commands


def test_the_two_commands_stand_on_the_first_screen(repository: Path) -> None:
    first_screen = "\n".join(_readme(repository).splitlines()[:40])
    assert 'pip install . && grokdist run "To be, or not to be"' in first_screen
    assert "pip install '.[test]' && pytest" in first_screen


def test_trust_root_fingerprint_is_the_one_in_the_code(repository: Path) -> None:
    for name in ("README.md", "SECURITY.md"):
        assert ROOT_SHA256 in (repository / name).read_text("utf-8"), name
