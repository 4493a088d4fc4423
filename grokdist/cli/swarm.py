"""Flags of the commands that take part in a swarm, declared once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli.format import parse_rate
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.transfer.sources.torrent_settings import SwarmSettings

_PORT = 6881
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_UNITS = (86_400, 3_600, 60, 1)

Peer = Annotated[list[str] | None, typer.Option(help="A torrent peer, HOST:PORT.")]
Tracker = Annotated[list[str] | None, typer.Option(help="Another tracker's URL.")]
Torrent = Annotated[
    str | None, typer.Option(help="A .torrent file, magnet link or infohash to use.")
]
Dht = Annotated[bool, typer.Option(help="Find peers by the distributed hash table.")]
Lsd = Annotated[bool, typer.Option(help="Find peers on the local network.")]
Upnp = Annotated[bool, typer.Option(help="Ask the router for a port (UPnP, NAT-PMP).")]
Utp = Annotated[
    bool, typer.Option(help="Also use uTP: it passes more routers than TCP, and is slower.")
]
EncryptionMode = Annotated[
    str, typer.Option(help="Obfuscate connections to peers: off, prefer or require.")
]
Interface = Annotated[
    str, typer.Option(help="IP address to meet peers on; default: all of this machine.")
]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help=f"Port that peers reach us on; default: {_PORT}."),
]
MaxUpload = Annotated[str | None, typer.Option(help="Bytes a second to give to peers: 500k, 10M.")]


def swarm_settings(
    *,
    dht: bool,
    lsd: bool,
    upnp: bool,
    utp: bool,
    encryption: str,
    interface: str,
    port: int | None,
    max_upload: str | None,
) -> SwarmSettings:
    """The settings that the flags ask for.

    Raises:
        UsageError: one of them is not what it should be.
    """
    from grokdist.transfer.sources.torrent_settings import Encryption, SwarmSettings

    if encryption not in {each.value for each in Encryption}:
        raise UsageError(f"--encryption {encryption!r}; expected off, prefer or require")
    return SwarmSettings(
        dht=dht,
        lsd=lsd,
        upnp=upnp,
        utp=utp,
        encryption=Encryption(encryption),
        interface=interface,
        port=port,
        max_upload=parse_rate(max_upload, "--max-upload") if max_upload else None,
    )


def parse_peer(text: str) -> tuple[str, int]:
    """Host and port of ``--peer``.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--peer {text!r} is not a peer; expected HOST:PORT, as 192.0.2.1:6881")
    return host, int(port)


def parse_peers(given: list[str] | None) -> list[tuple[str, int]]:
    """All of ``--peer``."""
    return [parse_peer(each) for each in given or ()]


def parse_torrent(text: str) -> str:
    """A magnet link, or the path of a torrent file, from ``--torrent``.

    Raises:
        UsageError: it is none of these.
    """
    from grokdist.transfer.sources.torrent_link import magnet_of

    named = magnet_of(text)
    if not named.startswith("magnet:") and not Path(named).is_file():
        raise UsageError(
            f"--torrent {text!r} is not a file; expected a .torrent file, a magnet link or an"
            " infohash (40 or 64 hex digits, or 32 characters of base32)"
        )
    return named


def parse_duration(text: str, flag: str) -> float:
    """Seconds from ``90``, ``30s``, ``2h``, ``1d12h`` or ``1h30m``.

    Raises:
        UsageError: the text is no duration, or is zero.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    counts = [float(each or 0) for each in match.groups()] if match is not None else []
    total = sum(count * unit for count, unit in zip(counts, _UNITS, strict=False))
    if total <= 0:
        raise UsageError(f"{flag} {text!r} is no duration; expected for example 30s, 2h, 1d12h")
    return total
