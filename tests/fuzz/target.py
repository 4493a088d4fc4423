"""What a target is, and what every group of targets needs."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import Mutate

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class NotOurs(Exception):  # noqa: N818  (no failure: the reader passes over such bytes)
    """Bytes that a reader took for none of its own, and said so by its answer."""


def ours(value: object) -> None:
    """Tell an answer from none."""
    if value is None:
        raise NotOurs


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser, or a few that read the same bytes.

    Attributes:
        seeds: valid inputs to start from.
        run: reads one input; raises for one that is refused.
        refusals: the errors that a refusal may be.
        mutate: makes a new input of a seed.
    """

    seeds: Sequence[bytes]
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    mutate: Mutate


def scratch() -> Path:
    """A folder in memory, where there is such a thing; it goes with the process."""
    shared = Path("/dev/shm")  # noqa: S108  (made private by mkdtemp)
    made = tempfile.mkdtemp(prefix="grokdist-fuzz-", dir=shared if shared.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
