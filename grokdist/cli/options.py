"""Options that every command takes, declared once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class KvCacheDtype(StrEnum):
    """What ``--kv-cache`` takes."""

    INT8 = "int8"


Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
StrictFreshness = Annotated[
    bool,
    typer.Option("--strict-freshness", help="Refuse a signed catalog whose time has expired."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]

KvCache = Annotated[
    KvCacheDtype | None,
    typer.Option(help="Round cached keys and values: smaller, and lossy; default: as computed."),
]
