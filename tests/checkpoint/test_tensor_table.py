"""The table against the release's file list and a checkpoint of the original code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.checkpoint.shard_writer import shard_layout, write_sparse_shard
from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    FINAL_NORM,
    shard_file_name,
    tensor_table,
)
from grokdist_runtime.config import ModelConfig

GIGA = 1_000_000_000

# The release's eight kinds of file: name within a layer (or whole name), dtype, shape, offset of
# the data, shape of the scales, offset of the scales, size of the file.
RELEASE_LAYOUT = (
    (EMBEDDINGS, "float32", (131072, 6144), 151, None, None, 3221225637),
    ("rms_norm/scale", "float32", (6144,), 146, None, None, 24727),
    ("router/w", "float32", (6144, 8), 148, None, None, 196770),
    ("moe/linear/w", "int8", (8, 6144, 32768), 201, (8, 1, 32768), 1610613043, 1611137347),
    ("moe/linear_1/w", "int8", (8, 32768, 6144), 201, (8, 8, 6144), 1610613043, 1611399491),
    ("multi_head_attention/key/w", "int8", (6144, 1024), 199, (1, 1024), 6291759, 6293814),
    ("multi_head_attention/linear/w", "int8", (6144, 6144), 199, (8, 6144), 37749039, 37847359),
    ("multi_head_attention/query/w", "int8", (6144, 6144), 199, (1, 6144), 37749039, 37761334),
)
# These have the shapes, and so the files, of one of the eight.
SAME_AS = {
    FINAL_NORM: "rms_norm/scale",
    "rms_norm_1/scale": "rms_norm/scale",
    "rms_norm_2/scale": "rms_norm/scale",
    "rms_norm_3/scale": "rms_norm/scale",
    "moe/linear_v/w": "moe/linear/w",
    "multi_head_attention/value/w": "multi_head_attention/key/w",
}


def _kind(name: str) -> str:
    """The part of a name that the table above knows."""
    within = name.split("/", 2)[2] if name.startswith("transformer/") else name
    return SAME_AS.get(within, within)


@pytest.fixture(scope="module")
def manifest(repository: Path) -> dict:
    loaded: dict = json.loads((repository / "manifests/models/grok-1.json").read_bytes())
    return loaded


@pytest.fixture(scope="module")
def release(manifest: dict) -> ModelConfig:
    return ModelConfig.from_mapping(manifest["config"])


@pytest.mark.parametrize("row", RELEASE_LAYOUT, ids=lambda row: row[0])
def test_real_shapes_are_read_where_the_release_has_them(tmp_path: Path, row: tuple) -> None:
    _, dtype, shape, offset, scales_shape, scales_offset, size = row
    path = tmp_path / "tensor00000_000"
    layout = shard_layout(shape, dtype, scales_shape=scales_shape, bfloat16_flags=80)
    write_sparse_shard(path, layout)
    assert path.stat().st_size == size
    assert path.stat().st_blocks * 512 < 1_000_000
    read = read_shard(path)
    assert (read.size, read.weight.shape, read.weight.dtype) == (size, shape, dtype)
    assert read.weight.offset == offset
    assert read.weight.array()[(-1,) * len(shape)] == 0
    if scales_shape is None:
        assert read.scales is None
    else:
        assert read.scales is not None
        assert (read.scales.dtype, read.scales.shape) == ("bfloat16", scales_shape)
        assert read.scales.offset == scales_offset
        assert read.scales.array()[(-1,) * len(shape)] == 0
    path.unlink()


def test_all_770_files_of_the_manifest_have_the_tables_size(
    manifest: dict, release: ModelConfig
) -> None:
    sizes = {file["path"]: file["size"] for file in manifest["files"]}
    shards = {path: size for path, size in sizes.items() if path.startswith("ckpt-0/")}
    expected = {row[0]: row for row in RELEASE_LAYOUT}
    table = tensor_table(release)
    assert len(table) == len(shards) == 770
    for index, spec in enumerate(table):
        _, dtype, shape, offset, scales_shape, scales_offset, size = expected[_kind(spec.name)]
        assert (spec.dtype, spec.shape, spec.scales_shape) == (dtype, shape, scales_shape)
        layout = shard_layout(spec.shape, spec.dtype, scales_shape=spec.scales_shape)
        assert (layout.offset, layout.scales_offset) == (offset, scales_offset)
        assert layout.size == size == shards[f"ckpt-0/{shard_file_name(index)}"]
    assert sum(shards.values()) == 318_239_886_140


def test_layers_stand_in_the_order_of_their_names(release: ModelConfig) -> None:
    names = [spec.name for spec in tensor_table(release)]
    assert names[0] == EMBEDDINGS
    assert names[1] == FINAL_NORM
    assert all(name.startswith("transformer/decoder_layer_10/") for name in names[26:38])
    layers = list(dict.fromkeys(name.split("/")[1] for name in names[2:]))
    assert layers[:4] == [f"decoder_layer_{n}" for n in (0, 1, 10, 11)]
    assert layers[11:14] == [f"decoder_layer_{n}" for n in (19, 2, 20)]
    assert layers[-1] == "decoder_layer_9"
    assert names == sorted(names)


def test_the_reference_checkpoint_has_this_table(reference: Path) -> None:
    config = ModelConfig.from_json(reference / "config.json")
    tensors = json.loads((reference / "tensors.json").read_bytes())
    for index, (spec, tensor) in enumerate(zip(tensor_table(config), tensors, strict=True)):
        assert shard_file_name(index) == tensor["file"]
        assert spec.name == tensor["name"]
        assert list(spec.shape) == tensor.get("shape", tensor.get("weight"))
        assert (spec.scales_shape and list(spec.scales_shape)) == tensor.get("scales")


def test_axes_name_every_dimension(config: ModelConfig) -> None:
    size = {
        "vocab": config.vocab_size,
        "emb": config.emb_size,
        "ffn": config.ffn_size,
        "experts": config.num_experts,
        "routes": config.num_experts,
        "q_dim": config.num_q_heads * config.key_size,
        "kv_dim": config.num_kv_heads * config.key_size,
        "groups": None,
    }
    for spec in tensor_table(config):
        assert tuple(size[axis] for axis in spec.axes) == spec.shape
        if spec.scales_shape is None:
            assert spec.scales_axes is None
            assert spec.scales_nbytes == 0
            continue
        assert spec.scales_axes is not None
        for axis, dim in zip(spec.scales_axes, spec.scales_shape, strict=True):
            assert size[axis] in (None, dim)
        groups = spec.scales_shape[-2]
        assert spec.scales_axes[-2] == "groups"
        split = spec.name.endswith(("moe/linear_1/w", "multi_head_attention/linear/w"))
        assert groups == (config.quantised_for_model_shards if split else 1)
        assert spec.shape[-2] % groups == 0


def test_other_sizes_follow_from_the_configuration(release: ModelConfig) -> None:
    other = dataclasses.replace(
        release, num_layers=21, num_experts=4, ffn_size=1000, quantised_for_model_shards=4
    )
    table = {spec.name: spec for spec in tensor_table(other)}
    assert len(table) == 2 + 12 * 21
    down = table["transformer/decoder_layer_20/moe/linear_1/w"]
    assert (down.shape, down.scales_shape) == ((4, 1000, 6144), (4, 4, 6144))
    assert down.nbytes == 4 * 1000 * 6144
    assert down.scales_nbytes == 2 * 4 * 4 * 6144


def test_the_release_holds_as_many_bytes_as_it_should(release: ModelConfig) -> None:
    total = sum(spec.nbytes + spec.scales_nbytes for spec in tensor_table(release))
    assert 318 * GIGA < total < 318_239_886_140
