"""The Slurm script and the JobSet: well-formed, and what they set is what ``run`` reads.

Neither a Slurm controller nor a Kubernetes server is at hand: the script runs with an ``srun`` that
starts each task here, and the JobSet's pods are worked out as its controller documents it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from grokdist.cli.main import app
from grokdist_runtime.cluster import Cluster, find_cluster

SBATCH = {
    "cpus-per-task": r"[1-9]\d*",
    "exclusive": r"",
    "gpus-per-node": r"[1-9]\d*",
    "job-name": r"[\w.-]+",
    "mem": r"\d+[KMGT]?",
    "nodes": r"[1-9]\d*",
    "ntasks-per-node": r"1",
    "output": r"[\w.%-]+",
    "time": r"\d\d:\d\d:\d\d",
}
"""Options of ``sbatch`` that the script uses, and what each may be."""

SRUN = """#!/bin/bash
shift  # --kill-on-bad-exit=1
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2 \\
    SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_STEP_NODELIST='node[1-2]' "$@"
done
"""
GROKDIST = """#!/bin/bash
printf '%s\\0' "SLURM_PROCID=$SLURM_PROCID" "$@" >> "$RECORD"
printf '\\n' >> "$RECORD"
"""


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "docs" / "cluster" / "slurm.sh"


@pytest.fixture
def jobset(repository: Path) -> Any:
    return yaml.safe_load((repository / "docs" / "cluster" / "jobset.yaml").read_text("utf-8"))


def parsed(command: list[str]) -> dict[str, Any]:
    """The flags of a command, as the command line itself reads them."""
    assert command[0] == "grokdist"
    group: Any = typer.main.get_command(app)
    chosen = group.commands[command[1]]
    flags: dict[str, Any] = chosen.make_context(command[1], command[2:]).params
    return flags


def test_the_script_has_no_fault_that_bash_sees(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_its_options_are_slurms_and_stand_before_the_first_command(script: Path) -> None:
    lines = script.read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(at for at, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.removeprefix("#SBATCH ") for line in lines[:first] if "#SBATCH" in line]
    assert len(options) > 5
    assert not [line for line in lines[first:] if "#SBATCH" in line]
    for option in options:
        name, _, value = option.removeprefix("--").partition("=")
        assert re.fullmatch(SBATCH[name], value), option


def test_the_script_runs_the_same_commands_on_every_machine(script: Path, tmp_path: Path) -> None:
    for name, text in (("srun", SRUN), ("grokdist", GROKDIST)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RECORD": str(tmp_path / "record"),
        "USER": "someone",
    }
    subprocess.run(["bash", script, "Hello, world"], env=environment, check=True, timeout=60)
    ran = [line.split("\0")[:-1] for line in (tmp_path / "record").read_text().splitlines()]
    assert [line[0] for line in ran] == [f"SLURM_PROCID={task}" for task in (0, 1, 0, 1)]
    fetch, run = (parsed(["grokdist", *line[1:]]) for line in (ran[0], ran[2]))
    assert ran[1][1:] == ran[0][1:]
    assert ran[3][1:] == ran[2][1:]
    assert fetch["for_mesh"] == run["mesh"] == "1x8"
    assert run["prompt"] == "Hello, world"


def test_the_jobset_is_of_the_form_that_its_api_asks_for(repository: Path, jobset: Any) -> None:
    schema = json.loads((repository / "tests/docs/jobset.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert [error.message for error in validator.iter_errors(jobset)] == []
    wrong = copy.deepcopy(jobset)
    wrong["spec"]["replicatedJobs"][0]["template"]["spec"]["paralelism"] = 2
    assert [error.message for error in validator.iter_errors(wrong)] != []


def test_every_pod_knows_which_process_it_is(jobset: Any) -> None:
    (hosts,) = jobset["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    pod = job["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"]
    assert hosts["replicas"] == 1
    found = [
        find_cluster(
            coordinator=None,
            processes=None,
            process=None,
            environ=environment(jobset, pod["containers"][0], index),
        )
        for index in range(job["completions"])
    ]
    assert found == [
        Cluster(
            coordinator="grok-hosts-0-0.grok:8476",
            processes=job["completions"],
            process=index,
            launcher="Kubernetes",
        )
        for index in range(2)
    ]
    assert pod["initContainers"][0]["env"] == pod["containers"][0]["env"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def environment(jobset: Any, container: Any, index: int) -> dict[str, str]:
    """The variables of a pod's container: those given, in order, and those of an indexed Job."""
    chosen = jobset["spec"]["coordinator"]
    name = jobset["metadata"]["name"]
    at = f"{name}-{chosen['replicatedJob']}-{chosen['jobIndex']}-{chosen['podIndex']}.{name}"
    annotations = {"jobset.sigs.k8s.io/coordinator": at}
    values = {"JOB_COMPLETION_INDEX": str(index), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    for variable in container["env"]:
        if "value" in variable:
            text = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], variable["value"])
        else:
            path = variable["valueFrom"]["fieldRef"]["fieldPath"]
            text = annotations[path.removeprefix("metadata.annotations['").removesuffix("']")]
        values[variable["name"]] = text
    return values


def test_the_pods_commands_are_ones(jobset: Any) -> None:
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    fetch, run = (
        parsed(container["command"]) for container in (*pod["initContainers"], *pod["containers"])
    )
    assert fetch["for_mesh"] == run["mesh"] == "1x8"
    assert fetch["yes"]


def test_the_commands_of_the_page_are_ones(repository: Path) -> None:
    page = (repository / "docs" / "hosts.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [
        line.removesuffix(" &")
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = [shlex.split(line) for line in lines if line.startswith("grokdist")]
    assert len(commands) >= 6
    for command in commands:
        parsed(command)
    for link in re.findall(r"\]\((cluster/[^)]+)\)", page):
        assert (repository / "docs" / link).is_file()
