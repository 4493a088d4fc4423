"""Several processes that share one model, as a user starts them: equal to one, each with its part.

Every process is a real one of the command line, on loopback, and sums go through Gloo.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion
from grokdist_runtime.checkpoint.parts import axis_pieces, grids, part_box
from grokdist_runtime.checkpoint.tensor_table import tensor_table
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.engine import Engine
from grokdist_runtime.host_files import HostPart, files_of
from grokdist_runtime.mesh_shape import parse_mesh
from grokdist_runtime.sampling import SamplingParams
from tests.runtime.conftest import Model
from tests.runtime.random_checkpoint import Weights, write_checkpoint

TOLERANCE = 1e-3
"""Of the standard deviation of one process's logits, as for meshes within one process."""

FLAGS = ["--kernels", "plain"]
"""Each process would else build the kernel for itself, in its own home."""

PROMPT = list(range(2, 12))

Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture
def start(repository: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a command in several processes, with a standard input for each."""
    running: list[subprocess.Popen[str]] = []

    def begin(commands: list[list[str]], *, prompt: str | None = None) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        environment = {
            **os.environ,
            "PYTHONPATH": f"{repository}:{repository / 'runtime'}",
            "GROKDIST_COORDINATOR": address,
            "GROKDIST_PROCESSES": str(len(commands)),
            "PYTHONIOENCODING": "utf-8",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",  # each compiles for itself
        }
        for number, command in enumerate(commands):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "grokdist", *command, *FLAGS, "--process", str(number)],
                    stdin=subprocess.PIPE if prompt and not number else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    env=environment,
                    cwd=tmp_path,
                )
            )
        if prompt:
            assert running[0].stdin is not None
            running[0].stdin.write(prompt)
            running[0].stdin.close()
            running[0].stdin = None
        return running

    yield begin
    for process in running:
        process.terminate()  # which its child hears of as well
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def with_only_its_part(model: Model, process: int, processes: int) -> Weights:
    """The weights, with noise wherever a process of this mesh has no business to read."""
    rng = np.random.default_rng(process)
    pieces = axis_pieces(model.config, model=processes)
    kept: Weights = {}
    for spec in tensor_table(model.config):
        stored = model.weights[spec.name]
        values = stored[0] if isinstance(stored, tuple) else stored
        noise = rng.integers(-100, 100, values.shape).astype(values.dtype)
        box = part_box(values.shape, *_own_part(grids(spec, pieces)[0], process))
        noise[box] = values[box]
        kept[spec.name] = (noise, stored[1]) if isinstance(stored, tuple) else noise
    return kept


def _own_part(grid: tuple[int, ...], process: int) -> tuple[tuple[int, ...], int]:
    return grid, process if max(grid) > 1 else 0


def test_four_processes_score_as_one_and_read_only_their_part(
    make_model: Callable[..., Model], start: Start, tmp_path: Path
) -> None:
    model = make_model()
    np.save(tmp_path / "tokens.npy", np.array(PROMPT))
    commands = []
    for process in range(4):
        weights = with_only_its_part(model, process, 4)
        part = write_checkpoint(tmp_path / str(process) / "model", model.config, weights)
        commands.append(["score", "--model", str(part), "--mesh", "1x4", "--json"])
        commands[-1] += ["--tokens", "tokens.npy", "--logits", f"logits{process}.npy"]
    processes = start(commands)
    ended = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended

    alone = Engine.load(model.directory, mesh="1x1").score(PROMPT)
    logits = np.load(tmp_path / "logits0.npy")
    assert np.abs(logits - alone).max() <= TOLERANCE * alone.std()
    assert json.loads(ended[0][0])["tokens"] == PROMPT
    for out, said in ended[1:]:
        assert (out, said) == ("", "")
    assert [path.name for path in tmp_path.glob("*.npy")].count("logits1.npy") == 0


def parts_of(directory: Path, mesh: str, folder: Path) -> list[Path]:
    """A model converted for a mesh, of which each of two hosts has the files that it needs."""
    config = ModelConfig.from_json(directory / "config.json")
    shape = parse_mesh(mesh)
    whole = folder / "whole"
    whole.mkdir()
    pieces = axis_pieces(config, model=shape.model)
    Conversion(open_checkpoint(directory, config), metadata={}, pieces=pieces).write(whole)
    hosts = []
    for process in range(2):
        hosts.append(folder / f"host{process}")
        hosts[-1].mkdir()
        part = HostPart(mesh=shape, processes=2, process=process)
        names = [path.name for path in whole.iterdir()]
        for name in files_of(part, config, names, cut_for=shape):
            shutil.copy(whole / name, hosts[-1])
        for name in ("config.json", "tokenizer.model"):
            shutil.copy(directory / name, hosts[-1])
        assert len(list(hosts[-1].glob("*.part-*"))) == shape.model // 2
    return hosts


def test_two_processes_generate_as_one_and_end_together(
    make_model: Callable[..., Model], tokenizer_model: bytes, start: Start, tmp_path: Path
) -> None:
    directory = make_model(vocab_size=320, sequence_len=8192).directory
    (directory / "tokenizer.model").write_bytes(tokenizer_model)
    flags = ["--unsafe-unverified", "--mesh", "1x4", "--ignore-eos"]
    flags += ["--max-tokens", "8000", "--seed", "7", "--temperature", "0.9"]
    commands = [
        ["run", "--model", str(folder), *flags] for folder in parts_of(directory, "1x4", tmp_path)
    ]
    first, second = start(commands, prompt="To be, or not to be")

    alone = Engine.load(directory, mesh="1x4")
    sampling = SamplingParams(seed=7, temperature=0.9, top_p=0.95)
    prompt = alone.encode("To be, or not to be")
    events = alone.generate(prompt, sampling, max_tokens=16, ignore_eos=True)
    expected = "".join(event.text for event in events)
    assert len(expected) >= 16
    assert first.stdout is not None
    assert first.stdout.read(16) == expected[:16]

    second.send_signal(signal.SIGKILL)  # the whole machine is gone, as far as others can see
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "error: the run ended: process 1 of 2 was lost\n" in said
    assert "Traceback" not in said
