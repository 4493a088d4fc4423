"""How the reader words a refusal: what stands where, and what the layout has there.

Text from the file is shown escaped and cut, so that a hostile shard cannot speak to the terminal.
"""

from __future__ import annotations

from pathlib import Path

from grokdist_runtime.errors import UnsafeShardError

_SHOWN = 60
_HINT = "fetch the file again, or look up its digest with `grokdist verify`"


class Refusal(Exception):  # noqa: N818 - never leaves this package; the reader adds file and offset
    """Something in a shard is not what the layout has there."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found}; expected {expected}")
        self.found = found
        self.expected = expected


def printable(value: object) -> str:
    """Text or bytes of unknown origin, quoted, in printable ASCII and at most 60 characters."""
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def path_text(path: Path) -> str:
    """A path as it is typed, or escaped where it holds characters a terminal would act on."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def unsafe_shard(path: Path, offset: int | None, refusal: Refusal) -> UnsafeShardError:
    """The public error for a refusal at an offset of a file."""
    where = path_text(path) + ("" if offset is None else f" at byte {offset}")
    return UnsafeShardError(
        f"{where}: {refusal.found}; expected {refusal.expected}",
        file=path_text(path),
        offset=offset,
        found=refusal.found,
        expected=refusal.expected,
        hint=_HINT,
    )
