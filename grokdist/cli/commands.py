"""The commands by name, in the order of the help; what one needs is imported when it is asked for.

Typer makes a command of its function's signature, and for all of them that takes longer than most
take to do their work.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

COMMANDS = {
    "fetch": "fetch.fetch",
    "verify": "verify.verify",
    "sign": "sign.sign",
    "seed": "seed.seed",
    "run": "run.run",
    "score": "score.score",
    "serve": "serve.serve",
    "plan": "plan.plan",
    "show": "show.show",
    "list": "list_models.list_models",
    "path": "path.path",
    "rm": "rm.rm",
    "gc": "collect.gc",
    "openness": "openness.openness",
    "convert": "convert.convert",
    "bom": "bom.bom",
    "report": "report.report",
    "inspect": "inspect.inspect",
    "demo": "demo.demo",
    "doctor": "doctor.doctor",
    "attest": "attest.app",
    "keys": "keys.app",
    "license": "license.app",
    "manifest": "manifest.app",
    "policy": "policy.app",
    "registry": "registry.app",
    "torrent": "torrent.app",
}
"""Module of this package and the command in it, or the ``app`` that makes a group of them."""


class Commands(Mapping[str, Any]):
    """What Typer makes of the commands.

    Args:
        reported: wraps each of them.
    """

    def __init__(self, reported: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
        self._reported = reported
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def _make(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].partition(".")
        found = getattr(importlib.import_module(f"grokdist.cli.{module}"), attribute)
        alone = typer.Typer(rich_markup_mode=None)
        if attribute == "app":
            alone.add_typer(found(self._reported), name=name)
        else:
            alone.command(name)(self._reported(found))
        return typer.main.get_group(alone).commands[name]
