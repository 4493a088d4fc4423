"""``grokdist rm``: take a model off this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import completion, options
from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.errors import UnknownModelError, UsageError

if TYPE_CHECKING:
    from grokdist.transfer.store import Placed, Store


def rm(
    model: Annotated[
        str,
        typer.Argument(
            help="Name, name@revision or directory.", autocompletion=completion.fetched_names
        ),
    ],
    files: Annotated[
        bool,
        typer.Option("--files", help="Also the files of a folder outside the store."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove a model from this machine, whole; a folder outside the store is only forgotten.

    A model that another process fetches, checks, runs or shares is not removed.
    """
    from grokdist.cli.progress import showing
    from grokdist.transfer.removal import remove
    from grokdist.transfer.store import Store

    out = Output(json=json, quiet=quiet, verbose=verbose)
    store = Store()
    placed = _one(store, model)
    deleting = placed.inside or files
    if not placed.inside and not files and placed.note is None:
        raise UsageError(
            f"{placed.directory} is outside the store, which does not remember it;"
            " expected --files, to remove the files that its receipt lists",
            hint=f"grokdist rm {model} --files",
        )
    if deleting and not yes:
        _ask(placed, out)
    with showing(out) as progress:
        removed = remove(store, placed, files=files, progress=progress)
    name = f"{placed.name}@{placed.short[:12]}"
    if deleting:
        said = (
            f"removed {name}: {count_text(removed.files, 'file')}, {bytes_text(removed.bytes)}"
            f" in {placed.directory}"
        )
    else:
        said = f"forgot {name}; its files stay in {placed.directory}"
    if deleting and removed.kept:
        said += f"\n{count_text(removed.kept, 'file')} there that no receipt lists, kept"
    out.result(
        {
            "model": placed.name,
            "revision": placed.short,
            "dir": str(placed.directory),
            "deleted": deleting,
            "files": removed.files,
            "bytes": removed.bytes,
            "kept": removed.kept,
        },
        said,
    )


def _one(store: Store, model: str) -> Placed:
    """The one release that is meant.

    Raises:
        UnknownModelError: none is here by that name.
        UsageError: several are.
    """
    from grokdist.catalog import registries
    from grokdist.transfer.removal import candidates

    registry, name = registries.split(model)
    if registry is None:
        vouching = registries.vouching(model.partition("@")[0])
        found = candidates(store, model, registries=vouching)
    else:
        found = candidates(store, name, registries=(registry,), by_path=False)
    if not found:
        raise UnknownModelError(
            f"{model} is not on this machine; expected the name or directory of a fetched model",
            hint="grokdist list",
        )
    if len(found) > 1:
        names = [f"{each.name}@{each.short}" for each in found]
        # One release in several folders is told apart by the folder alone.
        unique = names.count(names[0]) == 1
        raise UsageError(
            f"{model} is here {len(found)} times; expected one of "
            + ", ".join(
                f"{name} in {each.directory}" for name, each in zip(names, found, strict=True)
            ),
            hint=f"grokdist rm {names[0] if unique else shlex.quote(str(found[0].directory))}",
        )
    return found[0]


def _ask(placed: Placed, out: Output) -> None:
    if out.json or not sys.stdin.isatty():
        raise UsageError(
            f"nobody can be asked whether to remove {placed.directory}; expected --yes"
        )
    what = "" if placed.inside else " the files of the receipt in"
    typer.confirm(f"Remove{what} {_shown(placed.directory)}?", err=True, abort=True)


def _shown(directory: Path) -> str:
    from grokdist.cli.format import plain_text

    return plain_text(str(directory))
