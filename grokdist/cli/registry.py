"""``grokdist registry``: the group, and what concerns the registries of others.

Commands for a registry of one's own are in ``registry_own``; ``add`` and ``remove`` do both, as
they are given a folder or a name. ``registry_text`` words the longer answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import options
from grokdist.cli.output import Output
from grokdist.cli.registry_own import init, publish, rotate, say_drafts, sign
from grokdist.cli.waiting import waiting
from grokdist.errors import GrokdistError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.registry_update import Update


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Publish a registry of your own, and follow those of others.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("init")(reported(init))
    group.command("add")(reported(add))
    group.command("remove")(reported(remove))
    group.command("sign")(reported(sign))
    group.command("rotate")(reported(rotate))
    group.command("publish")(reported(publish))
    group.command("list")(reported(list_registries))
    group.command("update")(reported(update))
    return group


def add(
    where: Annotated[
        str, typer.Argument(metavar="DIR|NAME", help="A registry's folder; or a name to follow by.")
    ],
    what: Annotated[
        list[str], typer.Argument(metavar="FILE...|URL", help="Manifests; or the address.")
    ],
    root: Annotated[
        Path | None, typer.Option(help="Follow the registry at URL, trusting this root file.")
    ] = None,
    targets_url: Annotated[
        str | None, typer.Option(help="Where its targets lie, if not beside its metadata.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Add manifests to a registry (DIR FILE...), or follow one (NAME URL --root FILE)."""
    out = Output(json=json, quiet=quiet, verbose=verbose)
    is_url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", what[0]) is not None
    if root is not None:
        if len(what) != 1:
            raise UsageError(f"{len(what)} addresses were given with --root; expected one")
        _follow(out, where, what[0], root, targets_url)
        return
    if is_url:
        raise UsageError(
            f"{what[0]} can be followed by a root file only; expected --root FILE",
            hint=f"grokdist registry add {where} {what[0]} --root root.json",
        )
    if targets_url is not None:
        raise UsageError("--targets-url goes with --root FILE")
    from grokdist.catalog.manifest_file import manifest_from_file
    from grokdist.catalog.registry_draft import draft_manifests

    manifests = [manifest_from_file(Path(file)).raw for file in what]
    change = draft_manifests(Path(where), manifests, now=datetime.now(UTC))
    say_drafts(out, Path(where), [] if change is None else [change])


def remove(
    where: Annotated[
        str, typer.Argument(metavar="DIR|NAME", help="A registry's folder; or one you follow.")
    ],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Models to list no longer.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Take models out of a registry (DIR MODEL...), or follow one no longer (NAME)."""
    out = Output(json=json, quiet=quiet, verbose=verbose)
    if models:
        from grokdist.catalog.registry_draft import draft_manifests

        change = draft_manifests(Path(where), [], remove=models, now=datetime.now(UTC))
        say_drafts(out, Path(where), [] if change is None else [change])
        return
    from grokdist.catalog.followed_registries import FollowedRegistries

    FollowedRegistries().remove(where)
    out.result({"name": where, "followed": False}, f"{where} is followed no longer")


def list_registries(
    where: Annotated[
        str | None,
        typer.Argument(metavar="[DIR|NAME]", help="A registry's folder; or one you follow."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the registries that you follow; or the roles, keys and drafts of a folder."""
    from grokdist.cli.registry_text import folder_answer, followed_answer

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if where is not None and Path(where).is_dir():
        out.result(*folder_answer(Path(where)))
    else:
        out.result(*followed_answer(where, out))


def update(
    name: Annotated[
        str | None, typer.Argument(help="A registry that you follow; default: all of them.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fetch what is new of the registries that you follow; what cannot be trusted is refused."""
    from grokdist.catalog.followed_registries import FollowedRegistries
    from grokdist.cli.exit_codes import ExitCode, exit_code_for
    from grokdist.transfer.registry_fetcher import RegistryFetcher

    out = Output(json=json, quiet=quiet, verbose=verbose)
    followed = FollowedRegistries()
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    code = ExitCode.OK
    for each in [name] if name is not None else followed.names():
        try:
            with waiting(out, f"updating {each}"):
                done = followed.update(each, RegistryFetcher(each))
        except GrokdistError as error:
            if name is not None:
                raise
            code = max(code, exit_code_for(error))
            out.warning(str(error))
            rows.append({"name": each, "ok": False, "error": str(error), "hint": error.hint})
            lines.append(f"{each}: not updated")
            continue
        rows.append(_update_document(done))
        lines.append(_update_line(done, out))
    out.result({"registries": rows}, "\n".join(lines) or "no registry is followed")
    if code:
        raise typer.Exit(code)


def _follow(out: Output, name: str, url: str, root: Path, targets_url: str | None) -> None:
    from grokdist.bounded_file import TooLargeError, read_bounded
    from grokdist.catalog.followed_registries import FollowedRegistries
    from grokdist.catalog.trusted_metadata import MAX_METADATA_BYTES
    from grokdist.transfer.registry_fetcher import RegistryFetcher

    try:
        pinned = read_bounded(root, MAX_METADATA_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(f"{root} cannot be read: {error}; expected a root file") from error
    except TooLargeError as error:
        raise UsageError(f"{root} has more than {MAX_METADATA_BYTES} bytes") from error
    with waiting(out, f"fetching {name}"):
        done = FollowedRegistries().add(
            name, url, pinned, RegistryFetcher(name), targets_url=targets_url
        )
    line = _update_line(done, out)
    out.result(
        _update_document(done),
        f"{line}\nits root has the sha256 {done.followed.root_sha256}; compare it with what the"
        " publisher says",
    )


def _update_document(done: Update) -> dict[str, Any]:
    from grokdist.cli.registry_text import time_text

    followed = done.followed
    verified = followed.registry().verify()
    return {
        "name": followed.name,
        "ok": True,
        "url": followed.url,
        "root_sha256": followed.root_sha256,
        "root_version": verified.root_version,
        "models": list(followed.registry().names()),
        "added": list(done.added),
        "changed": list(done.changed),
        "removed": list(done.removed),
        "expires": time_text(verified.expires),
        "checked": followed.checked,
        "notes": list(done.notes),
    }


def _update_line(done: Update, out: Output) -> str:
    for note in done.notes:
        out.warning(f"registry {done.followed.name}: {note}")
    parts = [
        f"{verb} {', '.join(names)}"
        for verb, names in (
            ("new:", done.added),
            ("changed:", done.changed),
            ("gone:", done.removed),
        )
        if names
    ]
    return f"{done.followed.name}: {'; '.join(parts) or 'nothing new'}"
