"""The commands of the documentation, run as a reader would: page by page, in order, in a shell.

A block that is not run here stands behind a comment that says why (``not run: REASON``), or which
tests run it (``run by: FILE::TEST, ...`` below ``tests/``).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```sh\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL
)
UNNAMED = re.compile(r"^```(?:bash|shell|console)?\n(?:\$ )?grokdist ", re.MULTILINE)
NAMED = re.compile(r"([\w/]+\.py)::(\w+)")
EXPECTED = re.compile(r"# exit (\d+)$")
PORT = "8000"
FASTER = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
"""How ``tests/conftest.py`` has programs compiled in less time; what they say is not looked at."""


def to_run(page: str) -> list[str]:
    """The blocks of a page that are run here."""
    return [found["lines"] for found in BLOCK.finditer(page) if found["mark"] is None]


# Reference and decisions hold no commands to follow.
PAGES = [
    "../README.md",
    *sorted(
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if path.parent.name not in ("adr", "reference")
    ),
]
RUN = [page for page in PAGES if to_run((DOCS / page).read_text("utf-8"))]


def script(page: str) -> str:
    """The shell blocks of a page as one script; a command that names an exit code must end so."""
    lines = ["set -euo pipefail"]
    for block in to_run(page):
        for line in block.splitlines():
            expected = EXPECTED.search(line)
            if expected is None:
                lines.append(line)
            else:
                command = line[: expected.start()].rstrip()
                lines.append(f"code=0; {command} || code=$?; [ $code -eq {expected[1]} ]")
    return "\n".join(lines) + "\n"


@pytest.fixture
def workplace(tmp_path: Path, repository: Path) -> Path:
    """What the pages take for granted: a stranger's folder, its record, and the command."""
    shutil.copytree(repository / "grokdist" / "bundled" / "grok-mini", tmp_path / "stranger")
    shutil.copy(repository / "tests" / "docs" / "card.yml", tmp_path / "card.yml")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "grokdist"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m grokdist "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_a_script_minds_the_exit_codes_that_a_page_names() -> None:
    page = "```sh\nfalse   # exit 1\ntrue\n```\n```json\n{}\n```\n"
    assert subprocess.run(["bash", "-c", script(page)], check=False).returncode == 0
    for wrong in ("false", "true # exit 1", "false # exit 2"):
        made = script(f"```sh\n{wrong}\ntrue\n```\n")
        assert subprocess.run(["bash", "-c", made], check=False).returncode != 0


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_here_says_why_or_where_it_is(page: str, repository: Path) -> None:
    text = (DOCS / page).read_text("utf-8")
    for mark in (found["mark"] for found in BLOCK.finditer(text) if found["mark"] is not None):
        kind, _, rest = mark.partition(": ")
        assert kind in ("not run", "run by"), mark
        assert rest, mark
        if kind == "run by":
            named = NAMED.findall(rest)
            assert [f"{file}::{name}" for file, name in named] == rest.split(", ")
            for file, name in named:
                source = (repository / "tests" / file).read_text("utf-8")
                assert f"def {name}(" in source, (page, file, name)


@pytest.mark.parametrize("page", PAGES)
def test_no_command_stands_in_a_block_of_another_kind(page: str) -> None:
    assert UNNAMED.search((DOCS / page).read_text("utf-8")) is None


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        if ":" not in link and link != "reference/commands.md":
            assert (DOCS / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", RUN)
def test_every_command_of_the_page_does_what_it_says(
    page: str, workplace: Path, repository: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    text = (DOCS / page).read_text("utf-8").replace(f":{PORT}", f":{port}")
    text = text.replace(f"http.server {PORT}", f"http.server {port}")
    text = text.replace(f"--port {PORT}", f"--port {port}")
    environment = {
        "PATH": f"{workplace / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{repository}:{repository / 'runtime'}",
        "HOME": str(workplace / "home"),
        "GROKDIST_HOME": str(workplace / "home" / "store"),
        "LC_ALL": "C.UTF-8",
        # To build the other kernels takes a compiler and seconds.
        "GROKDIST_RUN_KERNELS": "plain",
        "GROKDIST_SERVE_KERNELS": "plain",
    }
    if page != "../README.md":  # one page has what users have
        environment |= {name: os.environ[name] for name in FASTER}
    ended = subprocess.run(
        ["bash", "-c", script(text)],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    assert "Traceback" not in ended.stderr
