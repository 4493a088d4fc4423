"""Checkpoints of random weights, of any shape, in the original layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import TensorSpec, shard_file_name, tensor_table
from grokdist_runtime.config import ModelConfig

Array = np.ndarray[Any, Any]
Weights = dict[str, Array | tuple[Array, Array]]


def small_config(**changes: Any) -> ModelConfig:
    """A model small enough for a test; any value can be changed."""
    values: dict[str, Any] = {
        "vocab_size": 96,
        "emb_size": 32,
        "widening_factor": 2.0,
        "key_size": 8,
        "num_q_heads": 8,
        "num_kv_heads": 8,
        "num_layers": 2,
        "num_experts": 8,
        "num_selected_experts": 2,
        "sequence_len": 64,
        "attn_output_multiplier": 0.5,
        "output_multiplier_scale": 0.5773502691896257,
        "embedding_multiplier_scale": 8.0,
        "compute_dtype": "float32",
    }
    return ModelConfig.from_mapping(values | changes)


def random_weights(config: ModelConfig, seed: int = 0) -> Weights:
    """Weights whose activations stay near unit size, by name."""
    rng = np.random.default_rng(seed)
    return {spec.name: _random_tensor(spec, rng) for spec in tensor_table(config)}


def write_checkpoint(directory: Path, config: ModelConfig, weights: Weights) -> Path:
    """Writes ``config.json`` and ``ckpt-0/``."""
    (directory / "ckpt-0").mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    for index, spec in enumerate(tensor_table(config)):
        path = directory / "ckpt-0" / shard_file_name(index)
        tensor = weights[spec.name]
        if isinstance(tensor, tuple):
            write_shard(path, tensor[0], scales=tensor[1])
        else:
            write_shard(path, tensor)
    return directory


def _random_tensor(spec: TensorSpec, rng: np.random.Generator) -> Array | tuple[Array, Array]:
    if spec.scales_shape is None:
        if len(spec.shape) == 1:  # a norm's scale
            return rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
        size = 0.3 if spec.axes[0] == "vocab" else 3.0 / np.sqrt(spec.shape[0])
        return (size * rng.normal(size=spec.shape)).astype(np.float32)
    values = rng.integers(-127, 128, spec.shape).astype(np.int8)
    # Groups differ by up to a factor of four, so that a scale given to the wrong rows shows.
    scales = rng.uniform(0.5, 2.0, spec.scales_shape) / 73 / np.sqrt(spec.shape[-2])
    return values, scales.astype(ml_dtypes.bfloat16)
