"""How much of a file one claim gets, and where a slow one is cut. Pure arithmetic."""

from __future__ import annotations

STRETCH_S = 8.0
STRETCH_LEAST = 8 << 20
STRETCH_MOST = 64 << 20
SHARED_FROM = 64 << 20
"""Bytes from which a range may be given out in stretches."""
SHARED_FROM_S = 2.0
"""Seconds that a range must take for it."""
LEAST = 256 << 10
"""Bytes below which a share is not worth a request."""
ALIGN = 16 << 10


def stretch(rate: float) -> int:
    """Bytes that a claim of a shared file gets: some seconds' worth at ``rate`` bytes a second.

    Bounded, so that nobody works far ahead of the file's front: what arrives there is hashed from
    the page cache while it is still in it.
    """
    return int(min(max(rate * STRETCH_S, STRETCH_LEAST), STRETCH_MOST))


def worth_sharing(size: int, rate: float) -> bool:
    """True where a range of ``size`` bytes takes long enough for several requests."""
    return size > max(rate * SHARED_FROM_S, SHARED_FROM)


def cut(start: int, end: int, *, theirs: float, ours: float) -> int | None:
    """Where to cut the range ``start`` to ``end`` that another brings, so that we take its back.

    Args:
        start: the next byte that it will bring.
        end: where it would stop.
        theirs: its rate, bytes a second.
        ours: ours, as far as known.

    Returns:
        the first byte of our part, ``start`` itself where it hardly moves; None where our part
        would not be worth a request.
    """
    left = end - start
    if ours >= 2 * theirs and (left <= 4 * LEAST or ours >= 8 * theirs):
        at = start
    else:
        at = end - int(left * ours / (ours + theirs))
    if left > stretch(theirs) + stretch(ours):
        at = start + stretch(theirs)
    if at == start:
        return start
    at = -(-at // ALIGN) * ALIGN
    return at if end - at >= LEAST else None
