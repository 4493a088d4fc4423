"""Which of a model's files the devices of one host load: arithmetic on the tensor table, no JAX.

In the release's layout every tensor is one file, and a mesh cuts its part out of nearly each, so
that every host needs all files. Files that were converted for a mesh hold one part each: of these a
host needs those that its devices' places overlap with, whatever mesh they were cut for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from grokdist_runtime.checkpoint.parts import (
    Place,
    axis_pieces,
    part_of_file,
    parts_held,
    places,
)
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.mesh_shape import MeshShape


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostPart:
    """One process's part of a mesh.

    Attributes:
        mesh: Devices of all processes together.
        processes: How many there are; each has as many neighbouring devices.
        process: Which one this is, from 0.
    """

    mesh: MeshShape
    processes: int
    process: int

    def __str__(self) -> str:
        return f"process {self.process} of {self.processes} with mesh {self.mesh}"


def devices_of(part: HostPart) -> Iterator[tuple[Place, Place]]:
    """Places on the axes ``model`` and ``expert`` of the process's devices.

    Devices are counted process by process, as JAX does on CPUs and GPUs.

    Raises:
        DeviceError: The devices do not divide over the processes.
    """
    mesh = part.mesh
    each, left = divmod(mesh.devices, part.processes)
    if left:
        raise DeviceError(
            f"mesh {mesh} has {mesh.devices} devices, which do not divide over"
            f" {part.processes} processes; expected a multiple of {part.processes}",
            hint=f"for example --mesh 1x{part.processes}",
        )
    for device in range(part.process * each, (part.process + 1) * each):
        model, expert = divmod(device % mesh.sharers, mesh.expert)
        yield (model, mesh.model), (expert, mesh.expert)


def files_of(
    part: HostPart, config: ModelConfig, names: Iterable[str], *, cut_for: MeshShape
) -> tuple[str, ...]:
    """The files that a process needs, in their order.

    Args:
        part: The process.
        config: The model.
        names: Paths of the model's files; what is no part of a tensor is needed by all.
        cut_for: The mesh that the files were cut for; of one device where they were not.

    Raises:
        DeviceError: The model does not divide over a mesh, or the mesh over the processes.
    """
    pieces = axis_pieces(config, model=cut_for.model, experts=cut_for.expert)
    held: set[Place] = set()
    standing: list[Mapping[str, Place]] = []
    for model, expert in devices_of(part):
        place = places(config, model=model, experts=expert)
        if place not in standing:  # copies of the model hold the same
            standing.append(place)
            held |= parts_held(config, pieces, place)
    return tuple(name for name in names if (of := part_of_file(name)) is None or of in held)
