"""Experts as int4: which rows share a scale, and what to call a model that was altered so.

Two rows of a matrix ``[in, out]`` are packed into one row of bytes: byte ``i`` of a column has row
``2 i`` in its low and row ``2 i + 1`` in its high four bits, in two's complement. Groups of rows
share a scale. How values are rounded is in ``requantisation``.
"""

from __future__ import annotations

DEFAULT_GROUP = 128
"""Rows that share a scale, at most, unless told otherwise."""

MIN_GROUP = 16
"""Where fewer rows share a float32 scale, int4 is hardly smaller than int8."""

MAX_GROUP = 1 << 16


def group_rows(rows: int, group: int) -> int | None:
    """Rows that share a scale in a matrix of so many: the largest even divisor up to ``group``.

    None where there is none of at least ``MIN_GROUP``. Says nothing of devices: a group that lies
    on several has its scale on each of them, so that results do not depend on the mesh.
    """
    divisors = (size for size in range(min(group, rows), MIN_GROUP - 1, -1) if rows % size == 0)
    return next((size for size in divisors if size % 2 == 0), None)


def alteration(group: int) -> str:
    """What was done to a model's experts, in words that fit ``altered: ...``."""
    return (
        f"experts requantised from int8 to int4 in groups of at most {group} rows;"
        " not the weights that were released"
    )
