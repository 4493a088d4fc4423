"""Files from a BitTorrent swarm, by torrent file or magnet link.

libtorrent writes to files of its own under ``.grokdist/swarm`` and checks every piece. A file
that begins here shares its data with the part, by a hard link, and is hashed behind the download;
where another source began it, or links are not to be had, the finished bytes are appended to the
part instead. So libtorrent never writes to a byte that was hashed. What is complete is given away
from its final place; the copies of what is not are removed at the end, or when they grow large.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import SourceError, TrustError, UnsafePathError
from grokdist.transfer.part import PartFile
from grokdist.transfer.sources.torrent_alerts import AlertPump
from grokdist.transfer.sources.torrent_magnet import MetadataSearch, parse_magnet
from grokdist.transfer.sources.torrent_map import map_entries
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles, read_torrent
from grokdist.transfer.sources.torrent_session import (
    MAX_METADATA,
    SwarmSettings,
    end_session,
    open_session,
)
from grokdist.transfer.sources.torrent_swarm import Swarm, SwarmStatus
from grokdist.transfer.tree import STATE, ModelTree

STORAGE = (STATE, "swarm")
METADATA = f"{STATE}/torrents"

_STEP = 16 << 20
_STEP_S = 1.0
_BLOCK = 1 << 20
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joined:
    """A swarm that was joined, and what it has of the manifest."""

    session: lt.session
    pump: AlertPump
    swarm: Swarm
    mapped: Mapping[str, TorrentFile]


class TorrentSource:
    """A swarm as a source of files. Nothing is opened before the first ``fetch``.

    Args:
        torrent: a magnet link, or the path of a ``.torrent`` file.
        entries: the manifest's files.
        directory: the model directory; the swarm's files are kept in its ``.grokdist``.
        settings: how to take part in the swarm.
        peers: (address, port) pairs to call.
        trackers: announce URLs beside those of the torrent.
        anchor: v1 infohash that the publisher published; the torrent must have it. None where
            the user chose the torrent, or there is none.
        roots: BEP 52 roots by path, where they are known.
        slots: files to work on at once.
        stall_s: seconds without metadata, or without a byte of a file, after which it is given
            to other sources.

    Raises:
        SourceError: the torrent file or magnet link cannot be read.
        TrustError: the infohash is not the publisher's.
        UnsafePathError: the torrent names unsafe paths.
    """

    kind = SourceKind.TORRENT

    def __init__(
        self,
        torrent: str | Path,
        *,
        entries: Sequence[FileEntry],
        directory: Path,
        settings: SwarmSettings | None = None,
        peers: Sequence[tuple[str, int]] = (),
        trackers: Sequence[str] = (),
        anchor: str | None = None,
        roots: Mapping[str, bytes] | None = None,
        slots: int = 4,
        stall_s: float = 45.0,
    ) -> None:
        self.slots = slots
        self._entries = tuple(entries)
        self._roots = roots
        self._directory = directory
        self._settings = settings or SwarmSettings()
        self._peers = tuple(peers)
        self._trackers = tuple(trackers)
        self._stall = stall_s
        self._magnet: str | None = None
        self._files: TorrentFiles | None = None
        if str(torrent).startswith("magnet:"):
            self._magnet = str(torrent)
            hashes = parse_magnet(self._magnet).info_hashes
        else:
            self._files = read_torrent(_read(Path(torrent)))
            hashes = self._files.params().info_hashes
        btih = hashes.v1.to_bytes().hex() if hashes.has_v1() else None
        if anchor is not None and btih != anchor.lower():
            raise TrustError(
                f"the torrent's infohash is {btih}; expected {anchor.lower()}, which the"
                " publisher published"
            )
        self._infohash = btih or hashes.v2.to_bytes().hex()
        self.name = f"torrent:{self._infohash[:12]}"
        self._mapped = self._map(self._files)
        self._delivered: set[str] = set()
        self._joining = threading.Lock()
        self._joined: _Joined | None = None
        self._session: lt.session | None = None
        self._pump: AlertPump | None = None
        self._closed = threading.Event()

    def offers(self, entry: FileEntry) -> bool:
        """True where the torrent has the file, or its metadata has yet to come."""
        if self._mapped is None:
            return any(entry.path == mine.path for mine in self._entries)
        return entry.path in self._mapped

    @property
    def status(self) -> SwarmStatus:
        """How the swarm is doing."""
        return self._joined.swarm.status if self._joined is not None else SwarmStatus()

    def fetch(self, entry: FileEntry, part: PartFile, stop: threading.Event) -> None:
        """Bring ``part`` to its end from the swarm; see ``Source.fetch``.

        Raises:
            SourceError: no metadata, no peer, nothing arrives, or the torrent lacks the file.
            OSError: the disk refused.
        """
        joined = self._join(entry, stop)
        if joined is None:
            return
        file = joined.mapped.get(entry.path)
        if file is None:
            raise self._error("the torrent does not have it", entry, permanent=True)
        if entry.path in self._delivered:
            # It would be the same bytes, and they were not accepted.
            raise self._error("the swarm's bytes were refused before", entry, permanent=True)
        shared = part.offset == 0 and _share(joined.swarm.path_of(file), part)
        if not shared:
            part.adopt_swarm()
        try:
            self._follow(joined, file, part, stop, shared=shared)
        finally:
            # Closing the source ends libtorrent, and with it all that could write.
            if not self._closed.is_set():
                joined.swarm.leave(file)
                if shared and part.remaining:
                    _part_ways(joined.swarm.path_of(file), part)
        if not part.remaining:
            self._delivered.add(entry.path)
            if shared:
                link = joined.swarm.path_of(file)
                final = self._directory.absolute() / entry.path
                part.on_commit = lambda: _point(link, final)

    def close(self) -> None:
        """Leave the swarm, end the session and remove libtorrent's files."""
        self._closed.set()
        with self._joining:
            joined, self._joined = self._joined, None
            pump, self._pump = self._pump, None
            session, self._session = self._session, None
            if joined is not None:
                joined.swarm.close()
            del joined
            if pump is not None:
                pump.close()
            del pump
            if session is not None:
                end_session(session)
                del session
                with contextlib.suppress(OSError), ModelTree(self._directory) as tree:
                    _clear(tree)

    def _follow(
        self,
        joined: _Joined,
        file: TorrentFile,
        part: PartFile,
        stop: threading.Event,
        *,
        shared: bool,
    ) -> None:
        """Hash, or append, what is complete from the start, until all is or nothing comes."""
        swarm = joined.swarm
        swarm.want(file, part.offset)
        received = swarm.received(file)
        heard = hashed = time.monotonic()
        while part.remaining and not stop.is_set():
            if self._closed.is_set():
                raise self._error("it was closed", part.entry)
            goal = min(file.size, part.offset + _STEP)
            joined.pump.wait_until(
                lambda: swarm.contiguous(file, part.offset) >= goal,  # noqa: B023
                seconds=_POLL_S,
                stop=stop,
            )
            swarm.raise_error()
            now = time.monotonic()
            here = swarm.contiguous(file, part.offset)
            if here >= goal or (here > part.offset and now - hashed >= _STEP_S):
                swarm.want(file, here)
                swarm.flush()
                self._take(swarm.path_of(file), part, here, stop, shared=shared)
                heard = hashed = time.monotonic()
                continue
            if (count := swarm.received(file)) != received:
                received, heard = count, now
                # A large piece can take minutes; the engine is to know that it is on its way.
                part.on_bytes(0)
            elif now - heard >= self._stall:
                raise self._error(self._why(swarm.status), part.entry)

    def _take(
        self, path: Path, part: PartFile, upto: int, stop: threading.Event, *, shared: bool
    ) -> None:
        if shared:
            before = part.offset
            part.hash_swarm(upto)
            part.arrived(part.offset - before)
            return
        with path.open("rb", buffering=0) as stream:
            stream.seek(part.offset)
            while part.offset < upto and not stop.is_set():
                block = stream.read(min(_BLOCK, upto - part.offset))
                if not block:
                    raise self._error(f"{path} ends early", part.entry)
                part.append(block)

    def _join(self, entry: FileEntry, stop: threading.Event) -> _Joined | None:
        """Be in the swarm; None when ``stop`` was set first."""
        while not self._joining.acquire(timeout=_POLL_S):
            if stop.is_set():
                return None
        try:
            if self._closed.is_set():
                raise self._error("it was closed", entry)
            if self._joined is None:
                self._joined = self._open(entry, stop)
            return self._joined
        finally:
            self._joining.release()

    def _open(self, entry: FileEntry, stop: threading.Event) -> _Joined | None:
        with ModelTree.create(self._directory) as tree:
            if self._session is None or self._pump is None:
                _clear(tree)
                with tree.folder(STORAGE, create=True):
                    storage = tree.path("/".join(STORAGE))
                self._session = open_session(self._settings)
                self._pump = AlertPump(self._session)
            storage = tree.path("/".join(STORAGE)).absolute()
            peers: list[tuple[str, int]] = []
            if self._files is None:
                self._files = self._cached(tree)
            if self._files is None:
                found = self._search(self._session, self._pump, storage, entry, stop)
                if found is None:
                    return None
                data, peers = found
                try:
                    self._files = read_torrent(data)
                except UnsafePathError as error:
                    raise SourceError(str(error), source=self.name, permanent=True) from error
                tree.write_small(self._metadata_name, data)
        mapped = self._map(self._files) or {}
        self._mapped = mapped
        if not mapped:
            raise SourceError(
                f"the torrent {self._files.name!r} has none of the files",
                source=self.name,
                permanent=True,
            )
        params = self._invite(self._files.params())
        if self._magnet is not None:
            magnet = self._invite(parse_magnet(self._magnet))
            params.trackers, params.tracker_tiers = magnet.trackers, magnet.tracker_tiers
            params.url_seeds = magnet.url_seeds
            params.peers = [*magnet.peers, *peers]
        swarm = Swarm(
            self._session, self._pump, self._files, params, storage, wanted=mapped.values()
        )
        return _Joined(session=self._session, pump=self._pump, swarm=swarm, mapped=mapped)

    def _search(
        self,
        session: lt.session,
        pump: AlertPump,
        storage: Path,
        entry: FileEntry,
        stop: threading.Event,
    ) -> tuple[bytes, list[tuple[str, int]]] | None:
        params = self._invite(parse_magnet(self._magnet or ""))
        with contextlib.closing(MetadataSearch(session, pump, params, storage)) as search:
            data = search.wait(stop, seconds=self._stall)
            if data is not None:
                return data, search.peers()
            if stop.is_set():
                return None
            told = f"; a tracker says: {search.tracker_error}" if search.tracker_error else ""
        raise SourceError(
            f"no peer gave the torrent's metadata in {self._stall:.0f} s{told}", source=self.name
        )

    def _invite(self, params: lt.add_torrent_params) -> lt.add_torrent_params:
        params.trackers = [*params.trackers, *self._trackers]
        params.tracker_tiers = [*params.tracker_tiers, *(0 for _ in self._trackers)]
        params.peers = [*params.peers, *self._peers]
        return params

    @property
    def _metadata_name(self) -> str:
        return f"{METADATA}/{self._infohash}.torrent"

    def _cached(self, tree: ModelTree) -> TorrentFiles | None:
        """Metadata that an earlier run was given, if it still has the infohash of the link."""
        data = tree.read_small(self._metadata_name, MAX_METADATA)
        if data is None or self._magnet is None:
            return None
        wanted = parse_magnet(self._magnet).info_hashes
        with contextlib.suppress(SourceError, UnsafePathError):
            files = read_torrent(data)
            found = files.params().info_hashes
            if (not wanted.has_v1() or found.v1 == wanted.v1) and (
                not wanted.has_v2() or found.v2 == wanted.v2
            ):
                return files
        tree.remove(self._metadata_name)
        return None

    def _map(self, files: TorrentFiles | None) -> Mapping[str, TorrentFile] | None:
        if files is None:
            return None
        return map_entries(files.files, self._entries, roots=self._roots)

    def _why(self, status: SwarmStatus) -> str:
        if not status.peers:
            told = f"; a tracker says: {status.tracker_error}" if status.tracker_error else ""
            return f"no peers{told}"
        banned = f", {len(status.banned)} banned for wrong pieces" if status.banned else ""
        return f"nothing arrives from {status.peers} peers{banned}"

    def _error(self, reason: str, entry: FileEntry, *, permanent: bool = False) -> SourceError:
        return SourceError(reason, source=self.name, path=entry.path, permanent=permanent)


def _share(path: Path, part: PartFile) -> bool:
    """Let the part's file be libtorrent's own; False where links are not to be had."""
    shared = part.begin_swarm()
    link = shared.with_name(f"{shared.name}-link")
    path.touch()
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        return False
    link.replace(shared)
    return True


def _point(link: Path, final: Path) -> None:
    """Have libtorrent read ``final`` from now on; every piece of it is here, none is written.

    With the hard link left in place, its removal at the end would change the file's ctime.
    """
    temporary = link.with_name(f"{link.name}-final")
    temporary.symlink_to(final)
    temporary.replace(link)


def _part_ways(path: Path, part: PartFile) -> None:
    """Give the part its own copy of what was hashed: libtorrent may write to the rest."""
    own = part.swarm_path.with_name(f"{part.swarm_path.name}-copy")
    own.unlink(missing_ok=True)
    with path.open("rb", buffering=0) as source, own.open("xb", buffering=0) as target:
        left = part.offset
        while left and (block := source.read(min(_BLOCK, left))):
            left -= len(block)
            view = memoryview(block)
            while view:
                view = view[target.write(view) :]
    own.replace(part.swarm_path)


def _clear(tree: ModelTree) -> None:
    """Remove what libtorrent wrote, in this run or one that died."""
    with contextlib.suppress(FileNotFoundError), tree.folder(STORAGE) as handle:
        for name in os.listdir(handle):  # noqa: PTH208
            os.unlink(name, dir_fd=handle)


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
