"""What loading takes, measured by the kernel in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.converter import Conversion
from grokdist_runtime.checkpoint.parts import axis_pieces, part_of_file
from grokdist_runtime.checkpoint.safetensors_checkpoint import open_safetensors
from grokdist_runtime.errors import CheckpointError
from grokdist_runtime.loader import load_weights
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.runtime.conftest import Model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's /proc/self")

ROOT = Path(__file__).parents[2]
WIDE = {  # rows so long that half of one is many pages
    "vocab_size": 16,
    "emb_size": 4,
    "ffn_size": 1 << 21,
    "key_size": 2,
    "num_q_heads": 2,
    "num_kv_heads": 2,
    "num_experts": 1,
    "num_selected_experts": 1,
    "num_layers": 2,
    "quantised_for_model_shards": 2,
}
LARGE = {  # 100 MB
    "vocab_size": 512,
    "emb_size": 512,
    "ffn_size": 2048,
    "key_size": 64,
    "num_layers": 4,
}


@contextlib.contextmanager
def child(directory: Path, model: Model, mesh: str, *host: str) -> Iterator[subprocess.Popen[str]]:
    """A process that loads, and ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.load_child", directory, model.directory, mesh, *host],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}", "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    late = threading.Timer(120, process.kill)
    late.start()
    try:
        yield process
    finally:
        late.cancel()
        process.kill()
        process.communicate()


def result(process: subprocess.Popen[str]) -> Mapping[str, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    found: Mapping[str, int] = json.loads(line)
    return found


def alone(directory: Path, model: Model, mesh: str) -> Mapping[str, int]:
    with child(directory, model, mesh) as process:
        return result(process)


@pytest.mark.parametrize("mesh", ["1x1", "1x4"])
def test_memory_grows_by_what_is_kept(make_model: Callable[..., Model], mesh: str) -> None:
    """Private memory, looked at every half millisecond; pages of files are the kernel's cache."""
    model = make_model(**LARGE)
    taken = alone(model.directory, model, mesh)
    assert taken["right"]
    assert taken["kept"] > 100e6
    assert 0.9 * taken["kept"] < taken["anonymous"] <= 1.1 * taken["kept"]


def test_a_converted_model_takes_no_memory(
    make_model: Callable[..., Model], tmp_path: Path
) -> None:
    model = make_model(**LARGE)
    taken = alone(converted(model, tmp_path, model_parts=4), model, "1x4")
    assert taken["right"]
    assert taken["kept"] > 100e6
    assert taken["anonymous"] < 0.1 * taken["kept"]
    assert taken["told"] < 0.02 * taken["kept"]


def test_each_of_two_hosts_reads_its_own_part(make_model: Callable[..., Model]) -> None:
    """Columns of the other host are guarded: a process that touches them in a map dies."""
    model = make_model(**WIDE)
    sizes = sum(path.stat().st_size for path in (model.directory / "ckpt-0").iterdir())
    for taken in on_two_hosts(model, model.directory, model.directory):
        assert taken["right"]
        assert 0.49 * sizes < taken["told"] < 0.51 * sizes
        assert taken["calls"] <= taken["told"]


def test_a_host_needs_only_the_files_of_its_part(
    make_model: Callable[..., Model], tmp_path: Path
) -> None:
    model = make_model(**WIDE)
    whole = converted(model, tmp_path, model_parts=2)
    directories = []
    for host in range(2):
        directory = tmp_path / f"host{host}"
        directory.mkdir()
        for path in whole.iterdir():
            if part_of_file(path.name) in (None, (host, 2)):
                (directory / path.name).hardlink_to(path)
        directories.append(directory)
    for taken in on_two_hosts(model, *directories):
        assert taken["right"]
    spec = ModelSpec.create(model.config, make_mesh("1x1"))
    with pytest.raises(CheckpointError, match=r"part-2-of-2 is needed here and in no file"):
        load_weights(open_safetensors(directories[0], model.config), spec)


def on_two_hosts(model: Model, *directories: Path) -> list[Mapping[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    first, second = directories
    with (
        child(first, model, "1x2", "0", address) as one,
        child(second, model, "1x2", "1", address) as other,
    ):
        return [result(one), result(other)]


def converted(model: Model, folder: Path, *, model_parts: int) -> Path:
    out = folder / "converted"
    out.mkdir()
    (out / "config.json").write_bytes((model.directory / "config.json").read_bytes())
    pieces = axis_pieces(model.config, model=model_parts)
    checkpoint = open_checkpoint(model.directory, model.config)
    Conversion(checkpoint, file_size=8 << 20, metadata={}, pieces=pieces).write(out)
    return out
