"""JAX over the processes of a cluster: all devices of all processes in one mesh.

Every process runs the same programs in the same order on its own devices; weights, cache and sums
are JAX's to place. Who the processes are is said by ``cluster``, and they have met in
``rendezvous``, so that nobody is waited for here.
"""

from __future__ import annotations

import hashlib
import os

import jax
import numpy as np
from jax.experimental import multihost_utils

from grokdist_runtime.cluster import Cluster
from grokdist_runtime.errors import ClusterError, ClusterUsageError

_START_S = 120
"""Seconds; all processes are known to be there."""

_END_S = 60
"""Seconds that a process waits for the others at its end: they had the same to do."""


def start(cluster: Cluster) -> None:
    """Makes this process one of the cluster's; must come before JAX looks at its devices.

    Several processes on one machine take one accelerator each, as JAX does under Slurm and
    Open MPI; a process that has its machine for itself takes all of them. Sums between CPUs go
    through Gloo.

    Raises:
        ClusterError: JAX could not start.
    """
    host, port = cluster.address
    # A proxy for web pages would be asked for the coordinator too; JAX warns of any such variable.
    os.environ.setdefault("no_grpc_proxy", host)
    jax.config.update("jax_check_proxy_envs", False)
    # It would take termination signals for itself, and the run would go on.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    at = f"[{host}]" if ":" in host else host
    try:
        jax.distributed.initialize(
            coordinator_address=f"{at}:{port}",
            num_processes=cluster.processes,
            process_id=cluster.process,
            local_device_ids=None if cluster.local is None else [cluster.local],
            cluster_detection_method="deactivate",
            initialization_timeout=_START_S,
            shutdown_timeout_seconds=_END_S,
            coordinator_bind_address=f"{at}:{port}" if cluster.on_loopback else None,
        )
    except (RuntimeError, ValueError) as error:
        raise ClusterError(
            f"JAX did not start on process {cluster.process} of {cluster.processes}:"
            f" {str(error).splitlines()[0]}"
        ) from error


def require_same(what: str, text: str) -> None:
    """Checks that a text is the same in all processes.

    Raises:
        ClusterUsageError: It is not; raised in every process.
    """
    own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)  # [8]
    found = np.asarray(multihost_utils.process_allgather(own))  # [processes, 8]
    other = np.flatnonzero((found != found[0]).any(-1))
    if other.size:
        raise ClusterUsageError(
            f"process {other[0]} has another {what} than process 0; expected the same in all"
        )
