"""``grokdist manifest pin --torrent``: infohash, files and pieces of a torrent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from grokdist.cli import swarm
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, facts_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest, TrustedManifest
    from grokdist.transfer.torrent_pin import PieceCheck, TorrentPin


def pin_to_torrent(
    trusted: TrustedManifest,
    torrent: str,
    directory: Path | None,
    peers: list[str] | None,
    trackers: list[str] | None,
    out: Output,
    *,
    dht: bool,
    lsd: bool,
) -> None:
    """Hold a torrent against the manifest's infohash and files, and say how far they agree.

    Args:
        trusted: the manifest.
        torrent: a torrent file, magnet link or infohash.
        directory: fetched files to hold the pieces against; None checks no pieces.
        peers: ``HOST:PORT`` to ask for the metadata of a magnet link.
        trackers: more trackers to ask.
        out: where the result goes.
        dht: find peers for a magnet link by the distributed hash table.
        lsd: find them on the local network.

    Raises:
        TrustError: the infohash is not the anchor's.
        SourceError: the torrent cannot be read, or nobody gave its metadata.
        typer.Exit: a piece or root contradicts the manifest (11).
    """
    from grokdist.api.lookup import with_files
    from grokdist.catalog.completion import chosen
    from grokdist.catalog.manifest import AnchorKind, SourceKind
    from grokdist.cli.progress import showing
    from grokdist.transfer.progress import DISK
    from grokdist.transfer.sources.torrent_settings import SwarmSettings
    from grokdist.transfer.torrent_pin import check_pieces, pin_torrent, torrent_bytes

    manifest = with_files(trusted, out, online=False).manifest
    anchors = [each.value for each in manifest.anchors if each.kind is AnchorKind.BTIH]
    if len(anchors) > 1:
        raise UsageError(f"the manifest of {manifest.name} has {len(anchors)} infohashes")
    link = swarm.parse_torrent(torrent)
    data = torrent_bytes(
        link,
        peers=swarm.parse_peers(peers),
        trackers=trackers or (),
        # Only metadata is wanted: no port has to be opened for it.
        settings=SwarmSettings(dht=dht, lsd=lsd, upnp=False),
    )
    patterns = [
        pattern
        for source in manifest.sources
        if source.kind is SourceKind.TORRENT
        for pattern in source.files
    ]
    entries = chosen(manifest.files, patterns)
    found = pin_torrent(data, entries, anchor=anchors[0] if anchors else None)
    pieces = None
    if directory is not None:
        with showing(out) as progress:
            progress.begin("check", files=len(found.mapped), size=found.files.size, have=0)
            pieces = check_pieces(
                found,
                entries,
                directory,
                on_bytes=lambda path, count: progress.advance(DISK, path, count),
            )
    anchored = bool(anchors)
    out.result(
        _document(manifest, found, pieces, anchored=anchored),
        _text(manifest, found, pieces, anchored=anchored),
    )
    if found.other_root or (pieces is not None and (pieces.wrong or pieces.bad_files)):
        raise typer.Exit(ExitCode.DIGEST)


def _document(
    manifest: Manifest, found: TorrentPin, pieces: PieceCheck | None, *, anchored: bool
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": manifest.name,
        "btih": found.btih,
        "btmh": found.files.btmh,
        "anchored": anchored,
        "name": found.files.name,
        "piece_size": found.files.piece_size,
        "pieces": found.files.pieces,
        "files": len(found.files.files),
        "bytes": found.files.size,
        "mapped": {path: file.path for path, file in sorted(found.mapped.items())},
        "missing": list(found.missing),
        "other": list(found.other),
        "same_root": list(found.same_root),
        "other_root": list(found.other_root),
        "checked": None,
    }
    if pieces is not None:
        document["checked"] = {
            "right": pieces.right,
            "wrong": pieces.wrong,
            "unchecked": pieces.unchecked,
            "proved": list(pieces.proved),
            "bad_files": list(pieces.bad_files),
        }
    return document


def _text(
    manifest: Manifest, found: TorrentPin, pieces: PieceCheck | None, *, anchored: bool
) -> str:
    files = found.files
    said = ", which the publisher published" if anchored else "; the manifest names none"
    rows = [
        ("infohash", f"{found.btih or files.btmh}, computed again{said}"),
        (
            "torrent",
            f"{files.name}: {count_text(len(files.files), 'file')}, {bytes_text(files.size)},"
            f" {files.pieces:,} pieces of {bytes_text(files.piece_size)}",
        ),
        (
            "files",
            f"{len(found.mapped):,} of the manifest's found by name and size,"
            f" {len(found.missing):,} not",
        ),
    ]
    if found.missing:
        rows.append(("missing", ", ".join(found.missing[:5])))
    if found.other:
        rows.append(("others", ", ".join(found.other[:5])))
    if found.same_root or found.other_root:
        rows.append(
            (
                "file roots",
                f"{len(found.same_root):,} are the manifest's, {len(found.other_root):,} are not",
            )
        )
    if pieces is None:
        rows.append(("pieces", _without_bytes(found)))
        contradicted = bool(found.other_root)
    else:
        rows.append(
            (
                "pieces",
                f"{pieces.right:,} right, {pieces.wrong:,} wrong, {pieces.unchecked:,} over bytes"
                " that are not here",
            )
        )
        rows.append(
            (
                "proved",
                f"{count_text(len(pieces.proved), 'file')} of the torrent with the manifest's"
                " SHA-256",
            )
        )
        if pieces.bad_files:
            rows.append(
                ("not usable", f"{', '.join(pieces.bad_files[:5])}: not the manifest's bytes here")
            )
        contradicted = bool(found.other_root or pieces.wrong or pieces.bad_files)
    verdict = (
        "the torrent is NOT what the manifest lists"
        if contradicted
        else "the torrent is the publisher's"
        if anchored
        else "nothing contradicts the torrent"
    )
    return f"{manifest.name}: {verdict}\n\n{facts_text(rows)}"


def _without_bytes(found: TorrentPin) -> str:
    if found.btih is None:
        return "none: a torrent of v2 only has file roots instead"
    return (
        "not checked: they run over the files' bytes; --dir FOLDER holds them against fetched ones"
    )
