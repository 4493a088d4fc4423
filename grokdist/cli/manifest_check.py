"""``grokdist manifest check``: where two descriptions of a model differ, file by file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import count_text
from grokdist.cli.manifest_text import difference_document, difference_lines
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import FileEntry, TrustedManifest

_HUB = re.compile(r"hub:([^@]+)(?:@(.+))?")
_FACTS = ("revision", "license", "license_text")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One description of a model.

    Attributes:
        label: as it was given.
        kind: ``manifest``, ``catalog``, ``folder``, ``hub`` or ``torrent``.
        files: its files.
        facts: what it says of revision and licence, where it says it.
    """

    label: str
    kind: str
    files: tuple[FileEntry, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def check(
    a: Annotated[
        str,
        typer.Argument(
            help="A manifest file, a catalog name, a folder, hub:ORG/NAME@REVISION, or a torrent."
        ),
    ],
    b: Annotated[str, typer.Argument(help="What to compare it with, given alike.")],
    include: Annotated[
        list[str] | None, typer.Option(help="Only the files whose path matches this pattern.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Files hashed at once.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two descriptions of a model: files by size and digest, revision and licence."""
    from grokdist.catalog.comparison import compare
    from grokdist.catalog.completion import chosen

    out = Output(json=json, quiet=quiet, verbose=verbose)
    one, other = _side(a, jobs, out), _side(b, jobs, out)
    one, other = _mapped(one, other), _mapped(other, one)
    found = compare(chosen(one.files, include), chosen(other.files, include))
    facts = [
        {"fact": fact, "a": one.facts[fact], "b": other.facts[fact]}
        for fact in _FACTS
        if fact in one.facts and fact in other.facts and one.facts[fact] != other.facts[fact]
    ]
    equal = found.equal and not facts
    out.result(
        {
            "equal": equal,
            "a": {"source": one.label, "kind": one.kind, "files": len(one.files), **one.facts},
            "b": {
                "source": other.label,
                "kind": other.kind,
                "files": len(other.files),
                **other.facts,
            },
            "common_files": found.files,
            "by_size_only": list(found.by_size),
            "differences": [difference_document(each) for each in found.differences],
            "header": facts,
        },
        "\n".join(
            [
                f"{one.label} and {other.label} {'agree' if equal else 'differ'}:"
                f" {count_text(found.files, 'file')} in both,"
                f" {count_text(len(found.differences) + len(facts), 'difference')}",
                *(f"{each['fact']}: {a} {each['a']}, {b} {each['b']}" for each in facts),
                *difference_lines(found.differences, a, b),
                *(
                    [
                        f"compared by name and size only, since no digest is known to both:"
                        f" {count_text(len(found.by_size), 'file')}"
                    ]
                    if found.by_size
                    else []
                ),
            ]
        ),
    )
    if not equal:
        raise typer.Exit(ExitCode.DIGEST)


def _side(text: str, jobs: int | None, out: Output) -> Side:
    """Read what was named."""
    hub = _HUB.fullmatch(text)
    if hub is not None:
        return _of_hub(text, hub[1], hub[2] or "main", out)
    path = Path(text)
    if text.startswith("magnet:") or path.suffix == ".torrent":
        return _of_torrent(text)
    if path.is_dir():
        return _of_folder(text, path, jobs, out)
    from grokdist.cli.manifest import named_manifest

    # A name has no suffix and no slash; whatever has one is a file, there or not.
    if path.is_file() or "/" in text or path.suffix == ".json":
        return _of_manifest(text, "manifest", named_manifest(None, path, out), out)
    return _of_manifest(text, "catalog", named_manifest(text, None, out), out)


def _of_manifest(text: str, kind: str, trusted: TrustedManifest, out: Output) -> Side:
    from grokdist.api.lookup import with_files

    manifest = with_files(trusted, out, online=True).manifest
    facts = {"revision": manifest.revision, "license": manifest.license.expression}
    if manifest.license.text_sha256 is not None:
        facts["license_text"] = manifest.license.text_sha256
    return Side(label=text, kind=kind, files=manifest.files, facts=facts)


def _of_hub(text: str, repository: str, revision: str, out: Output) -> Side:
    from grokdist.cli.card import UNKNOWN, licence_of
    from grokdist.transfer.listings import Listings, hub_url

    listing = Listings().fetch(hub_url(repository), revision)
    licence = licence_of(
        listing.files,
        listing.contents.get,
        given=None,
        given_name=None,
        evidence=lambda _: None,
        out=Output(quiet=True),
    )
    facts = {"revision": listing.commit.id}
    if licence.expression != UNKNOWN:
        facts["license"] = licence.expression
    if licence.text_sha256 is not None:
        facts["license_text"] = licence.text_sha256
    return Side(label=text, kind="hub", files=listing.files, facts=facts)


def _of_folder(text: str, folder: Path, jobs: int | None, out: Output) -> Side:
    from grokdist.cli.progress import showing
    from grokdist.transfer.folder_listing import list_folder
    from grokdist.transfer.progress import DISK

    with showing(out) as progress:
        listing = list_folder(
            folder,
            jobs=jobs,
            on_begin=lambda files, size: progress.begin("check", files=files, size=size, have=0),
            on_bytes=lambda path, count: progress.advance(DISK, path, count),
        )
    return Side(label=text, kind="folder", files=listing.files)


def _of_torrent(text: str) -> Side:
    from grokdist.catalog.manifest import FileEntry
    from grokdist.transfer.torrent_pin import pin_torrent, torrent_bytes

    if not text.startswith("magnet:") and not Path(text).is_file():
        raise UsageError(f"{text} is not there; expected a .torrent file")
    found = pin_torrent(torrent_bytes(text), (), anchor=None)
    files = tuple(
        FileEntry(
            path=file.path,
            size=file.size,
            sha256=None,
            pieces_root=None if file.root is None else file.root.hex(),
        )
        for file in found.files.files
    )
    return Side(label=text, kind="torrent", files=files)


def _mapped(side: Side, other: Side) -> Side:
    """A torrent's files under the other side's paths: its folders are its author's choice."""
    if side.kind != "torrent" or other.kind == "torrent":
        return side
    from grokdist.transfer.sources.torrent_map import map_entries
    from grokdist.transfer.sources.torrent_metainfo import TorrentFile

    stand_ins = [
        TorrentFile(index=at, path=entry.path, size=entry.size, offset=0, root=None)
        for at, entry in enumerate(side.files)
    ]
    names = {file.index: path for path, file in map_entries(stand_ins, other.files).items()}
    return dataclasses.replace(
        side,
        files=tuple(
            dataclasses.replace(entry, path=names.get(at, entry.path))
            for at, entry in enumerate(side.files)
        ),
    )
