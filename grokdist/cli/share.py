"""Flags of ``fetch --share``, and what the command does with them."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.cli.swarm import parse_duration
from grokdist.errors import NoSourceError, PolicyError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.plan import FetchRequest
    from grokdist.transfer.share.session import ShareSession
    from grokdist.transfer.share.settings import ShareSettings
    from grokdist.transfer.sources.base import Source

Share = Annotated[
    bool,
    typer.Option("--share", help="Fetch together with other machines of the local network."),
]
SharePeer = Annotated[
    list[str] | None, typer.Option(help="A machine to share with, HOST[:PORT]; it tells of others.")
]
ShareListen = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to share on; default: 17182, or any.")
]
ShareBind = Annotated[
    str | None, typer.Option(help="Address to share on; default: those of private networks.")
]
ShareKey = Annotated[
    str | None,
    typer.Option(
        envvar="GROKDIST_FETCH_SHARE_KEY",
        help="Secret that all machines of the share hold; better in GROKDIST_FETCH_SHARE_KEY.",
    ),
]
ShareMulticast = Annotated[bool, typer.Option(help="Find machines to share with by multicast.")]
ShareLinger = Annotated[
    str | None,
    typer.Option(
        help="Go on sharing until nobody has asked for this long: 90, 10m;"
        " default: until the machines known are done, or silent for 30 s."
    ),
]


def share_settings(
    trusted: TrustedManifest,
    *,
    peers: Sequence[str],
    listen: int | None,
    bind: str | None,
    key: str | None,
    multicast: bool,
    linger: str | None,
) -> ShareSettings:
    """The settings that the flags ask for.

    Raises:
        UsageError: one of them is not what it should be.
        PolicyError: the model is not one that anyone may read, and there is no key.
    """
    from grokdist.transfer.share.keys import ShareKey as Key
    from grokdist.transfer.share.settings import ShareSettings

    if bind is not None:
        try:
            ipaddress.ip_address(bind)
        except ValueError:
            raise UsageError(f"--share-bind {bind!r} is not an IP address") from None
    try:
        made = Key(key) if key is not None else None
    except ValueError as error:
        raise UsageError(f"--share-key: {error}") from None
    if made is None and (reason := _private(trusted)) is not None:
        raise PolicyError(
            f"{trusted.manifest.name} is shared with a key only: {reason}",
            hint="give all machines one secret as GROKDIST_FETCH_SHARE_KEY",
        )
    settings = ShareSettings(
        bind=bind,
        port=listen,
        peers=tuple(_peer(each) for each in peers),
        key=made,
        multicast=multicast,
    )
    if linger is None:
        return settings
    return replace(settings, linger=parse_duration(linger, "--share-linger"))


@contextlib.contextmanager
def sharing(request: FetchRequest, settings: ShareSettings, out: Output) -> Iterator[ShareSession]:
    """The machine's part in a share, inside the ``with``."""
    from grokdist.transfer.share.session import ShareSession

    manifest = request.trusted.manifest
    with ShareSession(manifest, request.directory, settings, note=out.note) as session:
        out.note(f"share: this machine answers on port {session.port}")
        yield session


def shared_sources(
    session: ShareSession | None, build: Callable[[], tuple[Source, ...]]
) -> tuple[Source, ...]:
    """The sources of a fetch; a machine that shares needs none of its own."""
    if session is None:
        return build()
    try:
        origins = build()
    except NoSourceError:
        origins = ()
    return session.wrap(origins)


def linger(session: ShareSession, out: Output, *, stay: bool) -> None:
    """Serve the machines that are not done yet; an interrupt ends it and nothing is lost."""
    session.note = out.note
    session.finish()
    if stay or session.given.waiting:
        count = count_text(session.given.waiting, "machine")
        out.note(f"share: serving {count} still at work; interrupt to stop")
    try:
        given = session.linger(threading.Event(), stay=stay)
    except KeyboardInterrupt:
        given = session.given
    out.note(f"share: gave {bytes_text(given.bytes)} to {count_text(given.members, 'machine')}")


def _private(trusted: TrustedManifest) -> str | None:
    """Why not everyone on the network may read a model's bytes; None if they are public."""
    from grokdist.policy.acceptance import required_acceptance

    if required_acceptance(trusted.manifest) is not None:
        return "its licence asks for acceptance by everyone who receives it"
    if not trusted.signed_by.keyids:
        return "no catalog has published its manifest"
    return None


def _peer(text: str) -> tuple[str, int]:
    from grokdist.transfer.share.settings import PORT

    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, str(PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"--share-peer {text!r} is not a machine; expected HOST[:PORT]")
    return host, int(port)
