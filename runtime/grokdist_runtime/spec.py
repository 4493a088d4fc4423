"""What a compiled program knows in advance: the model's sizes, and how they are split.

Hashable, so that it can be closed over or passed to ``jax.jit`` as a static argument. Sizes named
``local`` are those that one device sees inside ``shard_map``.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from grokdist_runtime.config import ModelConfig, check_kv_cache
from grokdist_runtime.mesh_shape import MeshShape
from grokdist_runtime.sharding import ShardingRules, shape_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model on one mesh.

    Attributes:
        config: The model's sizes and constants; ``compute_dtype`` is the one in effect.
        mesh: The devices, axes ``data``, ``model`` and ``expert``.
        rules: Which logical axis is split over which mesh axes.
        on_cpu: Chooses the forms that XLA compiles well for CPUs.
        kv_cache: ``int8`` to round cached keys and values; None keeps them as they are computed.
        kernels: Who multiplies by int8 matrices, as ``kernels.choose`` says.
    """

    config: ModelConfig
    mesh: Mesh
    rules: ShardingRules
    on_cpu: bool
    kv_cache: str | None = None
    kernels: str = "plain"

    @classmethod
    def create(
        cls,
        config: ModelConfig,
        mesh: Mesh,
        *,
        kv_cache: str | None = None,
        kernels: str = "plain",
    ) -> ModelSpec:
        """Checks that the model can be split over the mesh.

        Args:
            config: The model.
            mesh: The devices.
            kv_cache: ``int8`` or None.
            kernels: One of ``kernels.KERNELS`` that works here.

        Raises:
            DeviceError: A size does not divide over the mesh, or the cache's dtype is unknown.
        """
        check_kv_cache(kv_cache)
        platform = mesh.devices.flat[0].platform
        rules = ShardingRules.for_mesh(config, mesh)
        return cls(
            config=config,
            mesh=mesh,
            rules=rules,
            on_cpu=platform == "cpu",
            kv_cache=kv_cache,
            kernels=kernels,
        )

    @property
    def model_shards(self) -> int:
        """Devices that share one copy of the model."""
        return self.shape.sharers

    @property
    def shape(self) -> MeshShape:
        """Devices along each axis of the mesh."""
        return shape_of(self.mesh)

    def parts(self, axis: str) -> int:
        """How many parts a logical axis is cut into."""
        return self.shape.along(self.rules.axes(axis))

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the operands of matrix products.

        Everything else is float32 whatever the compute dtype: residual stream, norms, router,
        attention logits, sums. A router's choice between two nearly equal experts can turn on the
        last bits, so they are kept where that costs nothing.

        A CPU has float32 here even for ``bfloat16``: XLA would widen the operands before the
        product anyway, so that rounding them first would only lose accuracy and time.
        """
        return jnp.dtype(jnp.float32 if self.on_cpu else self.config.compute_dtype)

    @property
    def embedding_dtype(self) -> DTypeLike:
        """Dtype in which the embedding, also the output head, is kept: the compute dtype.

        On a CPU too: it is only read, and half the bytes are read in half the time.
        """
        return jnp.dtype(self.config.compute_dtype)

    @property
    def cache_dtype(self) -> DTypeLike:
        """Dtype of cached keys and values: that of the products unless int8 is asked for."""
        return jnp.dtype(jnp.int8) if self.kv_cache == "int8" else self.dtype

    @property
    def local_experts(self) -> int:
        """Experts of each layer on one device."""
        return self.config.num_experts // self.parts("experts")

    @property
    def local_q_heads(self) -> int:
        """Query heads on one device."""
        return self.config.num_q_heads // self.parts("q_dim")

    @property
    def local_kv_heads(self) -> int:
        """Key and value heads that one device keeps in its cache.

        Where the heads divide over the devices each keeps its share. Where they do not, each
        keeps the one head its queries share, or, if they share none, one copy for each query.
        """
        heads, shards = self.config.num_kv_heads, self.parts("q_dim")
        if heads % shards == 0:
            return heads // shards
        if shards % heads == 0:
            return 1
        return self.local_q_heads

    def kv_head_table(self) -> np.ndarray | None:
        """``[parts, local_kv_heads]``: which heads of copied K and V each part of the heads keeps.

        ``None`` where the weights are cut as the heads are and nothing is to be selected.
        """
        if self.rules.kv_dim == self.rules.kv_heads:
            return None
        parts = self.parts("q_dim")
        queries = self.local_q_heads // self.local_kv_heads
        first = np.arange(parts * self.local_kv_heads) * queries
        heads = first // self.config.queries_per_kv_head
        return heads.reshape(parts, self.local_kv_heads).astype(np.int32)
