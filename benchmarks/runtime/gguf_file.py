"""Write llama.cpp's twin of a checkpoint: architecture ``grok``, Q8_0, the same numbers.

Runs in the interpreter that has ``gguf``, which need not have anything of this project: it gets
a JSON file (standard input) with ``config`` and ``tensors`` as ``models.describe_tensors`` gives
them, and ``out``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from benchmarks.runtime.q8_0 import BLOCK, BLOCK_BYTES, pack

Array = np.ndarray[Any, Any]

_Q8_0 = gguf.GGMLQuantizationType.Q8_0
_LAYER = "transformer/decoder_layer_"

_NAMES = {
    "rms_norm/scale": "attn_norm",
    "rms_norm_1/scale": "attn_output_norm",
    "rms_norm_2/scale": "ffn_norm",
    "rms_norm_3/scale": "layer_output_norm",
    "multi_head_attention/query/w": "attn_q",
    "multi_head_attention/key/w": "attn_k",
    "multi_head_attention/value/w": "attn_v",
    "multi_head_attention/linear/w": "attn_output",
    "router/w": "ffn_gate_inp",
    "moe/linear/w": "ffn_gate_exps",
    "moe/linear_v/w": "ffn_up_exps",
    "moe/linear_1/w": "ffn_down_exps",
}


def write_gguf(out: str, config: Mapping[str, Any], tensors: list[Mapping[str, Any]]) -> None:
    """Writes the file, holding one tensor at a time."""
    writer = gguf.GGUFWriter(out, "grok")
    _add_metadata(writer, config)
    for tensor in tensors:
        shape, dtype = _gguf_shape(tensor)
        kind = np.dtype(np.float32 if dtype is None else np.int8)
        size = int(np.prod(shape)) * 4 if dtype is None else _q8_bytes(shape)
        writer.add_tensor_info(_gguf_name(tensor["name"]), shape, kind, size, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_gguf_data(tensor))
    writer.close()


def _add_metadata(writer: Any, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["sequence_len"])
    writer.add_embedding_length(config["emb_size"])
    writer.add_block_count(config["num_layers"])
    writer.add_feed_forward_length(config["ffn_size"])
    writer.add_head_count(config["num_q_heads"])
    writer.add_head_count_kv(config["num_kv_heads"])
    writer.add_key_length(config["key_size"])
    writer.add_value_length(config["key_size"])
    writer.add_rope_dimension_count(config["key_size"])
    writer.add_rope_freq_base(config["rope_base"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_selected_experts"])
    writer.add_layer_norm_rms_eps(config["rms_eps"])
    writer.add_logit_scale(config["output_multiplier_scale"])
    writer.add_embedding_scale(config["embedding_multiplier_scale"])
    writer.add_attn_output_scale(config["attn_output_multiplier"])
    writer.add_attn_logit_softcapping(config["attn_logit_cap"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _gguf_name(name: str) -> str:
    if name.startswith(_LAYER):
        layer, rest = name.removeprefix(_LAYER).split("/", 1)
        return f"blk.{layer}.{_NAMES[rest]}.weight"
    return "output_norm.weight" if name.endswith("/scale") else "token_embd.weight"


def _is_embedding(tensor: Mapping[str, Any]) -> bool:
    return _gguf_name(tensor["name"]) == "token_embd.weight"


def _gguf_shape(tensor: Mapping[str, Any]) -> tuple[list[int], Any]:
    """Rows of the input last; the quantisation, or ``None`` for float32."""
    shape = list(tensor["values"]["shape"])
    if _is_embedding(tensor):
        return shape, _Q8_0
    if len(shape) > 1:
        shape[-2:] = shape[-1], shape[-2]
    return shape, None if tensor["scales"] is None else _Q8_0


def _q8_bytes(shape: list[int]) -> int:
    return int(np.prod(shape)) // BLOCK * BLOCK_BYTES


def _gguf_data(tensor: Mapping[str, Any]) -> Array:
    values = _map(tensor["values"])
    if _is_embedding(tensor):
        exact: Array = gguf.quants.quantize(values, _Q8_0)
        if not np.array_equal(gguf.quants.dequantize(exact, _Q8_0), values):
            raise ValueError("the embedding does not lie on Q8_0's grid; expected an exact copy")
        return exact
    if tensor["scales"] is None:
        return np.ascontiguousarray(values.T)
    scales = _map(tensor["scales"])
    matrices = values.reshape(-1, *values.shape[-2:])
    groups = scales.reshape(-1, *scales.shape[-2:])
    return np.concatenate([pack(*pair).reshape(-1) for pair in zip(matrices, groups, strict=True)])


def _map(view: Mapping[str, Any]) -> Array:
    """The tensor's bytes in place; bfloat16, which NumPy lacks, widened to float32."""
    bfloat16 = view["dtype"] == "bfloat16"
    dtype = np.dtype(np.uint16 if bfloat16 else view["dtype"])
    shape, offset = tuple(view["shape"]), view["offset"]
    mapped: Array = np.memmap(view["path"], dtype, "r", offset, shape)
    return (mapped.astype(np.uint32) << 16).view(np.float32) if bfloat16 else mapped


if __name__ == "__main__":
    write_gguf(**json.load(sys.stdin))
