"""Hash trees come behind a fetch: what is verified is said, and stays said, without them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import grokdist
from grokdist.cli.exit_codes import ExitCode
from grokdist.transfer.tree_builder import TreeBuilder
from tests.cli.conftest import Cli

BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"


def _events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def _roots(directory: Path) -> list[str | None]:
    receipt = json.loads((directory / ".grokdist/receipt.json").read_bytes())
    return [file.get("pieces_root") for file in receipt["files"]]


def _argv(tmp_path: Path) -> tuple[str | Path, ...]:
    where = ("--dir", tmp_path / "d", "--events", tmp_path / "events")
    return ("fetch", "grok-mini", "--source", f"local={BUNDLED}", "--json", *where)


def test_all_is_said_and_recorded_before_the_trees_are_waited_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = TreeBuilder.wait
    recorded: list[bool] = []

    def late(
        self: TreeBuilder, stop: threading.Event, on_progress: Callable[[int, int], None]
    ) -> bool:
        recorded.append((tmp_path / "d/.grokdist/receipt.json").exists())
        return wait(self, stop, on_progress)

    monkeypatch.setattr(TreeBuilder, "wait", late)
    ended = cli(*_argv(tmp_path))
    assert ended.json["verified"] is True
    assert recorded == [True]
    assert all(_roots(tmp_path / "d"))
    events = _events(tmp_path / "events")
    assert events[-1] == "done"
    assert events.index("verified") < events.index("trees")


def test_an_interrupt_among_the_trees_takes_nothing_back(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TreeBuilder, "wait", interrupted)
        ended = cli(*_argv(tmp_path))
    assert ended.code == ExitCode.INTERRUPTED
    assert ended.json["verified"] is True
    assert "all files are verified" in ended.err
    assert _events(tmp_path / "events")[-1] == "interrupted"
    assert cli("verify", tmp_path / "d").code == 0
    assert cli(*_argv(tmp_path)).json["fetched_bytes"] == 0
    assert all(_roots(tmp_path / "d"))
