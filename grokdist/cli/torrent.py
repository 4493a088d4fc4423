"""``grokdist torrent create``: a torrent of a model that any client can use."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, licence_along, options
from grokdist.cli.format import bytes_text, count_text, facts_text
from grokdist.cli.output import Output
from grokdist.errors import StoreError, UsageError

if TYPE_CHECKING:
    from grokdist.transfer.store import StoredModel
    from grokdist.transfer.torrent_create import CreatedTorrent
    from grokdist.transfer.torrent_payload import Payload

_SIZE = re.compile(r"(\d+)\s*([kKmM]?)(?:i?[bB])?")


def app(reported: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The group of commands, each wrapped by ``reported``."""
    group = typer.Typer(
        help="Make torrents of models.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    group.command("create")(reported(create))
    # With one command typer would drop its name.
    group.callback()(lambda: None)
    return group


def create(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.fetched_names,
            help="Name of a fetched model, or any directory.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file to write; default: MODEL.torrent.")
    ] = None,
    tracker: Annotated[list[str] | None, typer.Option(help="Announce to this tracker.")] = None,
    web_seed: Annotated[
        list[str] | None, typer.Option(help="Another web seed; asked for URL/NAME/PATH.")
    ] = None,
    hub_seed: Annotated[
        bool, typer.Option(help="Name the Hub as web seed where it has the files.")
    ] = True,
    piece_size: Annotated[
        str | None, typer.Option(help="Bytes, a power of two: 256k, 16M; default: by the size.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only the files whose path matches this pattern.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Root folder; default: the Hub's revision, or the name.")
    ] = None,
    v1: Annotated[
        bool, typer.Option("--v1", help="BitTorrent v1 only (SHA-1): for aria2 and old clients.")
    ] = False,
    v2: Annotated[bool, typer.Option("--v2", help="BitTorrent v2 only (SHA-256).")] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Both in one; the default.")] = False,
    comment: Annotated[str | None, typer.Option(help="A sentence for people.")] = None,
    license_: licence_along.License = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a torrent of a model's files; the same files give everybody the same torrent."""
    from grokdist.api.lookup import manifest_of, stored_model
    from grokdist.cli.progress import showing
    from grokdist.transfer.progress import DISK
    from grokdist.transfer.sources.torrent_metainfo import read_torrent
    from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
    from grokdist.transfer.torrent_payload import payload_of

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if v1 + v2 + hybrid > 1:
        raise UsageError("--v1, --v2 and --hybrid exclude each other")
    version = TorrentVersion.V1 if v1 else TorrentVersion.V2 if v2 else TorrentVersion.HYBRID
    pieces = _size(piece_size) if piece_size else None
    stored = stored_model(model)
    manifest = manifest_of(stored, None, out).manifest if stored.receipt is not None else None
    payload = payload_of(stored.directory, manifest, include=tuple(include or ()))
    payload = licence_along.with_licence(payload, manifest, out.note, put=license_)
    if payload.left_out:
        out.note(
            f"left out, since the Hub does not have it: {', '.join(payload.left_out[:5])}"
            f" ({count_text(len(payload.left_out), 'file')}; --include '*' takes everything)"
        )
    # Under another name the Hub's URLs lead nowhere.
    hub = payload.web_seeds if hub_seed and name in (None, payload.name) else ()
    target = output or Path(f"{manifest.name if manifest else payload.name}.torrent")
    about: dict[str, Any] = {
        "name": name or payload.name,
        "piece_size": pieces,
        "trackers": tuple(tracker or ()),
        "web_seeds": (*hub, *(web_seed or ())),
        "comment": comment,
    }
    made = _of_trees(stored, payload, about) if version is TorrentVersion.V2 else None
    if made is None:
        with showing(out) as progress:
            progress.begin("hash", files=len(payload.paths), size=payload.size, have=0)
            made = create_torrent(
                stored.directory,
                payload.paths,
                version=version,
                places=payload.places,
                on_bytes=lambda count: progress.advance(DISK, "", count),
                **about,
            )
    try:
        target.write_bytes(made.data)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
    files = read_torrent(made.data)
    document = {
        "file": str(target),
        "name": files.name,
        "version": version.value,
        "btih": made.btih,
        "btmh": made.btmh,
        "magnet": made.magnet,
        "piece_size": made.piece_size,
        "pieces": files.pieces,
        "files": len(files.files),
        "bytes": files.size,
        "web_seeds": [*hub, *(web_seed or ())],
        "trackers": list(tracker or ()),
        "roots": {file.path: file.root.hex() for file in files.files if file.root is not None},
    }
    facts = [
        ("torrent", f"{target}: {version.value}, root folder {files.name}"),
        ("files", f"{count_text(len(files.files), 'file')}, {bytes_text(files.size)}"),
        ("pieces", f"{files.pieces:,} of {made.piece_size:,} bytes"),
        ("v1", made.btih or ""),
        ("v2", made.btmh or ""),
        ("web seeds", ", ".join([*hub, *(web_seed or ())])),
        ("magnet", made.magnet),
    ]
    out.result(document, facts_text(facts))


def _of_trees(
    stored: StoredModel, payload: Payload, about: dict[str, Any]
) -> CreatedTorrent | None:
    """The torrent from the trees that the fetch kept, if they are all there."""
    from grokdist.transfer.torrent_create import create_from_trees

    files = {file.path: file for file in stored.receipt.files} if stored.receipt else {}
    own = [path for path in payload.paths if path not in payload.places]
    roots = {path: files[path].pieces_root for path in own if path in files}
    if len(roots) < len(own):
        return None
    beside = {
        path: (stored.directory / place).read_bytes() for path, place in payload.places.items()
    }
    return create_from_trees(stored.directory, roots, beside=beside, **about)


def _size(text: str) -> int:
    """Bytes from ``16384``, ``256k`` or ``16MiB``; the letters mean powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--piece-size {text!r} is no size; expected for example 256k or 16M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()]
