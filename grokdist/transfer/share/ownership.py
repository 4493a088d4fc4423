"""Who takes which bytes from the origin. Pure.

Files are divided into chunks, and each chunk belongs to the member whose weight for it is the
highest (rendezvous hashing: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit
rates", 1998). Everyone who knows the same members comes to the same answer without a word, and
when one leaves or joins only its own share of the chunks changes hands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from grokdist.transfer.ranges import Range

LEAST_CHUNK = 1 << 20
MOST_CHUNK = 64 << 20
_CHUNKS = 2048


def chunk_size(total: int) -> int:
    """Bytes of a chunk for a payload of ``total`` bytes: a power of two, 1 to 64 MiB.

    Small chunks spread a small payload evenly; large ones keep the number of requests low, which
    a public Hub counts for each address (3,000 in five minutes).
    """
    chunk = LEAST_CHUNK
    while chunk < MOST_CHUNK and chunk * _CHUNKS < total:
        chunk *= 2
    return chunk


def weight(member: str, sha256: str, chunk: int) -> int:
    """The weight of a member for a chunk of a file."""
    text = f"{member} {sha256} {chunk}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def owner(members: Iterable[str], sha256: str, chunk: int) -> str | None:
    """The member that a chunk belongs to; None without members."""
    return max(members, key=lambda member: (weight(member, sha256, chunk), member), default=None)


def meet(ours: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """The bytes that are in both of two ordered lists of disjoint ranges."""
    found: list[Range] = []
    right = list(others)
    place = 0
    for start, end in ours:
        while place < len(right) and right[place][1] <= start:
            place += 1
        at = place
        while at < len(right) and right[at][0] < end:
            found.append((max(start, right[at][0]), min(end, right[at][1])))
            at += 1
    return found


def without(ours: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """The bytes of ``ours`` that are in none of ``others``; both ordered and disjoint."""
    found: list[Range] = []
    right = list(others)
    for start, end in ours:
        at = start
        for first, last in right:
            if last <= at:
                continue
            if first >= end:
                break
            if first > at:
                found.append((at, first))
            at = last
        if at < end:
            found.append((at, end))
    return found
