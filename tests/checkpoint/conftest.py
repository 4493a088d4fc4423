"""Checkpoints to read: the original code's own, where it is at hand, and one made here."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.checkpoint.shard_file import StructureReader
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import shard_file_name, tensor_table
from grokdist_runtime.config import ModelConfig

SMALL_CONFIG = {
    "vocab_size": 40,
    "emb_size": 16,
    "ffn_size": 24,
    "key_size": 4,
    "num_q_heads": 4,
    "num_kv_heads": 2,
    "num_layers": 11,
    "num_experts": 3,
    "num_selected_experts": 2,
    "sequence_len": 32,
    "attn_output_multiplier": 0.5,
    "output_multiplier_scale": 0.5,
    "embedding_multiplier_scale": 4.0,
    "quantised_for_model_shards": 4,
}


@pytest.fixture
def config() -> ModelConfig:
    """A small model with more than ten layers, where the order of the files shows."""
    return ModelConfig.from_mapping(SMALL_CONFIG)


@pytest.fixture
def model(tmp_path: Path, config: ModelConfig) -> Path:
    """A model directory of that configuration; each tensor's first value is its number."""
    directory = tmp_path / "model"
    folder = directory / "ckpt-0"
    folder.mkdir(parents=True)
    for index, spec in enumerate(tensor_table(config)):
        array = np.zeros(spec.shape, spec.dtype)
        array.flat[0] = index % 100
        scales = None
        if spec.scales_shape is not None:
            scales = np.full(spec.scales_shape, 0.5, ml_dtypes.bfloat16)
        write_shard(folder / shard_file_name(index), array, scales=scales)
    return directory


@pytest.fixture(scope="session")
def reference(repository: Path) -> Path:
    """A checkpoint written by the original code, which is not part of the repository."""
    directory = repository.parent / "shared" / "reference" / "tiny-12-layer"
    if not directory.is_dir():
        pytest.skip("the reference checkpoint is not beside this checkout (../shared/reference)")
    return directory


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of structure the reader took, one number a step."""
    counts: list[int] = []
    take = StructureReader.take

    def counted(reader: StructureReader, count: int) -> bytes:
        counts.append(count)
        return take(reader, count)

    monkeypatch.setattr(StructureReader, "take", counted)
    return counts
