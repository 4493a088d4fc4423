"""A directory must hold the tensors of its model: all of them, in their places, and no more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS, tensor_table
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import CheckpointError, UnsafeShardError
from tests.checkpoint.pickle_assembler import call, named, shard, text


def test_every_tensor_is_found_by_name(model: Path, config: ModelConfig) -> None:
    checkpoint = open_checkpoint(model, config)
    assert checkpoint.specs == tensor_table(config)
    assert len(checkpoint.shards) == 2 + 12 * 11
    for index, spec in enumerate(checkpoint.specs):
        array = checkpoint[spec.name].weight.array()
        assert array.shape == spec.shape
        assert array.flat[0] == index % 100
    # Layer 10 stands before layer 2: the file's number is not the layer's.
    path = checkpoint["transformer/decoder_layer_10/moe/linear/w"].path
    assert path.name == "tensor00026_000"


def test_the_reference_checkpoint_is_whole(reference: Path) -> None:
    config = ModelConfig.from_json(reference / "config.json")
    checkpoint = open_checkpoint(reference, config)
    assert len(checkpoint.shards) == 2 + 12 * config.num_layers
    assert checkpoint[EMBEDDINGS].weight.shape == (config.vocab_size, config.emb_size)


@pytest.mark.parametrize("name", ["tensor00134_000", "tensor00000_001", "evil.pkl", ".hidden", "d"])
def test_an_unknown_entry_is_refused(model: Path, config: ModelConfig, name: str) -> None:
    path = model / "ckpt-0" / name
    if name == "d":
        path.mkdir()
    else:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="expected only the 134 shards"):
        open_checkpoint(model, config)


def test_missing_files_are_named(model: Path, config: ModelConfig) -> None:
    (model / "ckpt-0" / "tensor00077_000").unlink()
    with pytest.raises(
        CheckpointError, match="has no tensor00077_000; expected 134 shards, got 133"
    ):
        open_checkpoint(model, config)
    with pytest.raises(CheckpointError, match="No such file"):
        open_checkpoint(model / "nowhere", config)


def test_a_hostile_name_is_escaped(model: Path, config: ModelConfig) -> None:
    (model / "ckpt-0" / "\x1b]0;owned\x07").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(model, config)
    assert str(caught.value).isprintable()


def test_too_many_files_are_not_listed(
    model: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokdist_runtime.checkpoint.checkpoint_directory.MAX_FILES", 100)
    with pytest.raises(CheckpointError, match="more than 100 files"):
        open_checkpoint(model, config)


def _array(shape: tuple[int, ...], dtype: object = np.int8) -> np.ndarray:
    return np.zeros(shape, dtype)  # type: ignore[call-overload,no-any-return]


WRONG = {
    # 0 is the embedding (40, 16), 3 the down projection (3, 24, 16) with scales (3, 4, 16).
    "shape": (0, _array((16, 40), np.float32), None, r"array of float32 \(16, 40\)"),
    "rows": (0, _array((41, 16), np.float32), None, r"float32 \(40, 16\) for language_model"),
    "dtype": (0, _array((40, 16), ml_dtypes.bfloat16), None, "array of bfloat16"),
    "quantised": (0, _array((40, 16)), _array((1, 16), np.float32), "array of int8"),
    "plain": (3, _array((3, 24, 16)), None, "a plain array; expected a quantised weight"),
    "groups": (3, _array((3, 24, 16)), _array((3, 1, 16), np.float32), "scales of float32"),
    "of-linear": (3, _array((3, 16, 24)), _array((3, 1, 24), np.float32), "array of int8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_tensor_in_the_place_is_refused(
    model: Path, config: ModelConfig, case: str
) -> None:
    index, array, scales, message = WRONG[case]
    write_shard(model / "ckpt-0" / f"tensor{index:05d}_000", array, scales=scales)
    with pytest.raises(UnsafeShardError, match=message):
        open_checkpoint(model, config)


def test_scales_may_be_float32(model: Path, config: ModelConfig) -> None:
    path = model / "ckpt-0" / "tensor00003_000"
    write_shard(path, _array((3, 24, 16)), scales=_array((3, 4, 16), np.float32))
    scales = open_checkpoint(model, config)[tensor_table(config)[3].name].scales
    assert scales is not None
    assert scales.dtype == "float32"


def test_swapped_files_are_refused(model: Path, config: ModelConfig) -> None:
    folder = model / "ckpt-0"
    second, third, spare = (folder / n for n in ("tensor00002_000", "tensor00003_000", "spare"))
    second.rename(spare)
    third.rename(second)
    spare.rename(third)
    with pytest.raises(UnsafeShardError, match="tensor00002_000"):
        open_checkpoint(model, config)


def test_another_configuration_is_refused(model: Path, config: ModelConfig) -> None:
    for change in ({"num_layers": 10}, {"num_layers": 12}, {"ffn_size": 48}, {"vocab_size": 41}):
        with pytest.raises((CheckpointError, UnsafeShardError)):
            open_checkpoint(model, dataclasses.replace(config, **change))


def test_one_hostile_shard_among_many_is_refused(model: Path, config: ModelConfig) -> None:
    hostile = shard(call(named("os", "system"), text("x")))
    (model / "ckpt-0" / "tensor00133_000").write_bytes(hostile)
    with pytest.raises(UnsafeShardError, match=r"tensor00133_000 at byte .* 'os' 'system'"):
        open_checkpoint(model, config)
