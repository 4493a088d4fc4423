"""The one table of logical axes: along which axes of the mesh each is cut.

To try another layout change ``AxisRules.for_shape``: loader, forward pass, cache and plan follow.
No JAX; ``sharding`` says the same in JAX's terms.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.mesh_shape import AUTO, AXES, DATA, EXPERT, MODEL, MeshShape, undivided

Axes = tuple[str, ...]
"""Axes of the mesh, the outer one first; none where every device holds all of a dimension."""

Rules = TypeVar("Rules", bound="AxisRules")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AxisRules:
    """The axes of the mesh that each logical axis is cut along. Axes of one device are left out.

    Attributes:
        layer: Stacked layers.
        vocab: Rows of the embedding.
        emb: The residual stream.
        experts: Experts of a layer.
        routes: The router's outputs, one for each expert: every device routes for itself.
        ffn: Hidden columns of an expert.
        q_dim: Query heads times head size.
        kv_dim: Key or value heads times head size, in the weights.
        kv_heads: Key and value heads in the cache.
        batch: Sequences.
    """

    layer: Axes = ()
    vocab: Axes = ()
    emb: Axes = ()
    experts: Axes = ()
    routes: Axes = ()
    ffn: Axes = ()
    q_dim: Axes = ()
    kv_dim: Axes = ()
    kv_heads: Axes = ()
    batch: Axes = ()

    @classmethod
    def for_shape(cls: type[Rules], config: ModelConfig, shape: MeshShape) -> Rules:
        """The rules for one model on one mesh.

        Heads and vocabulary are cut along both axes that share a copy, so that no device idles
        while others attend; along ``model`` alone where they divide over that only. Key and
        value weights are copied to every device where their heads do not divide.

        Raises:
            DeviceError: Query heads, hidden columns, vocabulary or experts do not divide.
        """
        if bad := undivided(config, shape):
            raise DeviceError(
                f"mesh {shape}: {bad}; expected divisors of these",
                hint=f"--mesh {AUTO} takes what divides",
            )
        present = tuple(axis for axis in AXES if getattr(shape, axis) > 1)

        def along(*axes: str) -> Axes:
            return tuple(axis for axis in axes if axis in present)

        def along_both(size: int) -> Axes:
            return along(MODEL) if size % shape.sharers else along(MODEL, EXPERT)

        heads = along_both(config.num_q_heads)
        return cls(
            vocab=along_both(config.vocab_size),
            experts=along(EXPERT),
            ffn=along(MODEL),
            q_dim=heads,
            kv_dim=() if config.num_kv_heads % shape.along(heads) else heads,
            kv_heads=heads,
            batch=along(DATA),
        )

    def axes(self, name: str) -> Axes:
        """The mesh axes of a logical axis."""
        found: Axes = getattr(self, name)
        return found
