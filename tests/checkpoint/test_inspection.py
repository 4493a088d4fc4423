"""Listings of shards, directories, models and safetensors files, from the library and the CLI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from grokdist_runtime.checkpoint.inspection import inspect_path
from grokdist_runtime.errors import CheckpointError, ConfigError, UnsafeShardError
from tests.checkpoint.conftest import SMALL_CONFIG
from tests.checkpoint.pickle_assembler import array, call, named, quantised, shard, text


def test_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "any-name"
    path.write_bytes(shard(quantised()))
    (tensor,) = inspect_path(path)
    assert (tensor.file, tensor.name, tensor.dtype, tensor.shape) == (
        "any-name",
        None,
        "int8",
        (8, 3),
    )
    assert tensor.scales is not None
    assert (tensor.scales.dtype, tensor.scales.shape) == ("bfloat16", (4, 3))
    assert tensor.nbytes == tensor.scales.nbytes == 24
    assert tensor.offset < tensor.scales.offset < path.stat().st_size


def test_a_model_has_names(model: Path) -> None:
    bare = inspect_path(model)
    assert len(bare) == 134
    assert {tensor.name for tensor in bare} == {None}
    (model / "config.json").write_text(json.dumps(SMALL_CONFIG))
    tensors = inspect_path(model)
    assert len(tensors) == 134
    assert tensors[26].name == "transformer/decoder_layer_10/moe/linear/w"
    assert tensors[26].file == "ckpt-0/tensor00026_000"
    folder = inspect_path(model / "ckpt-0")
    assert [t.file for t in folder] == [f"tensor{n:05d}_000" for n in range(134)]
    assert [t.offset for t in folder] == [t.offset for t in tensors]


def test_a_model_that_does_not_fit_its_configuration(model: Path) -> None:
    (model / "config.json").write_text(json.dumps(SMALL_CONFIG | {"num_layers": 12}))
    with pytest.raises(CheckpointError, match="expected 146 shards, got 134"):
        inspect_path(model)
    (model / "config.json").write_text("{")
    with pytest.raises(ConfigError):
        inspect_path(model)


def test_no_file_is_passed_over_for_its_name(tmp_path: Path) -> None:
    hostile = shard(call(named("os", "system"), text("x")))
    for name in ("readme.txt", ".hidden", "model.bin", "data.pkl", "x.npy"):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        (folder / "tensor00000_000").write_bytes(shard(array()))
        (folder / name).write_bytes(hostile)
        with pytest.raises(UnsafeShardError, match="'os' 'system'"):
            inspect_path(folder)


@pytest.mark.parametrize("where", ["", "ckpt-0"])
def test_nothing_to_list(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "empty" / where
    folder.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="is empty"):
        inspect_path(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="No such file"):
        inspect_path(tmp_path / "nothing")


def test_safetensors_are_listed_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {
        "b": np.arange(12, dtype=np.int8).reshape(3, 4),
        "a": np.linspace(0, 1, 5, dtype=np.float32),
        "c": np.arange(3, dtype=np.int64),
    }
    save_file(arrays, path)
    tensors = inspect_path(path)
    assert {tensor.name for tensor in tensors} == set(arrays)
    data = path.read_bytes()
    for tensor in tensors:
        assert tensor.name is not None
        expected = arrays[tensor.name]
        assert (tensor.dtype, tensor.shape) == (expected.dtype.name, expected.shape)
        assert data[tensor.offset : tensor.offset + tensor.nbytes] == expected.tobytes()
    (tmp_path / "notes.txt").write_text("a note")
    assert inspect_path(tmp_path) == tensors


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}trailing", shard(array())],
    ids=["empty", "zeros", "giant-header", "trailing", "a-pickle"],
)
def test_a_broken_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnsafeShardError, match="safetensors"):
        inspect_path(path)


def test_a_safetensors_type_without_a_whole_byte_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(UnsafeShardError):
        inspect_path(path)


def _grokdist(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grokdist", "inspect", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=repository,
        env={"PYTHONPATH": f"{repository}:{repository / 'runtime'}", "PATH": "/usr/bin:/bin"},
    )


def test_the_command_lists_tensors_as_json(repository: Path, model: Path) -> None:
    (model / "config.json").write_text(json.dumps(SMALL_CONFIG))
    done = _grokdist(repository, str(model), "--json")
    assert done.returncode == 0, done.stderr
    tensors = json.loads(done.stdout)["tensors"]
    assert len(tensors) == 134
    assert set(tensors[0]) == {"file", "name", "dtype", "shape", "offset", "nbytes", "scales"}
    assert tensors[0]["scales"] is None
    assert set(tensors[2]["scales"]) == {"dtype", "shape", "offset", "nbytes"}
    assert tensors[2]["name"] == "transformer/decoder_layer_0/moe/linear/w"


def test_the_command_lists_tensors_for_people(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(shard(quantised()))
    done = _grokdist(repository, str(path))
    assert done.returncode == 0, done.stderr
    assert "int8[8,3]" in done.stdout
    assert "scales bfloat16[4,3]" in done.stdout
    assert "1 tensor, 48 B; nothing was executed" in done.stderr


def test_the_command_refuses_with_exit_11(repository: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "tensor00000_000"
    path.write_bytes(shard(call(named("posix", "mkdir"), text(str(canary)))))
    done = _grokdist(repository, str(path), "--json")
    assert done.returncode == 11
    assert not canary.exists()
    assert "global 'posix' 'mkdir'; expected one of" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 11
    assert _grokdist(repository, str(tmp_path / "nothing")).returncode == 11
