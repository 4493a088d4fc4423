"""Synthetic models of Grok-1's proportions, written as checkpoints of the original layout.

Weights are random, drawn and written a tensor at a time, so that a model may be larger than
memory. Values are chosen so that llama.cpp's Q8_0 (blocks of 32 along the input, one float16
scale each) holds the very same numbers: int8 values carry over as they are, a bfloat16 scale of
this size is exact in float16, and the embedding already lies on such a grid.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.runtime.q8_0 import BLOCK
from grokdist_runtime.checkpoint.checkpoint_directory import SHARD_FOLDER, open_checkpoint
from grokdist_runtime.checkpoint.shard import TensorView
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import TensorSpec, shard_file_name, tensor_table
from grokdist_runtime.config import ModelConfig

Array = np.ndarray[Any, Any]

_GROK_1 = {
    "num_experts": 8,
    "num_selected_experts": 2,
    "key_size": 128,
    "sequence_len": 8192,
    "attn_output_multiplier": 0.08838834764831845,
    "output_multiplier_scale": 0.5773502691896257,
    "compute_dtype": "bfloat16",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """One size of model, and how much of it to run.

    Attributes:
        label: Int8 weights in GB, about; what ``--size`` names it.
        sizes: Its ``ModelConfig`` where that differs from Grok-1.
        decode: Tokens to decode in one measurement.
        repeats: Measurements in one round; the round counts with their median.
    """

    label: str
    sizes: dict[str, int]
    decode: int
    repeats: int

    @property
    def config(self) -> ModelConfig:
        """The model."""
        embedding = {"embedding_multiplier_scale": self.sizes["emb_size"] ** 0.5}
        return ModelConfig.from_mapping({**_GROK_1, **self.sizes, **embedding})


def _size(label: str, emb: int, layers: int, ffn: int, decode: int, repeats: int) -> Size:
    """Heads of 128 as wide as the embedding together, four queries to a key, as 8:2."""
    heads = emb // 128
    sizes = {"emb_size": emb, "num_layers": layers, "ffn_size": ffn, "vocab_size": 8192}
    sizes |= {"num_q_heads": heads, "num_kv_heads": heads // 4}
    return Size(label=label, sizes=sizes, decode=decode, repeats=repeats)


# A width doubles the last one; hidden widths are 5.25 to 5.5 times it (Grok-1: 5.33), so that
# eight groups of scales are each whole blocks.
SIZES = {
    size.label: size
    for size in (
        _size("0.2", 512, 6, 2816, decode=128, repeats=3),
        _size("1", 1024, 8, 5376, decode=64, repeats=2),
        _size("4", 2048, 8, 10752, decode=64, repeats=1),
    )
}


def write_model(directory: Path, config: ModelConfig, seed: int = 0) -> None:
    """Writes ``config.json`` and ``ckpt-0/``, the same bytes for the same seed.

    Raises:
        CheckpointError: A size that the layout cannot hold.
    """
    (directory / SHARD_FOLDER).mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(dataclasses.asdict(config)), "utf-8")
    for index, spec in enumerate(tensor_table(config)):
        array, scales = _random_tensor(spec, np.random.default_rng([seed, index]))
        write_shard(directory / SHARD_FOLDER / shard_file_name(index), array, scales=scales)


def describe_tensors(directory: Path, config: ModelConfig) -> list[dict[str, Any]]:
    """Where the raw bytes of every tensor stand, for a reader that knows only NumPy.

    Returns:
        A mapping for each tensor: ``name``, and ``values`` and ``scales`` (which may be null),
        each with ``path``, ``dtype``, ``shape`` and ``offset``.
    """
    checkpoint = open_checkpoint(directory, config)
    described = []
    for spec in checkpoint.specs:
        shard = checkpoint[spec.name]
        scales = None if shard.scales is None else _describe(shard.scales)
        described.append({"name": spec.name, "values": _describe(shard.weight), "scales": scales})
    return described


def _describe(view: TensorView) -> dict[str, Any]:
    return {
        "path": str(view.file.path),
        "dtype": view.dtype,
        "shape": list(view.shape),
        "offset": view.offset,
    }


def _random_tensor(spec: TensorSpec, rng: np.random.Generator) -> tuple[Array, Array | None]:
    """Values, and scales if they are int8; activations stay near unit size."""
    if spec.scales_shape is not None:
        drawn = np.frombuffer(rng.bytes(math.prod(spec.shape)), np.int8)
        values = np.maximum(drawn, -127).reshape(spec.shape)  # symmetric, as the release is
        # Groups differ by up to a factor of four, so that a scale given to the wrong rows shows.
        scales = rng.uniform(0.5, 2.0, spec.scales_shape) / 73 / np.sqrt(spec.shape[-2])
        return values, scales.astype(ml_dtypes.bfloat16)
    if len(spec.shape) == 1:  # a norm's scale
        return rng.uniform(0.5, 1.5, spec.shape).astype(np.float32), None
    if spec.axes[0] == "vocab":
        return _on_q8_grid(spec.shape, rng), None
    router = 3.0 / np.sqrt(spec.shape[0]) * rng.standard_normal(spec.shape, np.float32)
    return router.astype(np.float32), None


def _on_q8_grid(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Float32 values that Q8_0 represents exactly: each block reaches 127 times its scale."""
    if shape[-1] % BLOCK:  # such a model has no Q8_0 twin
        return 0.3 * rng.standard_normal(shape, np.float32)
    blocks = (shape[0], shape[-1] // BLOCK, BLOCK)
    values = rng.integers(-127, 128, blocks, np.int8)
    values[..., 0] = 127
    scales = (rng.uniform(0.5, 1.5, (*blocks[:2], 1)) * 0.3 / 73).astype(np.float16)
    result: Array = (values * scales.astype(np.float32)).reshape(shape)
    return result
