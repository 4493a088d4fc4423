"""Which tensors a model of this architecture has: the one list everything else derives from.

Names, shapes, dtypes and logical axes follow from the configuration alone. The loader, the
sharding rules, the memory plan and the tests read this table; none repeats it. Says nothing
about where the tensors are stored beyond their order.

Source: the release's own 770 files, whose numbers follow the sorted tree of names, so that layer
10 stands before layer 2.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokdist_runtime.checkpoint.expert_int4 import group_rows

if TYPE_CHECKING:
    from grokdist_runtime.config import ModelConfig

ITEM_SIZE = {"uint8": 1, "int8": 1, "bfloat16": 2, "float32": 4}
"""Bytes per element of every dtype that a checkpoint may hold."""

SCALES_DTYPE = "bfloat16"
"""Dtype of the scales in the release."""

EMBEDDINGS = "language_model/in_out_embed/embeddings"
"""Name of the embedding, which is also the output head."""

FINAL_NORM = "language_model/rms_norm/scale"
"""Name of the last normalisation's scale."""

_LAYER = re.compile(r"transformer/decoder_layer_([0-9]+)/", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One tensor that a checkpoint must hold.

    Attributes:
        name: path in the tree of parameters.
        shape: of the array, or of the int8 weight; matrices are ``[..., in, out]``. Of an int4
            weight that of its bytes, ``[..., in / 2, out]``.
        dtype: ``float32``, ``int8``, or ``uint8`` for int4, two to a byte.
        scales_shape: ``[..., groups, out]`` for a quantised weight, else None. Group ``g`` scales
            rows ``g * in / groups`` up to ``(g + 1) * in / groups``.
        axes: a logical name for each dimension: ``vocab``, ``emb``, ``experts``, ``ffn``,
            ``q_dim`` (query heads times head size), ``kv_dim`` (key or value heads times head
            size), ``routes`` (the router's outputs, one for each expert). The scales have the same
            axes, with ``groups`` in place of the last but one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales_shape: tuple[int, ...] | None
    axes: tuple[str, ...]

    @property
    def scales_axes(self) -> tuple[str, ...] | None:
        """Logical names for the scales' dimensions, None where there are no scales."""
        if self.scales_shape is None:
            return None
        return (*self.axes[:-2], "groups", self.axes[-1])

    @property
    def scales_dtypes(self) -> tuple[str, ...]:
        """Dtypes that scales may have in a file, the last being what the devices hold.

        The many of int4 stay bfloat16 there, so that no others may come: they would be rounded.
        """
        return ("bfloat16",) if self.dtype == "uint8" else ("bfloat16", "float32")

    @property
    def elements(self) -> int:
        """How many numbers the array or weight has, without scales."""
        return math.prod(self.shape) * (2 if self.dtype == "uint8" else 1)

    @property
    def nbytes(self) -> int:
        """Bytes of the array or weight, without scales."""
        return math.prod(self.shape) * ITEM_SIZE[self.dtype]

    @property
    def scales_nbytes(self) -> int:
        """Bytes of the scales in the release's dtype, 0 where there are none."""
        if self.scales_shape is None:
            return 0
        return math.prod(self.scales_shape) * ITEM_SIZE[SCALES_DTYPE]


@functools.lru_cache(maxsize=8)
def tensor_table(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """List every tensor of a model, in the order of the checkpoint's files.

    Args:
        config: the model's sizes; 12 tensors for each layer and 2 for the whole.
    """
    specs = [
        _plain(EMBEDDINGS, (config.vocab_size, config.emb_size), ("vocab", "emb")),
        _plain(FINAL_NORM, (config.emb_size,), ("emb",)),
    ]
    for layer in range(config.num_layers):
        specs += _layer(config, layer_prefix(layer))
    return tuple(sorted(specs, key=lambda spec: spec.name))


def stacks(specs: Iterable[TensorSpec]) -> tuple[tuple[TensorSpec, ...], ...]:
    """Group the tensors that are used as one array: the same of every layer, in numeric order.

    Args:
        specs: tensors in any order; what belongs to no layer is a group of its own.
    """
    groups: dict[str, list[tuple[int, TensorSpec]]] = {}
    for spec in specs:
        match = _LAYER.match(spec.name)
        layer = 0 if match is None else int(match[1])
        name = spec.name if match is None else spec.name[match.end() :]
        groups.setdefault(name, []).append((layer, spec))
    return tuple(
        tuple(spec for _, spec in sorted(group, key=lambda at: at[0])) for group in groups.values()
    )


def layer_prefix(layer: int) -> str:
    """What the names of one layer's tensors start with; ``layer`` counts from 0."""
    return f"transformer/decoder_layer_{layer}/"


def shard_file_name(index: int) -> str:
    """File name of the tensor at a position in the table: all of it is in the one shard ``000``."""
    return f"tensor{index:05d}_000"


def _layer(config: ModelConfig, prefix: str) -> list[TensorSpec]:
    emb, ffn, experts = config.emb_size, config.ffn_size, config.num_experts
    q_dim = config.num_q_heads * config.key_size
    kv_dim = config.num_kv_heads * config.key_size
    # The two matrices whose input is split over devices have a scale for each of these parts.
    groups = config.quantised_for_model_shards
    matrices = [
        _quantised("moe/linear/w", (experts, emb, ffn), ("experts", "emb", "ffn"), 1),
        _quantised("moe/linear_1/w", (experts, ffn, emb), ("experts", "ffn", "emb"), groups),
        _quantised("moe/linear_v/w", (experts, emb, ffn), ("experts", "emb", "ffn"), 1),
    ]
    if config.expert_int4_group:
        matrices = [_int4(spec, config.expert_int4_group) for spec in matrices]
    specs = [
        *matrices,
        _quantised("multi_head_attention/key/w", (emb, kv_dim), ("emb", "kv_dim"), 1),
        _quantised("multi_head_attention/linear/w", (q_dim, emb), ("q_dim", "emb"), groups),
        _quantised("multi_head_attention/query/w", (emb, q_dim), ("emb", "q_dim"), 1),
        _quantised("multi_head_attention/value/w", (emb, kv_dim), ("emb", "kv_dim"), 1),
        _plain("router/w", (emb, experts), ("emb", "routes")),
    ]
    specs += [
        _plain(f"rms_norm{suffix}/scale", (emb,), ("emb",)) for suffix in ("", "_1", "_2", "_3")
    ]
    return [replace(spec, name=prefix + spec.name) for spec in specs]


def _plain(name: str, shape: tuple[int, ...], axes: tuple[str, ...]) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype="float32", scales_shape=None, axes=axes)


def _quantised(name: str, shape: tuple[int, ...], axes: tuple[str, ...], groups: int) -> TensorSpec:
    scales_shape = (*shape[:-2], groups, shape[-1])
    return TensorSpec(name=name, shape=shape, dtype="int8", scales_shape=scales_shape, axes=axes)


def _int4(spec: TensorSpec, group: int) -> TensorSpec:
    """The tensor as int4; the configuration has checked that there are groups."""
    *lead, rows, columns = spec.shape
    size = group_rows(rows, group) or rows
    return replace(
        spec,
        shape=(*lead, rows // 2, columns),
        dtype="uint8",
        scales_shape=(*lead, rows // size, columns),
    )
