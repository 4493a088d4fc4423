"""Writes trained parameters as a checkpoint in the release's own layout.

One pickled shard a tensor, numbered by the sorted tensor names; matrices of the attention and the
experts as int8 with bfloat16 scales, the rest as float32. The bytes around the arrays are those
that NumPy 1.26 and ml_dtypes 0.5 wrote for Grok-1; no pickler runs here.

    python -m tools.grok_mini.export --params FILE.npz --out DIR
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Final

import ml_dtypes
import numpy as np

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.shard_writer import write_shard
from grokdist_runtime.checkpoint.tensor_table import shard_file_name, tensor_table
from grokdist_runtime.config import ModelConfig
from tools.grok_mini.model import GROK_MINI
from tools.grok_mini.quantise import Float32, dequantise, quantise
from tools.grok_mini.train import load_params

ML_DTYPES_0_5_FLAGS: Final = 80


def write_checkpoint(params: dict[str, Float32], config: ModelConfig, out: Path) -> None:
    """Writes ``out/ckpt-0`` and ``out/config.json``."""
    folder = out / "ckpt-0"
    folder.mkdir(parents=True, exist_ok=True)
    for index, spec in enumerate(tensor_table(config)):
        path, value = folder / shard_file_name(index), params[spec.name]
        if value.shape != spec.shape:
            raise ValueError(f"{spec.name} has shape {value.shape}; expected {spec.shape}")
        if spec.scales_shape is None:
            write_shard(path, value)
        else:
            weight, scales = quantise(value, spec.scales_shape[-2])
            write_shard(
                path,
                weight,
                scales=scales.astype(ml_dtypes.bfloat16),
                bfloat16_flags=ML_DTYPES_0_5_FLAGS,
            )
    text = json.dumps(dataclasses.asdict(config), indent=1)
    (out / "config.json").write_text(text + "\n")


def read_checkpoint(directory: Path) -> tuple[ModelConfig, dict[str, Float32]]:
    """Reads a checkpoint with the package's safe reader, as the float32 values it stands for."""
    config = ModelConfig.from_json(directory / "config.json")
    checkpoint = open_checkpoint(directory, config)
    params: dict[str, Float32] = {}
    for spec in checkpoint.specs:
        shard = checkpoint[spec.name]
        array = shard.weight.array()
        if shard.scales is None:
            params[spec.name] = np.asarray(array, np.float32)
        else:
            params[spec.name] = dequantise(array, shard.scales.array().astype(np.float32))
    return config, params


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, required=True, help="params-NNNNN.npz of a run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    params = {name: np.asarray(value) for name, value in load_params(options.params).items()}
    write_checkpoint(params, GROK_MINI, options.out)


if __name__ == "__main__":
    main()
