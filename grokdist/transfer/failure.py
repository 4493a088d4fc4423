"""The error for a fetch that could not get all its files."""

from __future__ import annotations

from collections.abc import Sequence

from grokdist.errors import DigestMismatchError, GrokdistError, NoSourceError
from grokdist.transfer.board import Board
from grokdist.transfer.claims import Standing, Wanted
from grokdist.transfer.plan import check_entry


def failure(board: Board, failed: Sequence[Wanted], files: int) -> GrokdistError:
    """The error for files that could not be had: wrong bytes weigh more than absent ones."""
    wrong = [wanted for wanted in failed if any(c.wrong for c in wanted.chances.values())]
    if wrong:
        first = wrong[0]
        expected = str(check_entry(first.entry))
        blamed = ", ".join(n for n, chance in first.chances.items() if chance.wrong)
        more = f"; {len(wrong) - 1} more files likewise" if len(wrong) > 1 else ""
        return DigestMismatchError(
            f"{first.entry.path} from {blamed} is not what the manifest names;"
            f" expected {expected}, got {first.got}{more}",
            path=first.entry.path,
            expected=expected,
            got=first.got,
            hint="what is right stays; run it again with another source, as in --source"
            " hub:ORG/NAME or --source https:URL",
        )
    telling: dict[str, Standing] = {}
    for wanted in failed:
        for name, chance in wanted.chances.items():
            whole = board.whole(name)
            standing = whole if whole.closed else chance
            best = telling.setdefault(name, standing)
            if not best.reason or (standing.permanent and not best.permanent):
                telling[name] = standing
    told = "; ".join(f"{name}: {each.reason or 'not reached'}" for name, each in telling.items())
    return NoSourceError(
        f"no source could provide {len(failed)} of {files} files, {failed[0].entry.path} first:"
        f" {told or 'none offers it'}",
        hint="run the same command again to go on where it stopped, or name another source"
        " with --source",
    )
