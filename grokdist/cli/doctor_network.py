"""What ``doctor`` says of what is around this process: ports, proxies and the clock."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

from grokdist.cli.finding import Finding
from grokdist.errors import GrokdistError

_TORRENT_PORT = 6881
_SERVE_PORT = 8000
_PATIENCE_S = 3.0
_PROXIES = ("http", "https", "all")


def look_at_ports() -> Iterator[Finding]:
    """Whether this machine's own processes can talk to each other, and peers to us."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=_PATIENCE_S),
        ):
            pass
    except OSError as error:
        yield Finding(
            about="loopback",
            state="fault",
            found=f"no process can listen on 127.0.0.1: {error.strerror or error}",
            fix="bring it up: ip link set lo up; then look at the firewall's rules for lo",
        )
    else:
        yield Finding(about="loopback", state="ok", found="127.0.0.1 listens and answers")
    yield from _port(
        _TORRENT_PORT,
        "torrent port",
        "a fetch takes another port, which a router may not forward; end what listens there",
    )
    yield from _port(
        _SERVE_PORT, "serve port", "grokdist serve --port 0 takes a free one", host="127.0.0.1"
    )


def _port(port: int, about: str, fix: str, *, host: str = "") -> Iterator[Finding]:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        found = f"{port} cannot be listened on: {error.strerror}"
        yield Finding(about=about, state="note", found=found, fix=fix)
    else:
        yield Finding(about=about, state="ok", found=f"{port} is free")


def look_at_proxies() -> Iterator[Finding]:
    """Whether the proxies that the environment names are well-formed and there."""
    from grokdist.transfer.sources.http_pools import proxy_fault
    from grokdist.transfer.sources.http_transport import without_secrets

    named = {name: url for name, url in urllib.request.getproxies().items() if name in _PROXIES}
    for name, url in sorted(named.items()):
        about = f"{name}_proxy"
        fault = proxy_fault(url)
        if fault:
            yield Finding(
                about=about,
                state="fault",
                found=f"cannot be used: {fault}",
                fix=f"export {about}=http://HOST:PORT (or socks5://), or unset {about}",
            )
        elif (away := _unreachable(url)) is not None:
            yield Finding(
                about=about,
                state="fault",
                found=f"{without_secrets(_with_scheme(url))} cannot be reached: {away}",
                fix=f"start the proxy, name another in {about}, or unset {about}",
            )
        else:
            yield Finding(about=about, state="ok", found=without_secrets(_with_scheme(url)))
    if not named:
        yield Finding(about="proxy", state="ok", found="none named")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding(
            about="offline",
            state="note",
            found="HF_HUB_OFFLINE is set, so nothing is fetched from the Hub",
            fix="unset HF_HUB_OFFLINE",
        )


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _unreachable(url: str) -> str | None:
    """Why no connection to a proxy comes about; None where one does."""
    from urllib.parse import urlsplit

    parts = urlsplit(_with_scheme(url))
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE_S):
            return None
    except OSError as error:
        return error.strerror or str(error)


def look_at_clock() -> Iterator[Finding]:
    """Whether the clock shows a time that is known to be past, or one that is too far ahead.

    Known to be past are the newest date in the signed catalog of this version, and the times at
    which followed registries were updated. Ahead of the catalog's last day may be the clock, or
    this version may be old: nothing here can tell.
    """
    from grokdist.catalog.followed_registries import FollowedRegistries
    from grokdist.catalog.registry import Registry

    now = datetime.now(UTC)
    try:
        registry = Registry.embedded()
        trusted = [registry.load(name) for name in registry.names()]
    except GrokdistError as error:
        yield Finding(
            about="catalog",
            state="fault",
            found=str(error),
            fix=error.hint or "pip install --force-reinstall grokdist",
        )
        return
    days = [day for each in trusted if (day := each.manifest.released) is not None]
    past = [(f"{max(days)}T00:00:00Z", "a release in the signed catalog of this version")]
    followed = FollowedRegistries()
    for name in followed.names():
        try:
            past.append((followed.get(name).checked, f"the last update of the registry {name}"))
        except GrokdistError:
            continue  # the commands that use it say what is wrong with it
    latest, what = max(past)
    shown = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if shown < latest:
        yield Finding(
            about="clock",
            state="fault",
            found=f"shows {shown}, which is before {what}, of {latest}",
            fix="set the clock: timedatectl set-ntp true",
        )
    elif any(each.signed_by.expired for each in trusted):
        expires = min(str(each.signed_by.expires) for each in trusted)
        yield Finding(
            about="clock",
            state="note",
            found=f"shows {shown}; the signed catalog was good until {expires}",
            fix="look at the date; if it is right, pip install --upgrade grokdist",
        )
    else:
        yield Finding(about="clock", state="ok", found=f"{shown}, after {what}")
