"""Options that every command takes, declared once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class KvCacheDtype(StrEnum):
    """What ``--kv-cache`` takes."""

    INT8 = "int8"


class KernelNames(StrEnum):
    """What ``--kernels`` takes."""

    PLAIN = "plain"
    NATIVE = "native"
    PALLAS = "pallas"


class ExpertDtype(StrEnum):
    """What ``--requantise`` takes."""

    INT4 = "int4"


Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Requantise = Annotated[
    ExpertDtype | None,
    typer.Option(help="Round the experts to this: smaller, and another model; default: as stored."),
]
StrictFreshness = Annotated[
    bool,
    typer.Option("--strict-freshness", help="Refuse a signed catalog whose time has expired."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]

Dtype = Annotated[str | None, typer.Option(help="float32 or bfloat16; default: the model's own.")]
Kernels = Annotated[
    KernelNames | None,
    typer.Option(help="Who multiplies: XLA, C++ or a GPU kernel; default: the fastest here."),
]
KvCache = Annotated[
    KvCacheDtype | None,
    typer.Option(help="Round cached keys and values: smaller, and lossy; default: as computed."),
]
Mesh = Annotated[
    str | None,
    typer.Option(help="Devices as DxM or DxMxE: data, model, expert; default: auto."),
]
