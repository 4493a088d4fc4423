"""One thing that ``doctor`` looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: what.
        state: ``ok``; ``note`` for what works and could be better; ``fault`` for what must be
            mended.
        found: what was seen.
        fix: what mends it; empty where nothing needs to.
    """

    about: str
    state: str
    found: str
    fix: str = ""
