"""How a machine takes part in a share."""

from __future__ import annotations

from dataclasses import dataclass

from grokdist.transfer.share.keys import ShareKey

GROUP = "239.255.71.82"
"""Multicast group of announcements: of organisation-local scope (RFC 2365), sent with TTL 1."""
PORT = 17182
"""Port of announcements, and where a member listens if that is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareSettings:
    """How a machine takes part in a share.

    Attributes:
        bind: address to listen on; None for all, answering private addresses only.
        port: TCP port to listen on, 0 for any; None for ``PORT``, or any if that is taken.
        peers: members named by the user, as (host, port). Each tells of those it knows, so one
            that all machines can reach is enough.
        key: what members prove to one another; None where anyone on the local network may read.
        multicast: announce and listen on the local network.
        group_port: UDP port of announcements.
        linger: seconds after the last request that a finished member waits for others.
        settle: seconds at the start in which members find one another.
        silence: seconds without an answer after which a member counts as gone.
        steal_after: seconds without work of its own after which a member takes that of others.
        stuck: seconds without a byte after which a member helps itself.
        connections: connections served at once.
        per_address: connections served at once for one address.
        slots: ranges fetched from members at once.
    """

    bind: str | None = None
    port: int | None = None
    peers: tuple[tuple[str, int], ...] = ()
    key: ShareKey | None = None
    multicast: bool = True
    group_port: int = PORT
    linger: float = 30.0
    settle: float = 1.0
    silence: float = 5.0
    steal_after: float = 1.5
    stuck: float = 30.0
    connections: int = 512
    per_address: int = 64
    slots: int = 4
