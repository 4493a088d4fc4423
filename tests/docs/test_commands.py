"""Every command that a page shows is one that the command line takes, run by a test or not."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from grokdist.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in (REPOSITORY, REPOSITORY / "docs", REPOSITORY / "tools")
    for path in (folder.glob("*.md") if folder == REPOSITORY else folder.rglob("*.md"))
    if "reference" not in path.parts
)
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`grokdist ([^`]+)`")
REDIRECTED = re.compile(r"\s\d*>[>&]?\s*\S+")
ENDS = re.compile(r"[;&|()<>]+")
PROMPT = "$ "


def commands(text: str) -> list[list[str]]:
    """The words behind ``grokdist`` of each command in the blocks of a page."""
    found = []
    for kind, block in BLOCK.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if kind == "text":  # a transcript
            lines = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
        for line in lines:
            if "grokdist" not in line:
                continue
            lexer = shlex.shlex(REDIRECTED.sub(" ", line), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not ENDS.fullmatch(word):
                    words.append(word)
                    continue
                if words[:1] == ["do"]:
                    words = words[1:]
                if words[:1] == ["grokdist"]:
                    found.append(words[1:])
                words = []
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words behind them."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words:
        if words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        elif "make" in command.commands:  # which is what `attest MODEL` does
            command = command.commands["make"]
        else:
            assert words[0].startswith("-"), words
            break
    return command, words


def test_commands_are_found_where_they_stand() -> None:
    page = "```sh\ngrokdist a 'b c' > x 2>&1 # d\nx && grokdist e | y\n```\n"
    page += "```sh\nfor z in 1; do grokdist f; done\n```\n"
    page += "```text\n$ grokdist g \\\n  h\ngrokdist: said\n```\n"
    assert commands(page) == [["a", "b c"], ["e"], ["f"], ["g", "h"]]


@pytest.mark.parametrize("page", PAGES)
def test_the_command_line_takes_every_command_of_the_page(page: str) -> None:
    for words in commands((REPOSITORY / page).read_text("utf-8")):
        command, rest = command_of(words)
        if not hasattr(command, "commands"):
            command.make_context(words[0], list(rest))


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_flags_that_the_prose_names_exist(page: str) -> None:
    prose = BLOCK.sub("", (REPOSITORY / page).read_text("utf-8"))
    for text in INLINE.findall(prose):
        # Words in capitals, dots and bars stand for what a reader puts there.
        words = re.sub(r"\s+", " ", text).split(" ")
        if not re.fullmatch(r"[a-z-]+", words[0]):
            continue
        command, rest = command_of([word for word in words if word != "|"])
        known = {
            flag for option in command.params for flag in (*option.opts, *option.secondary_opts)
        }
        named = {match for word in rest for match in re.findall(r"--[a-z][a-z-]*", word)}
        assert named <= known | {"--help"}, text
