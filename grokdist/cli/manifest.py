"""``grokdist manifest pin | new | check``: write manifests, prove them, compare them.

Here is the group and ``pin``; ``new`` and ``check`` have a file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, manifest_check, manifest_new, options, swarm
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, facts_text
from grokdist.cli.manifest_text import difference_document, difference_lines
from grokdist.cli.output import Output
from grokdist.cli.waiting import waiting
from grokdist.errors import UnknownModelError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.git_listing import Listing
    from grokdist.catalog.manifest import Anchor, Manifest, TrustedManifest
    from grokdist.catalog.pinning import Arithmetic, Pinned

_BYTES_OPEN = "that the bytes served have these digests: a fetch or verify checks them"
_COMMIT_OPEN = "that the commit names that tree: grokdist manifest pin without --offline asks"


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Write manifests, prove them against what the publisher published, compare them.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("pin")(reported(pin))
    group.command("new")(reported(manifest_new.new))
    group.command("check")(reported(manifest_check.check))
    return group


def pin(
    model: Annotated[
        str | None,
        typer.Argument(
            autocompletion=completion.model_names, help="Name of a model in the catalog."
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Pin this manifest file instead of the catalog's.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask this git repository; default: the anchor's own.")
    ] = None,
    anchor: Annotated[
        str, typer.Option(help="Which anchor: hub-commit or git-commit.")
    ] = "hub-commit",
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask nobody: arithmetic, and the listing if one is kept."),
    ] = False,
    torrent: swarm.Torrent = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Hold the torrent's pieces against the fetched files here."),
    ] = None,
    peer: swarm.Peer = None,
    tracker: swarm.Tracker = None,
    dht: swarm.Dht = True,
    lsd: swarm.Lsd = True,
    output: Annotated[
        Path | None, typer.Option(help="Write the manifest, its files as proved, to this file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Prove a manifest's file list from the commit, or the infohash, that was published.

    Over git's own protocol: the commit, its trees and LFS pointers; every object id is computed
    again here, with SHA-1 collision detection. With --torrent: the infohash and the pieces.
    """
    out = Output(json=json, quiet=quiet, verbose=verbose)
    trusted = named_manifest(model, manifest, out)
    if torrent is not None:
        from grokdist.cli.manifest_torrent import pin_to_torrent

        if url is not None or output is not None:
            raise UsageError("--torrent does not go with --url or --output")
        pin_to_torrent(trusted, torrent, directory, peer, tracker, out, dht=dht, lsd=lsd)
        return
    if directory is not None or peer or tracker:
        raise UsageError("--dir, --peer and --tracker need --torrent")
    _pin_to_commit(trusted, url, anchor, output, out, offline=offline, force=force)


def named_manifest(model: str | None, file: Path | None, out: Output) -> TrustedManifest:
    """The manifest that is meant, as it was signed or written: its files not completed.

    Raises:
        UsageError: neither a name nor a file, or a name and the file of another model.
        UnknownModelError, TrustError: as ``lookup.trusted_manifest``.
    """
    import dataclasses

    from grokdist.api.lookup import trusted_manifest
    from grokdist.catalog.manifest_file import manifest_from_file
    from grokdist.catalog.parsing import parse_manifest

    if model is None:
        if file is None:
            raise UsageError("nothing to pin; expected the name of a model, or --manifest FILE")
        model = manifest_from_file(file).manifest.name
    trusted = trusted_manifest(model, file, out)
    return dataclasses.replace(trusted, manifest=parse_manifest(trusted.raw))


def _pin_to_commit(
    trusted: TrustedManifest,
    url: str | None,
    kind: str,
    output: Path | None,
    out: Output,
    *,
    offline: bool,
    force: bool,
) -> None:
    from grokdist.catalog.completion import anchor_of, complete
    from grokdist.catalog.manifest import AnchorKind
    from grokdist.catalog.pinning import arithmetic
    from grokdist.catalog.pinning import pin as held_against
    from grokdist.cli.manifest_text import write_manifest

    manifest = trusted.manifest
    if kind not in (AnchorKind.HUB_COMMIT, AnchorKind.GIT_COMMIT):
        raise UsageError(f"--anchor {kind!r} is no commit; expected hub-commit or git-commit")
    anchor = anchor_of(manifest, AnchorKind(kind))
    sums = arithmetic(manifest, anchor) if manifest.listed else None
    listing, where = _listing(manifest, anchor, url, offline=offline, out=out)
    if listing is None:
        if sums is None:
            raise UnknownModelError(
                f"the manifest of {manifest.name} lists no files to calculate with, and no listing"
                f" of commit {anchor.value} is kept here",
                hint=f"grokdist manifest pin {manifest.name}",
            )
        out.result(_sums_document(manifest, anchor, sums), _sums_text(manifest, anchor, sums))
        if sums.faults:
            raise typer.Exit(ExitCode.DIGEST)
        return
    if manifest.listed:
        pinned = held_against(manifest, anchor, listing)
        proved = trusted
    else:
        proved = complete(trusted, listing)
        pinned = held_against(proved.manifest, anchor, listing)
    document = _pin_document(manifest, anchor, pinned, sums, where)
    out.result(document, _pin_text(manifest, anchor, pinned, where))
    if pinned.differences or (sums is not None and sums.faults):
        raise typer.Exit(ExitCode.DIGEST)
    if output is not None:
        write_manifest(output, proved.manifest, force=force)
        out.note(f"wrote {output}: nobody has signed it")


def _listing(
    manifest: Manifest, anchor: Anchor, url: str | None, *, offline: bool, out: Output
) -> tuple[Listing | None, str]:
    """The listing of the anchor's commit, and where it is from."""
    from grokdist.catalog.manifest import AnchorKind, SourceKind
    from grokdist.transfer.listings import Listings, hub_url

    listings = Listings()
    if offline:
        return listings.load(anchor.value), f"objects kept in {listings.path(anchor.value).parent}"
    if url is None and anchor.kind is AnchorKind.HUB_COMMIT:
        hubs = [
            source.location
            for source in manifest.sources
            if source.kind is SourceKind.HUB and source.revision == anchor.value
        ]
        url = hub_url(hubs[0]) if hubs else anchor.repository
    url = url or anchor.repository
    if url is None:
        raise UsageError(
            f"the manifest of {manifest.name} does not say which repository commit {anchor.value}"
            " is of; expected --url"
        )
    out.detail(f"asking {url} for commit {anchor.value}")
    with waiting(out, f"fetching commit {anchor.value[:12]}, its trees and pointers"):
        return listings.fetch(url, anchor.value), url


def _sums_document(manifest: Manifest, anchor: Anchor, sums: Arithmetic) -> dict[str, Any]:
    return {
        "model": manifest.name,
        "anchor": {"kind": str(anchor.kind), "value": anchor.value},
        "proved": False,
        "pointers": sums.pointers,
        "trees": _trees(sums.trees),
        "recorded_trees": _trees(sums.recorded),
        "without_git_blob": list(sums.without_blob),
        "differences": [difference_document(each) for each in sums.faults],
        "not_proved": [_COMMIT_OPEN, _BYTES_OPEN],
    }


def _sums_text(manifest: Manifest, anchor: Anchor, sums: Arithmetic) -> str:
    if sums.faults:
        lines = difference_lines(sums.faults, "listed", "calculated")
        return "\n".join([f"{manifest.name}: the list contradicts itself", *lines])
    rows = [
        ("anchor", f"{anchor.kind} {anchor.value}"),
        ("pointers", f"{count_text(sums.pointers, 'LFS pointer')} give the git blob ids listed"),
    ]
    rows += [
        ("tree" if not path else f"tree {path}", tree + _recorded(sums, path))
        for path, tree in sums.trees.items()
        if path.count("/") == 0
    ]
    if not sums.trees:
        unknown = count_text(len(sums.without_blob), "file")
        why = f"{unknown} without a git blob" if sums.without_blob else "not all files are listed"
        rows.append(("tree", f"not known: {why}"))
    rows += [("not proved", _COMMIT_OPEN), ("", _BYTES_OPEN)]
    return f"{manifest.name}: arithmetic only, nobody was asked\n\n{facts_text(rows)}"


def _recorded(sums: Arithmetic, path: str) -> str:
    return ", as recorded" if sums.recorded.get(path) == sums.trees[path] else ""


def _pin_document(
    manifest: Manifest, anchor: Anchor, pinned: Pinned, sums: Arithmetic | None, where: str
) -> dict[str, Any]:
    listing = pinned.listing
    faults = sums.faults if sums is not None else ()
    return {
        "model": manifest.name,
        "anchor": {"kind": str(anchor.kind), "value": anchor.value},
        "source": where,
        "proved": not pinned.differences and not faults,
        "listed": manifest.listed,
        "commit": listing.commit.id,
        "tree": listing.commit.tree,
        "date": listing.commit.date,
        "objects": listing.objects,
        "files": pinned.comparison.files,
        "bytes": sum(entry.size for entry in listing.files),
        "lfs_files": sum(entry.lfs for entry in listing.files),
        "differences": [difference_document(each) for each in (*pinned.differences, *faults)],
        "left_out": list(pinned.left_out),
        "modes": dict(listing.modes),
        "list": [
            {
                "path": entry.path,
                "size": entry.size,
                "sha256": entry.sha256,
                "git_blob": entry.git_blob,
                "lfs": entry.lfs,
            }
            for entry in listing.files
        ],
        "not_proved": [_BYTES_OPEN],
    }


def _pin_text(manifest: Manifest, anchor: Anchor, pinned: Pinned, where: str) -> str:
    listing = pinned.listing
    lfs = sum(entry.lfs for entry in listing.files)
    rows = [
        ("anchor", f"{anchor.kind} {anchor.value}"),
        ("objects", f"{listing.objects:,}, every id computed again, from {where}"),
        ("tree", listing.commit.tree),
        ("date", listing.commit.date or "not given"),
        (
            "files",
            f"{count_text(len(listing.files), 'file')} in the commit,"
            f" {bytes_text(sum(entry.size for entry in listing.files))}, {lfs:,} by LFS pointer",
        ),
    ]
    if listing.modes:
        odd = ", ".join(f"{path} {mode}" for path, mode in list(listing.modes.items())[:5])
        rows.append(("modes", f"{odd}{' ...' if len(listing.modes) > 5 else ''}; others 100644"))
    if pinned.left_out:
        shown = ", ".join(pinned.left_out[:5])
        more = len(pinned.left_out) - 5
        rows.append(("left out", f"{shown}{f' and {more} more' if more > 0 else ''}"))
    rows.append(("not proved", _BYTES_OPEN))
    if pinned.differences:
        head = f"{manifest.name}: the manifest is NOT what the commit says"
        lines = difference_lines(pinned.differences, "manifest", "commit")
        return "\n".join([head, "", *lines, "", facts_text(rows)])
    subject = "its files as the commit names them" if manifest.listed else "files obtained"
    head = f"{manifest.name} pinned: {subject} ({count_text(pinned.comparison.files, 'file')})"
    return f"{head}\n\n{facts_text(rows)}"


def _trees(trees: Mapping[str, str]) -> dict[str, str]:
    """Tree ids by directory, the root under ``/``."""
    return {path or "/": tree for path, tree in trees.items()}
