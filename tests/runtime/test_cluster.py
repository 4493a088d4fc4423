"""Which process of how many: from flags, from launchers, or alone."""

from __future__ import annotations

import pytest

from grokdist_runtime.cluster import Cluster, find_cluster
from grokdist_runtime.errors import ClusterUsageError

SLURM_BATCH = {
    "SLURM_JOB_ID": "200505",
    "SLURM_JOB_NODELIST": "node[003-004]",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
}
SLURM = SLURM_BATCH | {
    "SLURM_PROCID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
}
KUBERNETES = {
    "JAX_COORDINATOR_ADDRESS": "grok-hosts-0-0.grok:8476",
    "JAX_NUM_PROCESSES": "2",
    "JOB_COMPLETION_INDEX": "1",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}


def find(
    environ: dict[str, str],
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> Cluster | None:
    return find_cluster(
        coordinator=coordinator, processes=processes, process=process, environ=environ
    )


def test_a_step_of_slurm() -> None:
    found = find(SLURM)
    assert found == Cluster(
        coordinator="node003:65337", processes=2, process=1, local=None, launcher="Slurm"
    )


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[007,009-015],host2", "node007"),
        ("rack[2-3]node[11-12]", "rack2node11"),
    ],
)
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    found = find(SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert found is not None
    assert found.address[0] == first


def test_two_steps_of_one_job_do_not_meet() -> None:
    ports = {find(SLURM | {"SLURM_STEP_ID": step}).address[1] for step in "01"}  # type: ignore[union-attr]
    assert len(ports) == 2


def test_tasks_that_share_a_machine_are_counted_there() -> None:
    found = find(SLURM | {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"})
    assert found is not None
    assert found.local == 1


def test_ranks_of_open_mpi() -> None:
    found = find(OPEN_MPI)
    assert found is not None
    assert (found.processes, found.process, found.launcher) == (4, 3, "Open MPI")
    assert found.address[0] == "10.96.0.1"
    ipv6 = OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp6://[fe80::b9b,fe80::1]:43370"}
    other = find(ipv6)
    assert other is not None
    assert other.address[0] == "fe80::b9b"


def test_ranks_on_one_machine_meet_there_whatever_the_version_of_open_mpi() -> None:
    newer = {name: OPEN_MPI[name] for name in OPEN_MPI if "MCA" not in name}
    newer |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "prterun-host-1@1"}
    found = find(newer)
    assert found is not None
    assert found.on_loopback
    assert found.local == 0


def test_open_mpi_that_names_no_address_needs_one() -> None:
    newer = {name: OPEN_MPI[name] for name in OPEN_MPI if "MCA" not in name}
    with pytest.raises(ClusterUsageError, match="nobody says where process 0 of 4 listens"):
        find(newer)
    found = find(newer, coordinator="node1:8476")
    assert found is not None
    assert found.coordinator == "node1:8476"


def test_pods_of_an_indexed_job() -> None:
    found = find(KUBERNETES)
    assert found == Cluster(
        coordinator="grok-hosts-0-0.grok:8476", processes=2, process=1, launcher="Kubernetes"
    )
    named = find(KUBERNETES | {"JAX_PROCESS_ID": "0"})
    assert named is not None
    assert named.first


@pytest.mark.parametrize(
    "environ",
    [
        {},
        SLURM_BATCH,  # the script itself, which is no task of a step
        SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        # pods that have nothing to do with each other
        {"JOB_COMPLETION_INDEX": "3", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"SLURM_STEP_NUM_TASKS": "many"},
    ],
)
def test_a_process_that_nobody_shares_is_alone(environ: dict[str, str]) -> None:
    assert find(environ) is None


def test_flags_win_over_launchers() -> None:
    assert find(SLURM, processes=1) is None
    found = find(SLURM, "[::1]:9000", 4, 3)
    assert found is not None
    assert (found.processes, found.process, found.address) == (4, 3, ("::1", 9000))
    assert found.on_loopback
    alone = find({}, "10.0.0.1:80", 2, 0)
    assert alone is not None
    assert alone.launcher == "flags"
    assert not alone.on_loopback


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("h:1", None, None), "--coordinator h:1 was given without --processes"),
        ((None, None, 1), "--process 1 was given without --processes"),
        (("h:1", 2, None), "--processes 2 was given without --process;"),
        ((None, 2, 0), "nobody says where process 0 of 2 listens"),
        (("h:1", 2, 2), "process 2 is none of 2; expected a number from 0 to 1"),
        (("h:1", 2, -1), "process -1 is none of 2"),
        (("h:1", 1, 1), "process 1 is none of 1"),
        (("h:1", 0, 0), "--processes is 0; expected from 1 to 10000"),
        (("h", 2, 0), "--coordinator is 'h'; expected HOST:PORT"),
        ((":80", 2, 0), "expected HOST:PORT"),
        (("::1:80", 2, 0), "expected HOST:PORT"),
        (("h:0", 2, 0), "expected HOST:PORT"),
        (("h:65536", 2, 0), "expected HOST:PORT"),
        (("h x:80", 2, 0), "expected HOST:PORT"),
    ],
)
def test_flags_that_make_no_cluster(
    given: tuple[str | None, int | None, int | None], message: str
) -> None:
    with pytest.raises(ClusterUsageError, match=message):
        find({}, *given)


def test_a_launcher_that_contradicts_itself() -> None:
    with pytest.raises(ClusterUsageError, match="Slurm says that this is process 7 of 2"):
        find(SLURM | {"SLURM_PROCID": "7"})
