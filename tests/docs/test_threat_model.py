"""Each row of the threat model names an attack, a defence and a test; every such test is one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
ATTACKERS = ("mirror", "peer", "tracker", "registry", "local user", "author of a prompt")


def rows(page: str) -> list[list[str]]:
    """The rows of all tables of a page, without their heads."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "can try to" and set(row[0]) != {"-"}]


def functions_of(path: Path) -> set[str]:
    """The test functions of a file, read and not run."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "threat-model.md").read_text("utf-8")


def test_every_row_has_a_test_and_every_test_is_one(page: str, repository: Path) -> None:
    wrong = []
    for row in rows(page):
        assert len(row) == 3, row
        named = NAMED.findall(row[2])
        if not named:
            wrong.append(f"{row[0]}: names no test")
        for file, name in named:
            path = repository / "tests" / file
            if not path.is_file() or name not in functions_of(path):
                wrong.append(f"{row[0]}: {file}::{name} is no test")
    assert wrong == []


def test_each_attacker_has_a_section_and_what_is_not_defended_is_said(page: str) -> None:
    headings = [line[3:].lower() for line in page.splitlines() if line.startswith("## ")]
    for attacker in ATTACKERS:
        assert any(attacker in heading for heading in headings), attacker
    assert headings[-1] == "not defended"


def test_readers_of_the_security_policy_are_led_to_it(repository: Path) -> None:
    assert "docs/threat-model.md" in (repository / "SECURITY.md").read_text("utf-8")
