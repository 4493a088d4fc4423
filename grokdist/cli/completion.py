"""Shell completions: the script for a shell, and the names that it completes.

A shell runs ``grokdist`` for every tab, so names come from the names of files: nothing is verified
or parsed for them. What a completed name then means is checked by the command that takes it.
"""

from __future__ import annotations

from enum import StrEnum

PROGRAM = "grokdist"
ASKED = "_GROKDIST_COMPLETE"
"""Set in the environment by a shell that asks for completions."""


class Shell(StrEnum):
    """Shells that there are completions for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(shell: Shell) -> str:
    """What the shell is to read once, for example in its start-up file."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name=PROGRAM, complete_var=ASKED, shell=shell.value)


def prepare() -> None:
    """Make the command line able to answer shells; only where one asks, since it costs time."""
    from typer._completion_classes import completion_init

    completion_init()


def model_names(incomplete: str) -> list[str]:
    """Models that can be named: those of the catalog, of followed registries, and those here."""
    from grokdist.catalog.followed_registries import FollowedRegistries
    from grokdist.catalog.registry import Registry
    from grokdist.errors import GrokdistError

    names = set(_here())
    try:
        names |= {each.stem for each in (Registry.embedded().folder / "models").glob("*.json")}
        followed = FollowedRegistries()
        for registry in followed.names():
            folder = followed.get(registry).registry().folder
            names |= {f"{registry}:{each.stem}" for each in (folder / "models").glob("*.json")}
    except (OSError, GrokdistError):
        pass  # whatever is wrong, the command that is run will say it
    return sorted(name for name in names if name.startswith(incomplete))


def fetched_names(incomplete: str) -> list[str]:
    """Models that are here, whole or in part."""
    return sorted(name for name in _here() if name.startswith(incomplete))


def _here() -> list[str]:
    from grokdist.settings import home

    try:
        return [each.name for each in (home() / "models").iterdir() if each.is_dir()]
    except OSError:
        return []
