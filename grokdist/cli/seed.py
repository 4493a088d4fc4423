"""``grokdist seed``: share a model that is here, until told to stop or enough was given.

It ends in one of four ways, and says in which: a ratio or a time was reached (exit 0); SIGTERM,
which is how a service manager ends a service that did its work (exit 0); SIGINT, as in every other
command (exit 130). In all of them trackers are told, and the result is printed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import completion, licence_along, options, swarm
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, duration_text
from grokdist.cli.output import Output
from grokdist.errors import NotFetchedError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest
    from grokdist.transfer.progress import Progress
    from grokdist.transfer.seeding import SeedStatus
    from grokdist.transfer.sharing import Offer
    from grokdist.transfer.sources.torrent_settings import SwarmSettings
    from grokdist.transfer.store import StoredModel

_LINE_EVERY_S = 10.0
_METADATA_S = 60.0


def seed(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.fetched_names,
            help="Name of a fetched model, or any directory.",
        ),
    ],
    torrent: swarm.Torrent = None,
    ratio: Annotated[
        float | None, typer.Option(min=0, help="Stop when this many times its size was given.")
    ] = None,
    time_: Annotated[
        str | None, typer.Option("--time", help="Stop after this time: 30m, 2h, 1d.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Hash every file first, also what is unchanged.")
    ] = False,
    peer: swarm.Peer = None,
    tracker: swarm.Tracker = None,
    dht: swarm.Dht = True,
    lsd: swarm.Lsd = True,
    upnp: swarm.Upnp = True,
    utp: swarm.Utp = False,
    encryption: swarm.EncryptionMode = "prefer",
    interface: swarm.Interface = "",
    port: swarm.Port = None,
    max_upload: swarm.MaxUpload = None,
    license_: licence_along.License = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Share a model by BitTorrent until a ratio, a time or a signal ends it."""
    from grokdist.api.lookup import manifest_of, stored_model
    from grokdist.cli.progress import showing
    from grokdist.transfer.seeding import SeedStoppedError
    from grokdist.transfer.sources.torrent_settings import proxy_of
    from grokdist.transfer.use import using

    out = Output(json=json, quiet=quiet, verbose=verbose)
    settings = swarm.swarm_settings(
        dht=dht,
        lsd=lsd,
        upnp=upnp,
        utp=utp,
        encryption=encryption,
        interface=interface,
        port=port,
        max_upload=max_upload,
    )
    settings = replace(settings, proxy=proxy_of(os.environ))
    seconds = swarm.parse_duration(time_, "--time") if time_ else None
    named = swarm.parse_torrent(torrent) if torrent else None
    peers = swarm.parse_peers(peer)
    stored = stored_model(model)
    manifest = manifest_of(stored, None, out).manifest if stored.receipt is not None else None
    end = _End()
    with using(stored.directory), end.listening():
        try:
            with showing(out) as progress:
                offer = _offer(
                    stored,
                    manifest,
                    named,
                    settings,
                    tracker or [],
                    peers,
                    end,
                    progress,
                    put_licence=license_,
                )
                progress.begin("check", files=len(offer.files.files), size=offer.files.size, have=0)
                seeder = offer.seeder(
                    settings=settings,
                    trackers=tracker or (),
                    peers=peers,
                    stop=end.stop,
                    check=check,
                    on_checked=_advance(progress),
                )
        except (SeedStoppedError, KeyboardInterrupt):
            if end.by != "term":
                raise KeyboardInterrupt from None
            out.note("told to end before anything was shared")
            raise typer.Exit(ExitCode.OK) from None
        with seeder:
            magnet, listening = seeder.magnet, seeder.port
            name = manifest.name if manifest is not None else str(stored.directory)
            out.note(f"sharing {name} on port {listening}: {magnet}")
            lines = _Lines(out, ratio)
            status = seeder.wait(end.stop, ratio=ratio, seconds=seconds, on_status=lines.say)
            lines.end()
    if not end.by:
        end.by = "ratio" if ratio is not None and status.ratio >= ratio else "time"
    document = {
        "model": manifest.name if manifest is not None else None,
        "dir": str(stored.directory),
        "btih": offer.files.btih,
        "btmh": offer.files.btmh,
        "magnet": magnet,
        "port": listening,
        "files": len(offer.files.files),
        "bytes": status.size,
        "uploaded_bytes": status.uploaded,
        "ratio": round(status.ratio, 3),
        "seconds": round(status.seconds, 3),
        "ended_by": end.by,
    }
    out.result(document, f"{_said(status)} in {duration_text(status.seconds)}; {_why(end.by)}")
    if end.by == "interrupt":
        raise typer.Exit(ExitCode.INTERRUPTED)


def _offer(
    stored: StoredModel,
    manifest: Manifest | None,
    named: str | None,
    settings: SwarmSettings,
    trackers: list[str],
    peers: list[tuple[str, int]],
    end: _End,
    progress: Progress,
    *,
    put_licence: bool,
) -> Offer:
    """The torrent to share by: the one named, the manifest's, or one of the files' own."""
    from grokdist.transfer import sharing
    from grokdist.transfer.torrent_payload import payload_of

    directory = stored.directory
    chosen = named or sharing.listed_torrent(manifest)
    entries = manifest.files if manifest is not None else None
    listed = sharing.listed_trackers(manifest) if not named else ()
    beside: Mapping[str, str] = {}
    if chosen is not None:
        files = sharing.known_torrent(chosen, directory)
        if files is None:
            progress.note("asking the swarm for the torrent's metadata")
            files = sharing.asked_torrent(
                chosen,
                directory,
                settings=settings,
                trackers=(*listed, *trackers),
                peers=peers,
                stop=end.stop,
                seconds=_METADATA_S,
            )
        licence_along.lacks(manifest, (file.path for file in files.files), progress.note)
    else:
        if manifest is not None and not stored.complete:
            raise NotFetchedError(
                f"only a part of {manifest.name} is in {directory}; expected all of it",
                hint=f"grokdist fetch {manifest.name} --dir {directory}",
            )
        payload = licence_along.with_licence(
            payload_of(directory, manifest), manifest, progress.note, put=put_licence
        )
        beside = payload.places
        progress.begin("hash", files=len(payload.paths), size=payload.size, have=0)
        files = sharing.own_torrent(payload, on_bytes=_counted(progress, end))
    return sharing.Offer(
        files=files,
        directory=directory,
        places=sharing.places(files, directory, entries, beside=beside),
        trackers=listed,
        roots={
            file.path: file.pieces_root
            for file in (stored.receipt.files if stored.receipt is not None else ())
            if file.pieces_root is not None
        },
    )


@dataclass(kw_only=True, slots=True)
class _End:
    """How the sharing comes to its end."""

    stop: threading.Event = field(default_factory=threading.Event)
    by: str = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and SIGINT set ``stop`` inside the ``with``; a second SIGINT raises."""
        before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}

        def ended(number: int, _: object) -> None:
            if self.stop.is_set() and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.by = self.by or ("term" if number == signal.SIGTERM else "interrupt")
            self.stop.set()

        try:
            for each in before:
                signal.signal(each, ended)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class _Lines:
    """A line about how it is going: every ten seconds in a log, every second on a terminal."""

    def __init__(self, out: Output, ratio: float | None) -> None:
        self._out = out
        self._goal = f" of {ratio:g}" if ratio is not None else ""
        self._every = 1.0 if out.interactive else _LINE_EVERY_S
        self._said = time.monotonic()

    def say(self, status: SeedStatus) -> None:
        now = time.monotonic()
        if now - self._said < self._every:
            return
        self._said = now
        line = (
            f"{count_text(status.peers, 'peer')}, {bytes_text(status.upload_rate)}/s,"
            f" {_said(status)}{self._goal}"
        )
        if self._out.interactive:
            self._out.live(line)
        else:
            self._out.note(line)

    def end(self) -> None:
        """Leave the live line."""
        if self._out.interactive:
            self._out.live("")


def _said(status: SeedStatus) -> str:
    return f"shared {bytes_text(status.uploaded)}, ratio {status.ratio:.2f}"


def _why(by: str) -> str:
    return {
        "ratio": "the ratio is reached",
        "time": "the time is over",
        "term": "told to end",
        "interrupt": "interrupted; the files stay",
    }[by]


def _advance(progress: Progress) -> Any:
    """Turn the bytes checked so far into steps."""
    from grokdist.transfer.progress import DISK

    seen = 0

    def checked(count: int) -> None:
        nonlocal seen
        progress.advance(DISK, "", max(0, count - seen))
        seen = max(seen, count)

    return checked


def _counted(progress: Progress, end: _End) -> Any:
    """Count bytes that were hashed; ends the hashing when told to."""
    from grokdist.transfer.progress import DISK

    def hashed(count: int) -> None:
        if end.stop.is_set():
            raise KeyboardInterrupt
        progress.advance(DISK, "", count)

    return hashed
