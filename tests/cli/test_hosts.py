"""One model on several machines, as the command line has it: who is who, and whose files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grokdist.api.verified import VerifiedModel
from grokdist.cli.output import Output
from grokdist.cli.verified import open_verified
from grokdist.errors import DigestMismatchError, NotFetchedError
from grokdist_runtime.host_files import HostPart
from grokdist_runtime.mesh_shape import parse_mesh
from tests.cli.conftest import Cli

LAUNCHED = {
    "Slurm": {
        "SLURM_JOB_ID": "7",
        "SLURM_PROCID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
    },
    "Open MPI": {
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "PMIX_NAMESPACE": "prterun-host-7@1",
    },
    "Kubernetes": {
        "JAX_COORDINATOR_ADDRESS": "localhost:61999",
        "JAX_NUM_PROCESSES": "2",
        "JOB_COMPLETION_INDEX": "1",
    },
}


def ended(repository: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{repository}:{repository / 'runtime'}"
    return subprocess.run(
        [sys.executable, "-m", "grokdist", *argv],
        env={**os.environ, "PYTHONPATH": path, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_a_launched_process_looks_for_process_0(launcher: str, repository: Path) -> None:
    argv = ("run", "--model", "grok-mini", "--json", "--join-timeout", "0.1", "Once")
    result = ended(repository, *argv, **LAUNCHED[launcher])
    assert result.returncode == 1
    assert result.stdout == ""  # which is process 0's
    assert "error: no process 0 at " in result.stderr
    assert "hint: " in result.stderr


def test_flags_win_over_the_environment_and_that_over_a_launcher(repository: Path) -> None:
    argv = ("run", "--model", "grok-mini", "--join-timeout", "0.1", "Once")
    slurm = LAUNCHED["Slurm"]
    named = ended(repository, *argv, GROKDIST_COORDINATOR="localhost:61998", **slurm)
    assert "no process 0 at localhost:61998" in named.stderr
    flag = ("--coordinator", "localhost:61997")
    won = ended(repository, *argv, *flag, GROKDIST_COORDINATOR="localhost:61998", **slurm)
    assert "no process 0 at localhost:61997" in won.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--processes", "2"), "--processes 2 was given without --process;"),
        (("--process", "1"), "--process 1 was given without --processes"),
        (("--processes", "2", "--process", "2"), "process 2 is none of 2"),
        (("--processes", "2", "--process", "0"), "nobody says where process 0 of 2 listens"),
        (("--coordinator", "here", "--processes", "2", "--process", "0"), "expected HOST:PORT"),
    ],
)
def test_flags_that_make_no_cluster_are_a_usage_error(
    cli: Cli, flags: tuple[str, ...], message: str
) -> None:
    result = cli("run", "--model", "grok-mini", "Once", *flags)
    assert result.code == 2
    assert message in result.err


def test_each_machine_might_choose_another_model(cli: Cli) -> None:
    flags = ("--coordinator", "localhost:61996", "--processes", "2", "--process", "0")
    result = cli("run", "Once", *flags)
    assert result.code == 2
    assert "a run of 2 processes needs --model" in result.err


def test_every_host_needs_every_file_of_the_release(cli: Cli) -> None:
    flags = ("--for-mesh", "1x4", "--processes", "2", "--process", "1")
    result = cli("fetch", "grok-mini", *flags)
    assert result.code == 0
    assert "process 1 of 2 with mesh 1x4 needs a part of nearly every file" in result.err
    receipt = next(Path(os.environ["GROKDIST_HOME"]).rglob("receipt.json"))
    assert json.loads(receipt.read_bytes())["include"] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--for-mesh", "1x4"), "--for-mesh 1x4 needs to know which host this is"),
        (("--for-mesh", "4"), "mesh is '4'"),
        (("--for-mesh", "1x3"), "mesh 1x3 has 3 devices, which do not divide over 2 processes"),
        (("--for-mesh", "1x14"), "num_q_heads"),
        (("--for-mesh", "1x4", "--include", "*"), "expected one of them"),
    ],
)
def test_meshes_that_cannot_be_fetched_for(
    cli: Cli, flags: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "needs to know" not in message:
        monkeypatch.setenv("GROKDIST_PROCESSES", "2")
        monkeypatch.setenv("GROKDIST_PROCESS", "0")
    result = cli("fetch", "grok-mini", *flags)
    assert result.code == 2
    assert message in result.err


def test_what_the_runtime_does_not_load_has_no_mesh(cli: Cli) -> None:
    flags = ("--for-mesh", "1x4", "--processes", "2", "--process", "0", "--dry-run", "--offline")
    result = cli("fetch", "grok-2", *flags)
    assert result.code == 2
    assert "which the runtime does not load" in result.err


@pytest.fixture
def parts(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The bundled model converted for four devices, fetched for each of two hosts.

    Each folder lies in the home of its host, in ``host0`` and ``host1``.
    """
    assert cli("fetch", "grok-mini", "-q").code == 0
    whole = tmp_path / "whole"
    assert cli("convert", "grok-mini", "--out", whole, "--mesh", "1x4", "-q").code == 0
    manifest = whole / ".grokdist" / "manifest.json"
    folders = [tmp_path / "host0" / "model", tmp_path / "host1" / "model"]
    for process, folder in enumerate(folders):
        monkeypatch.setenv("GROKDIST_HOME", str(folder.parent))
        argv = ("fetch", "grok-mini-safetensors", "--manifest", manifest, "--dir", folder)
        host = ("--for-mesh", "1x4", "--processes", "2", "--process", str(process))
        result = cli(*argv, "--source", f"local:{whole}", *host)
        assert result.code == 0, result.err
        assert f"process {process} of 2 with mesh 1x4 needs 10 of 12 files" in result.err
    return folders


def test_a_host_fetches_its_own_parts_and_its_receipt_says_so(
    cli: Cli, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [{path.name for path in folder.glob("*.part-*")} for folder in parts]
    assert [len(names) for names in held] == [2, 2]
    assert not held[0] & held[1]
    for folder in parts:
        receipt = json.loads((folder / ".grokdist" / "receipt.json").read_bytes())
        assert len(receipt["include"]) == len(receipt["files"]) == 10
        monkeypatch.setenv("GROKDIST_HOME", str(folder.parent))
        assert cli("verify", folder).code == 0
    alone = cli("run", "Once", "--model", parts[1])
    assert alone.code == 1
    assert "only a part of grok-mini-safetensors is in" in alone.err


def test_a_part_is_enough_for_the_host_whose_part_it_is(
    parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(folder: Path, mesh: str, process: int) -> VerifiedModel:
        monkeypatch.setenv("GROKDIST_HOME", str(folder.parent))
        part = HostPart(mesh=parse_mesh(mesh), processes=2, process=process)
        out = Output(quiet=True)
        return open_verified(
            str(folder), memory=1 << 40, unsafe_unverified=False, out=out, part=part
        )

    for process, folder in enumerate(parts):
        assert opened(folder, "1x4", process).directory == folder
    with pytest.raises(NotFetchedError, match=r"lacks 2 files .* that process 1 of 2"):
        opened(parts[0], "1x4", 1)
    with pytest.raises(NotFetchedError, match=r"lacks 2 files .* with mesh 2x2 loads"):
        opened(parts[0], "2x2", 0)
    next(parts[0].glob("*.part-1-of-4.safetensors")).unlink()
    with pytest.raises(DigestMismatchError, match=r"missing: model-00002-of-00005\.part-1-of-4"):
        opened(parts[0], "1x4", 0)
