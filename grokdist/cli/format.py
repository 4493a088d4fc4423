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


def eta_text(seconds: float) -> str:
    """A time still to come, as coarse as it is uncertain: ``8 s``, ``3 min 5 s``, ``2 d 3 h``."""
    if seconds < 60:
        return f"{round(seconds)} s"
    if seconds >= 48 * 3600:
        hours = round(seconds / 3600)
        return f"{hours // 24} d {hours % 24} h"
    return duration_text(seconds)


def rate_text(rate: float) -> str:
    """Bytes a second: ``45.2 MB/s``."""
    return f"{bytes_text(int(rate))}/s"


def plain_text(text: str) -> str:
    """Text that may come from a server or a peer, without what could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


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


def parse_rate(text: str, flag: str = "--max-rate") -> int:
    """Bytes a second from ``500k``, ``10MB/s`` or ``1.5GiB``; ``flag`` is named in errors.

    Raises:
        UsageError: the text is not a rate, or is zero.
    """
    match = _RATE.match(text)
    if match is None:
        raise UsageError(f"{flag} {text!r} is not a rate; expected for example 500k, 10M, 1.5G")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    rate = int(float(number) * base ** " kmgt".index(prefix.lower() or " "))
    if rate <= 0:
        raise UsageError(f"{flag} {text!r} is no rate at all; expected more than 0")
    return rate
