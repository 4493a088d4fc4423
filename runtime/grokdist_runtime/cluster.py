"""Which processes share one run: read from flags, or from what a launcher sets. No JAX.

Reads the environment and nothing else, so that a process that belongs to no cluster waits for
nobody. ``rendezvous`` brings the processes together, ``distributed`` starts JAX on them.

The variables are those that the launchers document: Slurm's for a job step, Open MPI's for each
rank, and for Kubernetes those that JAX and Kubeflow name, with the index that an indexed Job gives
each pod.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Mapping

from grokdist_runtime.errors import ClusterUsageError

MAX_PROCESSES = 10_000

_FIRST_PORT = 61440
"""Above the ports that Linux and macOS give to outgoing connections, or at their very end."""

_PORTS = 4096
_BRACKET = re.compile(r"\[(\w+)[^\]]*\]")
_LAUNCHER_URI = re.compile(r"tcp://([^,:;]+)|tcp6://\[([^,\]]+)")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """One process among those of a run.

    Attributes:
        coordinator: ``HOST:PORT`` where process 0 listens.
        processes: How many there are, at least two.
        process: Which one this is, from 0.
        local: Which one it is of those on its machine, where several share it; else ``None``.
        launcher: Who said so: ``flags``, ``Slurm``, ``Open MPI`` or ``Kubernetes``.
    """

    coordinator: str
    processes: int
    process: int
    local: int | None = None
    launcher: str = "flags"

    @property
    def first(self) -> bool:
        """Whether this is process 0, which reads the prompt and prints the answer."""
        return self.process == 0

    @property
    def address(self) -> tuple[str, int]:
        """The coordinator's host, without brackets, and its port."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def on_loopback(self) -> bool:
        """Whether all processes are on this machine, by the coordinator's address."""
        return _LOOPBACK.fullmatch(self.address[0]) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a launcher says; ``coordinator`` is ``None`` where it does not say that."""

    launcher: str
    processes: int
    process: int
    coordinator: str | None = None
    local: int | None = None


def find_cluster(
    *,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environ: Mapping[str, str],
) -> Cluster | None:
    """The cluster that this process belongs to; ``None`` if it is alone.

    What is given wins over what a launcher set; ``processes`` of 1 makes a process alone whatever
    started it.

    Raises:
        ClusterUsageError: A value is out of range, or one that is needed was not given.
    """
    place = find_place(processes=processes, process=process, environ=environ)
    if place is None:
        if coordinator is not None and processes is None:
            raise ClusterUsageError(
                f"--coordinator {coordinator[:80]} was given without --processes; expected how many"
                " there are, or a launcher that says it",
                hint=f"--coordinator {coordinator[:80]} --processes 2 --process 0",
            )
        return None
    address = place.coordinator if coordinator is None else coordinator
    if address is None:
        raise ClusterUsageError(
            f"nobody says where process 0 of {place.processes} listens; expected --coordinator"
            " HOST:PORT",
            hint="set GROKDIST_COORDINATOR=HOST:PORT for every process",
        )
    return Cluster(
        coordinator=_checked_address(address),
        processes=place.processes,
        process=place.process,
        local=place.local,
        launcher=place.launcher,
    )


def find_place(
    *, processes: int | None, process: int | None, environ: Mapping[str, str]
) -> Place | None:
    """Which process of how many this is; ``None`` if it is alone.

    Raises:
        ClusterUsageError: A number is out of range or missing.
    """
    launched = None if processes == 1 else detect(environ)
    count = processes if processes is not None or launched is None else launched.processes
    index = process if process is not None or launched is None else launched.process
    if count is None:
        if index is None:
            return None
        raise ClusterUsageError(
            f"--process {index} was given without --processes; expected how many there are",
            hint=f"--processes {max(index + 1, 2)} --process {index}",
        )
    if not 1 <= count <= MAX_PROCESSES:
        raise ClusterUsageError(f"--processes is {count}; expected from 1 to {MAX_PROCESSES}")
    if index is None and count > 1:
        raise ClusterUsageError(
            f"--processes {count} was given without --process; expected which one this is,"
            f" from 0 to {count - 1}",
            hint=f"--processes {count} --process 0",
        )
    index = index or 0
    if not 0 <= index < count:
        raise ClusterUsageError(
            f"process {index} is none of {count}; expected a number from 0 to {count - 1}"
        )
    if count == 1:
        return None
    if launched is None:
        return Place(launcher="flags", processes=count, process=index)
    return dataclasses.replace(launched, processes=count, process=index)


def detect(environ: Mapping[str, str]) -> Place | None:
    """What a launcher says of this process; ``None`` where there is none, or it started only one.

    Raises:
        ClusterUsageError: A launcher's variables contradict one another.
    """
    for find in (_slurm, _open_mpi, _kubernetes):
        place = find(environ)
        if place is None:
            continue
        if not 0 <= place.process < place.processes <= MAX_PROCESSES:
            raise ClusterUsageError(
                f"{place.launcher} says that this is process {place.process} of"
                f" {place.processes}; expected one from 0 to {place.processes - 1}",
                hint="--processes 1 runs it alone",
            )
        return place if place.processes > 1 else None
    return None


def _slurm(environ: Mapping[str, str]) -> Place | None:
    """A task of a job step; a batch script's own shell is none, and has no step's variables."""
    processes = _number(environ, "SLURM_STEP_NUM_TASKS")
    process = _number(environ, "SLURM_PROCID")
    job = _number(environ, "SLURM_JOB_ID")
    nodes = environ.get("SLURM_STEP_NODELIST")
    if processes is None or process is None or job is None or not nodes:
        return None
    port = _FIRST_PORT + (job + (_number(environ, "SLURM_STEP_ID") or 0)) % _PORTS
    machines = _number(environ, "SLURM_STEP_NUM_NODES") or 1
    return Place(
        launcher="Slurm",
        processes=processes,
        process=process,
        coordinator=f"{_first_node(nodes)}:{port}",
        local=_number(environ, "SLURM_LOCALID") if processes > machines else None,
    )


def _open_mpi(environ: Mapping[str, str]) -> Place | None:
    processes = _number(environ, "OMPI_COMM_WORLD_SIZE")
    process = _number(environ, "OMPI_COMM_WORLD_RANK")
    if processes is None or process is None:
        return None
    here = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE") or 1
    # Until Open MPI 4 a variable names the launcher's address; since 5 there is only the name of
    # the run, which is enough where all ranks are on one machine.
    uri = environ.get("OMPI_MCA_orte_hnp_uri", "")
    run = uri or environ.get("PMIX_NAMESPACE", "")
    launcher = _LAUNCHER_URI.search(uri)
    host = "127.0.0.1" if here == processes else None
    if host is None and launcher is not None:
        host = launcher[1] or f"[{launcher[2]}]"
    port = _FIRST_PORT + zlib.crc32(run.encode()) % _PORTS
    return Place(
        launcher="Open MPI",
        processes=processes,
        process=process,
        coordinator=None if host is None or not run else f"{host}:{port}",
        local=_number(environ, "OMPI_COMM_WORLD_LOCAL_RANK") if here > 1 else None,
    )


def _kubernetes(environ: Mapping[str, str]) -> Place | None:
    """A pod of an indexed Job that names its coordinator; a Job of independent pods is none."""
    coordinator = environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _number(environ, "JAX_NUM_PROCESSES")
    process = _number(environ, "JAX_PROCESS_ID")
    if process is None:
        process = _number(environ, "JOB_COMPLETION_INDEX")
    if not coordinator or processes is None or process is None:
        return None
    return Place(
        launcher="Kubernetes", processes=processes, process=process, coordinator=coordinator
    )


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _first_node(nodes: str) -> str:
    """The first of a list such as ``node[003-005,9],other``."""
    return _BRACKET.sub(r"\1", nodes).split(",")[0]


def _checked_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bad_host = not bare or (":" in bare and bare == host) or not re.fullmatch(r"[\w.:%-]+", bare)
    if bad_host or not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ClusterUsageError(
            f"--coordinator is {text[:80]!r}; expected HOST:PORT of process 0",
            hint="for example --coordinator node1:8476",
        )
    return text
