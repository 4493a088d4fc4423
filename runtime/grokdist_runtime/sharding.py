"""How the model lies on a mesh of devices: one table from logical axes to mesh axes.

``data`` copies the model and splits batches; ``model`` splits attention heads, the experts' hidden
columns and the vocabulary. To try another layout change ``ShardingRules.for_mesh``; shapes,
loader and forward pass follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.devices import parse_mesh
from grokdist_runtime.errors import DeviceError

DATA = "data"
MODEL = "model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingRules:
    """The mesh axis of each logical axis; ``None`` means that every device holds all of it.

    Attributes:
        layer: Stacked layers.
        vocab: Rows of the embedding.
        emb: The residual stream.
        experts: Experts; each device holds a slice of all of them, since with few tokens most
            experts rest and their devices would too.
        ffn: Hidden columns of an expert.
        q_dim: Query heads times head size.
        kv_dim: Key or value heads times head size, in the weights.
        kv_heads: Key and value heads in the cache.
        batch: Sequences.
    """

    layer: str | None = None
    vocab: str | None = MODEL
    emb: str | None = None
    experts: str | None = None
    ffn: str | None = MODEL
    q_dim: str | None = MODEL
    kv_dim: str | None = MODEL
    kv_heads: str | None = MODEL
    batch: str | None = DATA

    @classmethod
    def for_mesh(cls, config: ModelConfig, mesh: Mesh) -> ShardingRules:
        """The rules for one model on one mesh.

        Key and value weights are copied to every device where their heads do not divide.

        Raises:
            DeviceError: Query heads, hidden columns or vocabulary do not divide over the mesh.
        """
        shards = mesh.shape[MODEL]
        for what, size in (
            ("num_q_heads", config.num_q_heads),
            ("ffn_size", config.ffn_size),
            ("vocab_size", config.vocab_size),
        ):
            if size % shards:
                raise DeviceError(
                    f"{what} {size} does not divide over {shards} model devices; "
                    f"expected a divisor of {size}",
                    hint="choose another --mesh, for example 1x1",
                )
        return cls(kv_dim=None if config.num_kv_heads % shards else MODEL)

    def spec(self, axes: Sequence[str]) -> PartitionSpec:
        """The partition of an array with these logical axes."""
        return PartitionSpec(*(getattr(self, axis) for axis in axes))

    def sharding(self, mesh: Mesh, axes: Sequence[str]) -> NamedSharding:
        """The same, on a mesh."""
        return NamedSharding(mesh, self.spec(axes))


def make_mesh(text: str, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh ``"DxM"`` from the first ``D * M`` devices.

    Raises:
        DeviceError: The text is malformed or there are too few devices.
    """
    data, model = parse_mesh(text)
    found = list(jax.devices() if devices is None else devices)
    if data * model > len(found):
        raise DeviceError(
            f"mesh {text} needs {data * model} devices; this machine has {len(found)}",
            hint="choose a smaller --mesh, for example 1x1",
        )
    return jax.make_mesh(
        (data, model),
        (DATA, MODEL),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=found[: data * model],
    )


def default_mesh(config: ModelConfig) -> Mesh:
    """One copy of the model over as many of the devices as its axes divide over."""
    devices = jax.devices()
    for count in range(len(devices), 1, -1):
        sizes = (config.num_q_heads, config.ffn_size, config.vocab_size)
        if not any(size % count for size in sizes):
            return make_mesh(f"1x{count}", devices)
    return make_mesh("1x1", devices)
