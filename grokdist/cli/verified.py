"""Open a model for use, and show how far the check of its files is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokdist.api import verified
from grokdist.api.verified import NO_ROUNDING, Rounding, VerifiedModel
from grokdist.cli.output import Output

if TYPE_CHECKING:
    from grokdist_runtime.host_files import HostPart


def open_verified(
    target: str | None,
    *,
    memory: int,
    unsafe_unverified: bool,
    out: Output,
    act: str = "run",
    tokens: int = 1,
    rows: int = 1,
    rounding: Rounding = NO_ROUNDING,
    part: HostPart | None = None,
) -> VerifiedModel:
    """As ``api.verified`` does it; what it says and how far it is goes to ``out``."""
    from grokdist.cli.progress import showing

    return verified.open_verified(
        target,
        memory=memory,
        unsafe_unverified=unsafe_unverified,
        voice=out,
        watching=lambda: showing(out),
        act=act,
        tokens=tokens,
        rows=rows,
        rounding=rounding,
        part=part,
    )
