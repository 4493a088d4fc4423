"""The weights as the runtime holds them: a tree of stacked arrays, derived from the tensor table.

A leaf of the abstract tree says shape, dtype, logical axes and which checkpoint tensors it is made
of; shardings, loader and memory estimate follow from it. Layers are stacked in numeric order,
whatever the order of the files.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    FINAL_NORM,
    TensorSpec,
    layer_prefix,
    tensor_table,
)
from grokdist_runtime.quantised import Quantised, scale_groups
from grokdist_runtime.spec import ModelSpec

_LAYER_TENSORS = {
    "attention_norm": "rms_norm/scale",
    "attention_post_norm": "rms_norm_1/scale",
    "moe_norm": "rms_norm_2/scale",
    "moe_post_norm": "rms_norm_3/scale",
    "query": "multi_head_attention/query/w",
    "key": "multi_head_attention/key/w",
    "value": "multi_head_attention/value/w",
    "output": "multi_head_attention/linear/w",
    "router": "router/w",
    "gate": "moe/linear/w",
    "up": "moe/linear_v/w",
    "down": "moe/linear_1/w",
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamInfo:
    """One array that stands for a weight, or for its scales.

    Attributes:
        shape: Whole shape, over all devices; stacked layers first.
        dtype: ``int8``, ``float32`` or ``bfloat16`` on the device.
        axes: A logical axis for each dimension.
        names: Checkpoint tensors: one for each layer in order, or the only one.
        stacked: Whether the first dimension is the layer.
        part: ``values`` or ``scales`` of the checkpoint tensor.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str, ...]
    names: tuple[str, ...]
    stacked: bool
    part: str = "values"

    def partition(self, spec: ModelSpec) -> PartitionSpec:
        """How the array is split."""
        return spec.rules.spec(self.axes)

    def sharding(self, spec: ModelSpec) -> NamedSharding:
        """How the array is split over the mesh's devices."""
        return spec.rules.sharding(spec.mesh, self.axes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerWeights(Generic[T]):
    """The decoder layers, stacked: every leaf has the layer as its first dimension.

    Attributes:
        attention_norm: ``[L, D]`` float32, before attention.
        attention_post_norm: ``[L, D]`` float32, after attention.
        moe_norm: ``[L, D]`` float32, before the experts.
        moe_post_norm: ``[L, D]`` float32, after the experts.
        query: ``[L, D, heads * key]``.
        key: ``[L, D, kv_heads * key]``.
        value: ``[L, D, kv_heads * key]``.
        output: ``[L, heads * key, D]``.
        router: ``[L, D, E]`` float32.
        gate: ``[L, E, D, F]``, passed through GELU.
        up: ``[L, E, D, F]``, multiplied with the gate.
        down: ``[L, E, F, D]``.
    """

    attention_norm: T
    attention_post_norm: T
    moe_norm: T
    moe_post_norm: T
    query: Any
    key: Any
    value: Any
    output: Any
    router: T
    gate: Any
    up: Any
    down: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights(Generic[T]):
    """A whole model: of arrays, of ``ParamInfo`` or of shardings.

    Attributes:
        embedding: ``[V, D]``, also the output head.
        final_norm: ``[D]`` float32.
        layers: The stacked layers.
    """

    embedding: T
    final_norm: T
    layers: LayerWeights[T]


def abstract_weights(spec: ModelSpec) -> Weights[ParamInfo]:
    """The tree of what to load, without loading anything."""
    table = {tensor.name: tensor for tensor in tensor_table(spec.config)}
    layers = {
        field: _stacked(table[layer_prefix(0) + name], name, spec)
        for field, name in _LAYER_TENSORS.items()
    }
    return Weights(
        embedding=_single(table[EMBEDDINGS], jnp.dtype(spec.embedding_dtype).name),
        final_norm=_single(table[FINAL_NORM], "float32"),
        layers=LayerWeights(**layers),
    )


def partition_specs(spec: ModelSpec) -> Weights[PartitionSpec]:
    """How each array is split, for ``shard_map``."""
    tree = abstract_weights(spec)
    specs: Weights[PartitionSpec] = jax.tree.map(lambda info: info.partition(spec), tree)
    return specs


def bytes_per_device(spec: ModelSpec) -> int:
    """Bytes of weights on the device that holds most."""
    total = 0
    for info in jax.tree.leaves(abstract_weights(spec)):
        shard = info.sharding(spec).shard_shape(info.shape)
        total += math.prod(shard) * jnp.dtype(info.dtype).itemsize
    return total


def bytes_per_token(spec: ModelSpec) -> int:
    """Bytes of weights that one token of decoding reads, on all devices of one copy."""
    config = spec.config
    total = 0.0
    for info in jax.tree.leaves(abstract_weights(spec)):
        # Of the experts only the chosen; the router, which ends in them, is read whole.
        chosen = config.num_selected_experts if "experts" in info.axes[:-1] else config.num_experts
        nbytes = math.prod(info.shape) * jnp.dtype(info.dtype).itemsize
        total += nbytes * chosen / config.num_experts
    return math.ceil(total)


def _single(tensor: TensorSpec, dtype: str) -> ParamInfo:
    return ParamInfo(
        shape=tensor.shape, dtype=dtype, axes=tensor.axes, names=(tensor.name,), stacked=False
    )


def _stacked(tensor: TensorSpec, name: str, spec: ModelSpec) -> Any:
    depth = spec.config.num_layers
    values = ParamInfo(
        shape=(depth, *tensor.shape),
        dtype=tensor.dtype,
        axes=("layer", *tensor.axes),
        names=tuple(layer_prefix(layer) + name for layer in range(depth)),
        stacked=True,
    )
    if tensor.scales_shape is None:
        return values
    rows, groups = tensor.shape[-2], tensor.scales_shape[-2]
    units = scale_groups(rows, groups, spec.parts(tensor.axes[-2]))
    scales = dataclasses.replace(
        values,
        shape=(depth, *tensor.shape[:-2], units, tensor.shape[-1]),
        dtype=tensor.scales_dtypes[-1],
        # A group of rows is split as the rows are.
        axes=values.axes,
        part="scales",
    )
    return Quantised(values=values, scales=scales)  # type: ignore[arg-type]
