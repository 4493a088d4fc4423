"""Give back to the swarm that a fetch took from.

The torrent is the one the fetch used, a file or the metadata that came over a magnet link; its
files are found in the model directory by the manifest's paths. A torrent that has files which the
manifest does not list cannot be shared whole, and is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from grokdist.catalog.manifest import SourceKind
from grokdist.errors import SourceError
from grokdist.transfer.plan import FetchRequest
from grokdist.transfer.seeding import Seeder, SeedStatus
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_map import map_entries
from grokdist.transfer.sources.torrent_membership import METADATA
from grokdist.transfer.sources.torrent_metainfo import TorrentFiles, read_torrent
from grokdist.transfer.sources.torrent_session import MAX_METADATA, SwarmSettings
from grokdist.transfer.tree import ModelTree


def share(
    request: FetchRequest, *, ratio: float, settings: SwarmSettings, stop: threading.Event
) -> SeedStatus:
    """Share the files of a finished fetch until ``ratio`` is reached or ``stop`` is set.

    Args:
        request: the fetch; its torrent, else the manifest's.
        ratio: bytes to give for each byte of the files.
        settings: how to take part.
        stop: ends it early.

    Raises:
        SourceError: there is no torrent, its metadata is not here, or it has other files.
        DigestMismatchError: a file is not what the torrent names.
    """
    torrent, trackers = _torrent(request)
    invitation = Invitation(torrent)
    data = _metadata(request, torrent, invitation)
    files = read_torrent(data)
    with Seeder(
        data,
        request.directory,
        settings=settings,
        trackers=(*trackers, *request.trackers),
        peers=request.peers,
        paths=_places(request, files),
        stop=stop,
    ) as seeder:
        return seeder.wait(stop, ratio=ratio)


def _torrent(request: FetchRequest) -> tuple[str, Sequence[str]]:
    if request.torrent is not None:
        return request.torrent, ()
    for source in request.trusted.manifest.sources:
        if source.kind is SourceKind.TORRENT:
            return source.location, source.trackers
    raise SourceError(
        f"{request.trusted.manifest.name} has no torrent to share by",
        source="torrent",
        permanent=True,
        hint="give one with --torrent FILE",
    )


def _metadata(request: FetchRequest, torrent: str, invitation: Invitation) -> bytes:
    """The torrent's content: the file, or what the swarm source kept of a magnet link."""
    if invitation.files is not None:
        with open(torrent, "rb") as file:  # noqa: PTH123
            return file.read(MAX_METADATA + 1)
    with ModelTree(request.directory) as tree:
        data = tree.read_small(f"{METADATA}/{invitation.infohash}.torrent", MAX_METADATA)
    if data is None or not invitation.accepts(read_torrent(data)):
        raise SourceError(
            "the torrent's metadata is not here: nothing was fetched by this magnet link",
            source="torrent",
            permanent=True,
            hint="give the torrent itself with --torrent FILE",
        )
    return data


def _places(request: FetchRequest, files: TorrentFiles) -> dict[str, str]:
    """Where each file of the torrent is in the model directory."""
    mapped = map_entries(files.files, request.trusted.manifest.files)
    places = {file.path: path for path, file in mapped.items()}
    missing = [file.path for file in files.files if file.path not in places]
    if missing:
        raise SourceError(
            f"the torrent has files that the manifest does not list ({missing[0]}"
            + (f" and {len(missing) - 1} more)" if len(missing) > 1 else ")"),
            source="torrent",
            permanent=True,
        )
    return places
