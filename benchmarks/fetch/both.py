"""HTTP and a swarm at once, each behind a link of limited rate: the sum is what counts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.fetch.contest import Arena, Contestant, Figures, fetch_contest, own_home
from benchmarks.fetch.http_clients import VERIFIED, fetching
from benchmarks.fetch.network import LOOPBACK, Island
from benchmarks.fetch.payload import Payload
from benchmarks.fetch.swarm_clients import Swarm, bare_leech
from benchmarks.fetch.web import Web

HTTP = "curl, HTTP link"
SWARM = "libtorrent alone, swarm link"
BOTH = "grokdist, both links"


def both_contest(arena: Arena, payload: Payload, address: str, rate: str) -> list[Figures]:
    """Each link alone, and grokdist over both.

    Raises:
        LookupError: no network namespace may be made here.
    """
    if address == LOOPBACK:
        raise LookupError("needs network namespaces: run as root, or where unshare may make one")
    home = arena.home
    with ExitStack() as stack:
        web_island = stack.enter_context(Island(1, rate))
        swarm_island = stack.enter_context(Island(2, rate))
        web = stack.enter_context(
            Web([payload], home=home / "web", address=web_island.address, island=web_island)
        )
        swarm = stack.enter_context(
            Swarm(payload, home=home / "swarm", address=address, island=swarm_island)
        )
        url = web.url(payload)
        rows = [f"url = {url}{entry.path}\noutput = OUT/{entry.path}\n" for entry in payload.files]

        def curl(out: object) -> list[str]:
            path = home / "curl-both.conf"
            path.write_text("".join(rows).replace("OUT", str(out)), "utf-8")
            return ["curl", "-s", "--create-dirs", "-K", str(path)]

        links = [
            Contestant(name=HTTP, checks="nothing", command=curl),
            Contestant(
                name=SWARM,
                checks="SHA-1 of pieces",
                command=lambda out: bare_leech(swarm, out),
                payload_below=payload.name,
            ),
        ]
        both = Contestant(
            name=BOTH,
            checks="SHA-256, fsync, trees behind it",
            says=VERIFIED,
            command=lambda out: fetching(
                payload,
                out,
                *("--source", url, "--torrent", str(swarm.torrent), "--peer", swarm.peer),
            ),
            environment=own_home(home),
        )
        # What tc lets through does not vary: one round shows it.
        once = replace(arena, repeats=1)
        return [*fetch_contest(once, payload, links), *fetch_contest(arena, payload, [both])]
