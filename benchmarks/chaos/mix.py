"""What befalls one fetch, drawn from a seed: the same seed is the same mix on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

GOOD = "honest"
HARMLESS = (
    "honest", "200 to a range", "no length", "chunked", "endless body", "asks to wait",
    "busy at first", "redirects to an honest one",
)  # fmt: skip
WRONG = (
    "truncates", "resets", "stalls", "never answers", "drips", "drips headers", "range of others",
    "range too far", "range of another length", "range of another total", "range of junk",
    "length too small", "length too large", "length negative", "length in words", "two lengths",
    "no length, short", "bad chunks", "web page", "web page without length", "garbage", "nothing",
    "endless headers", "endless header line", "endless interim answers", "gzip", "redirect loop",
    "redirect to a file", "redirect to junk", "redirect to nowhere", "changes midway", "larger",
    "smaller", "empty", "wrong bytes", "poisons the connection", "401", "403", "404", "204", "304",
    "416", "500", "503", "999", "always asks to wait", "redirects to a liar",
)  # fmt: skip
PATIENT = frozenset(
    ("stalls", "never answers", "drips", "drips headers", "endless interim answers", "500", "503",
     "999", "always asks to wait", "resets", "nothing", "bad chunks")
)  # fmt: skip
"""Waited for, for minutes where there is nobody else."""
DISKS = (
    "small",
    "full from a step on",
    "failing from a step on",
    "read-only",
    "slow",
    "slow calls",
)
BEFORE = ("killed before", "damaged")
ENDS = ("SIGKILL at a step", "SIGKILL", "SIGKILL of all", "SIGINT", "SIGTERM")


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What befalls one fetch.

    Attributes:
        seed: what it was drawn from.
        servers: what its HTTP servers do, by name.
        mended_s: seconds after which all servers turn honest; 0: never. Some have been given up
            by then, for good.
        peers: what its torrent peers do: ``honest``, ``lies``, ``dead``; none: no torrent.
        disk: what is wrong with its disk; empty: nothing.
        clock: the wall clock jumps about.
        before: what was there already; empty: nothing.
        end: what ends it from outside; empty: nothing.
        moment: when, as a part of an undisturbed fetch, in 0..1; also the step of a full disk and
            the share of the bytes that a small one holds.
    """

    seed: int
    servers: tuple[str, ...]
    mended_s: float
    peers: tuple[str, ...]
    disk: str
    clock: bool
    before: str
    end: str
    moment: float

    @property
    def helped(self) -> bool:
        """True where every byte can be had from somebody, so that the fetch must complete.

        libtorrent counts its time by the wall clock: a swarm may lose its peers when that jumps.
        """
        swarm = "honest" in self.peers and not self.clock
        return swarm or any(each in HARMLESS for each in self.servers)

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that befalls it, for the counts."""
        return (
            *(f"server: {each}" for each in sorted(set(self.servers)) if each != GOOD),
            *(f"peer: {each}" for each in self.peers if each != GOOD),
            *([f"disk: {self.disk}"] if self.disk else ()),
            *(["clock jumps"] if self.clock else ()),
            *([f"before: {self.before}"] if self.before else ()),
            *([f"end: {self.end}"] if self.end else ()),
        )

    def __str__(self) -> str:
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return ", ".join(f"{name} {value}" for name, value in told.items() if value)


def draw(seed: int) -> Mix:
    """The mix of a seed: servers or peers with faults always, and some of the rest."""
    of = random.Random(seed)
    servers = [of.choice(WRONG) for _ in range(of.choice((0, 1, 1, 2)))]
    servers += [of.choice(HARMLESS) for _ in range(of.choice((0, 1, 1)))]
    of.shuffle(servers)
    peers = of.choice(((), (), (), ("lies",), ("lies", "honest"), ("dead",), ("honest",)))
    end = of.choice(ENDS) if of.random() < 0.45 else ""
    mended = 0.0
    if not servers and not peers:
        servers = [GOOD]
    alone = not any(each in HARMLESS for each in servers) and "honest" not in peers
    if alone and peers and not end:
        # A swarm without a right byte is waited for, for minutes: somebody ends it.
        end = of.choice(ENDS[1:])
    elif alone and not end and (PATIENT & set(servers) or of.random() < 0.4):
        mended = of.uniform(0.5, 4.0)
    return Mix(
        seed=seed,
        servers=tuple(servers),
        mended_s=round(mended, 2),
        peers=peers,
        disk=of.choice(DISKS) if of.random() < 0.4 else "",
        clock=of.random() < 0.25,
        before=of.choice(BEFORE) if of.random() < 0.25 else "",
        end=end,
        moment=round(of.random(), 4),
    )
