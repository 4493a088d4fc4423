"""Numbers and facts as people read them."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable

from grokdist.errors import UsageError

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?(?:/s)?\s*$")


def bytes_text(count: int) -> str:
    """Bytes in decimal units with one decimal: ``318.2 GB``."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Seconds as ``0.8 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: ``1 file``, ``772 files``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def facts_text(facts: Iterable[tuple[str, str]]) -> str:
    """Labelled facts, one below the other; long ones are folded on a terminal, never in a pipe.

    Args:
        facts: (label, value); a fact without a value is left out, one without a label goes on
            with the fact above.
    """
    indent = " " * 11
    width = max(shutil.get_terminal_size().columns, 40) if sys.stdout.isatty() else 0
    lines = []
    for label, value in facts:
        if not value:
            continue
        line = f"{label:<10} {value}"
        lines += textwrap.wrap(line, width, subsequent_indent=indent) if width else [line]
    return "\n".join(lines)


def parse_rate(text: str) -> int:
    """Bytes a second from ``500k``, ``10MB/s`` or ``1.5GiB``.

    Raises:
        UsageError: the text is not a rate, or is zero.
    """
    match = _RATE.match(text)
    if match is None:
        raise UsageError(f"--max-rate {text!r} is not a rate; expected for example 500k, 10M, 1.5G")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    rate = int(float(number) * base ** " kmgt".index(prefix.lower() or " "))
    if rate <= 0:
        raise UsageError(f"--max-rate {text!r} is no rate at all; expected more than 0")
    return rate
