"""Flags by which processes on several machines share one run, and how a command takes part."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist_runtime.cluster import Cluster

Coordinator = Annotated[
    str | None,
    typer.Option(
        envvar="GROKDIST_COORDINATOR",
        help="HOST:PORT where process 0 listens; default: what Slurm, Open MPI or Kubernetes say.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        envvar="GROKDIST_PROCESSES",
        help="Processes that share the run, one a machine; 1: this one alone.",
    ),
]
Process = Annotated[
    int | None, typer.Option(envvar="GROKDIST_PROCESS", help="Which of them this is, from 0.")
]
JoinTimeout = Annotated[
    float,
    typer.Option(
        envvar="GROKDIST_JOIN_TIMEOUT", min=0.1, help="Seconds to wait for the other processes."
    ),
]
JOIN_S = 300.0

OWN = frozenset(
    {
        "coordinator",
        "join_timeout",
        "json",
        "logits",
        "model",  # a path may differ; whether it is the same model is asked once it is open
        "process",
        "processes",
        "prompt",
        "quiet",
        "stats",
        "text",
        "tokens",
        "unsafe_unverified",
        "verbose",
    }
)
"""Flags that each process may have as it likes; of the prompt process 0's counts."""


def find(
    coordinator: str | None, processes: int | None, process: int | None, *, model: str | None
) -> Cluster | None:
    """The cluster that this process belongs to; ``None`` if it is alone.

    Raises:
        UsageError: There is one, and each of its processes might choose another model.
        ClusterUsageError: Flags or environment do not say which process this is.
    """
    from grokdist_runtime.cluster import find_cluster

    cluster = find_cluster(
        coordinator=coordinator, processes=processes, process=process, environ=os.environ
    )
    if cluster is not None and model is None:
        raise UsageError(
            f"a run of {cluster.processes} processes needs --model; each machine might choose"
            " another",
            hint="--model grok-mini",
        )
    return cluster


def leave(code: object) -> None:
    """Ends a process that failed in a shared run without waiting for the others to finish."""
    if supervision := sys.modules.get("grokdist_runtime.supervision"):
        supervision.leave(code if isinstance(code, int) else 1 if code else 0)


def take_part(
    cluster: Cluster | None,
    context: typer.Context,
    word: Callable[[], dict[str, Any]],
    *,
    join_timeout: float,
    out: Output,
) -> tuple[dict[str, Any], Output]:
    """Meets the other processes and goes on under supervision.

    Args:
        cluster: From ``find``; alone a process makes its word and goes on.
        context: The command's flags, which all processes must have alike but for ``OWN``.
        word: Makes what only process 0 knows: the prompt, and the seed.
        join_timeout: Seconds to wait for the other processes.
        out: Where this command's words go.

    Returns:
        Process 0's word, and where words go from here: process 0 alone prints.

    Raises:
        ClusterError: The processes did not come together.
        SystemExit: In the parent that only watches, when the run is over.
    """
    if cluster is None:
        return word(), out
    from grokdist_runtime.rendezvous import meet
    from grokdist_runtime.supervision import keep_output, supervise

    if not cluster.first:
        keep_output(printing=False)
        out = Output(quiet=True)
    who = f"process {cluster.process} of {cluster.processes}"
    out.detail(f"{who}, as {cluster.launcher} says; process 0 is at {cluster.coordinator}")
    settings = {name: value for name, value in context.params.items() if name not in OWN}
    link, said = meet(cluster, settings, word, timeout_s=join_timeout)
    ending = supervise(link)
    if ending is None:
        return dict(said), out
    if ending.reason:
        hint = "see what that process said" if ending.elsewhere else None
        out.error(f"the run ended: {ending.reason}", hint, code=ending.code)
    raise SystemExit(ending.code)
