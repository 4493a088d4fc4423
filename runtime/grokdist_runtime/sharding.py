"""Meshes of devices, and the table of logical axes in JAX's terms.

The table itself is ``axis_rules``; what a mesh's axes mean, and what ``auto`` takes, is
``mesh_shape``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from grokdist_runtime.axis_rules import AxisRules
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.mesh_shape import AXES, MeshShape, auto_mesh, parse_mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingRules(AxisRules):
    """The table, for arrays on a mesh."""

    @classmethod
    def for_mesh(cls, config: ModelConfig, mesh: Mesh) -> ShardingRules:
        """The rules for one model on one mesh.

        Raises:
            DeviceError: A size of the model does not divide over the mesh.
        """
        return cls.for_shape(config, shape_of(mesh))

    def spec(self, axes: Sequence[str]) -> PartitionSpec:
        """The partition of an array with these logical axes."""
        return PartitionSpec(*(self.axes(axis) or None for axis in axes))

    def sharding(self, mesh: Mesh, axes: Sequence[str]) -> NamedSharding:
        """The same, on a mesh."""
        return NamedSharding(mesh, self.spec(axes))


def shape_of(mesh: Mesh) -> MeshShape:
    """Devices along each of the mesh's axes."""
    return MeshShape(**{axis: int(mesh.shape[axis]) for axis in AXES})


def make_mesh(text: str, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh ``"DxM"`` or ``"DxMxE"`` from the first devices, as many of each process.

    Raises:
        DeviceError: The text is malformed, or there are too few devices or processes to share.
    """
    return _mesh(parse_mesh(text), list(jax.devices() if devices is None else devices))


def default_mesh(config: ModelConfig, *, batch: int = 1) -> Mesh:
    """The mesh that ``auto`` takes of all devices; see ``mesh_shape.auto_mesh``."""
    devices = jax.devices()
    shape = auto_mesh(config, len(devices), batch=batch)
    for count in range(len(devices) - 1, 0, -1):
        if shape.devices % jax.process_count() == 0:
            break  # an equal part for every process
        shape = auto_mesh(config, count, batch=batch)
    return _mesh(shape, devices)


def _mesh(shape: MeshShape, devices: Sequence[jax.Device]) -> Mesh:
    if shape.devices > len(devices):
        raise DeviceError(
            f"mesh {shape} needs {shape.devices} devices; this machine has {len(devices)}",
            hint="--mesh auto takes those there are",
        )
    return jax.make_mesh(
        tuple(getattr(shape, axis) for axis in AXES),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        devices=_of_each_process(devices, shape.devices),
    )


def _of_each_process(devices: Sequence[jax.Device], count: int) -> list[jax.Device]:
    """The first devices of each process: one without any could not take part in a program."""
    processes = sorted({device.process_index for device in devices})
    each, left = divmod(count, len(processes))
    own = [[d for d in devices if d.process_index == process][:each] for process in processes]
    if left or any(len(found) < each for found in own):
        raise DeviceError(
            f"{count} devices cannot be taken evenly from {len(processes)} processes with"
            f" {len(devices)} devices; expected a multiple of {len(processes)}",
            hint=f"--mesh 1x{len(processes)} takes one of each",
        )
    return [device for found in own for device in found]
