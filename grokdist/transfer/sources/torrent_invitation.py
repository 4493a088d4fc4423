"""Which torrent is meant, and whom to ask for it: a torrent file or magnet link, and extras."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import libtorrent as lt

from grokdist.errors import SourceError, TrustError
from grokdist.transfer.sources.torrent_link import magnet_of
from grokdist.transfer.sources.torrent_magnet import parse_magnet
from grokdist.transfer.sources.torrent_metainfo import TorrentFiles, read_torrent
from grokdist.transfer.sources.torrent_session import MAX_METADATA


class Invitation:
    """A torrent, by file or link.

    Args:
        torrent: a magnet link, an infohash, or the path of a ``.torrent`` file.
        peers: (host, port) pairs to call.
        trackers: announce URLs beside its own.
        anchor: v1 infohash that it must have; None for any.

    Raises:
        SourceError: the torrent file or magnet link cannot be read.
        TrustError: the infohash is not ``anchor``.
        UnsafePathError: the torrent names unsafe paths.
    """

    def __init__(
        self,
        torrent: str | Path,
        *,
        peers: Sequence[tuple[str, int]] = (),
        trackers: Sequence[str] = (),
        anchor: str | None = None,
    ) -> None:
        self.files: TorrentFiles | None = None
        """The torrent's content; None for a magnet link."""
        self._magnet: str | None = None
        self._peers = tuple(peers)
        self._trackers = tuple(trackers)
        named = magnet_of(str(torrent))
        if named.startswith("magnet:"):
            self._magnet = named
            self._hashes = parse_magnet(self._magnet).info_hashes
        else:
            self.files = read_torrent(_read(Path(torrent)))
            self._hashes = self.files.params().info_hashes
        btih = self._hashes.v1.to_bytes().hex() if self._hashes.has_v1() else None
        if anchor is not None and btih != anchor.lower():
            raise TrustError(
                f"the torrent's infohash is {btih or 'of v2 only'}; expected {anchor.lower()},"
                " which the publisher published"
            )
        self.infohash = btih or self._hashes.v2.to_bytes().hex()
        """v1 infohash, or that of v2 where there is no other, in hex."""

    def accepts(self, files: TorrentFiles) -> bool:
        """True where ``files`` is the torrent that is meant."""
        found = files.params().info_hashes
        return (not self._hashes.has_v1() or found.v1 == self._hashes.v1) and (
            not self._hashes.has_v2() or found.v2 == self._hashes.v2
        )

    def search(self) -> lt.add_torrent_params:
        """Libtorrent's parameters for asking after a magnet link's metadata."""
        return self._invite(parse_magnet(self._magnet or ""))

    def join(self, files: TorrentFiles, peers: Sequence[tuple[str, int]]) -> lt.add_torrent_params:
        """Libtorrent's parameters for the torrent itself, ``peers`` known already."""
        params = self._invite(files.params())
        if self._magnet is not None:
            magnet = self.search()
            params.trackers, params.tracker_tiers = magnet.trackers, magnet.tracker_tiers
            params.url_seeds = magnet.url_seeds
            params.peers = [*magnet.peers, *peers]
        return params

    def _invite(self, params: lt.add_torrent_params) -> lt.add_torrent_params:
        params.trackers = [*params.trackers, *self._trackers]
        params.tracker_tiers = [*params.tracker_tiers, *(0 for _ in self._trackers)]
        named = [address for peer in self._peers for address in _resolve(peer)]
        params.peers = [*params.peers, *named]
        return params


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_METADATA + 1)
    except OSError as error:
        raise SourceError(
            f"cannot read the torrent file {path}: {error.strerror}",
            source="torrent",
            permanent=True,
        ) from error


def _resolve(peer: tuple[str, int]) -> list[tuple[str, int]]:
    """Addresses of a peer; none where its name is not known."""
    host, port = peer
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(str(address[0]), port) for *_, address in found]
