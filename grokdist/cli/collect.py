"""``grokdist gc``: remove what is of no more use in the store."""

from __future__ import annotations

from typing import Annotated

import typer

from grokdist.cli import options
from grokdist.cli.format import bytes_text, plain_text
from grokdist.cli.output import Output
from grokdist.errors import StoreError


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and how much it is.")
    ] = False,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Also the parts that a fetch could go on from."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove what is of no more use in the store: left parts, dead leases, old compile caches."""
    from grokdist.transfer.store import Store
    from grokdist.transfer.waste import MEANINGS, dispose, find_waste

    out = Output(json=json, quiet=quiet, verbose=verbose)
    rows = []
    lines = []
    freed = 0
    for waste in find_waste(Store(), unfinished=unfinished):
        refused = None
        if not dry_run:
            try:
                dispose(waste)
            except StoreError as error:
                refused = str(error)
                out.warning(f"{plain_text(str(waste.path))} stays: {refused}")
        freed += 0 if refused else waste.bytes
        rows.append(
            {
                "kind": str(waste.kind),
                "path": str(waste.path),
                "bytes": waste.bytes,
                "removed": not dry_run and refused is None,
                "reason": refused,
            }
        )
        if refused is None:
            lines.append(
                f"{bytes_text(waste.bytes):>10}  {MEANINGS[waste.kind]}:"
                f" {plain_text(str(waste.path))}"
            )
    lines.append(f"{'would free' if dry_run else 'freed'} {bytes_text(freed)}")
    out.result({"dry_run": dry_run, "freed_bytes": freed, "items": rows}, "\n".join(lines))
    if any(row["reason"] for row in rows):
        raise SystemExit(1)
