"""The files of a model that one of several hosts needs, for ``fetch`` and ``run``."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import FileEntry, Manifest
    from grokdist_runtime.cluster import Cluster
    from grokdist_runtime.host_files import HostPart


def host_part(mesh: str, processes: int | None, process: int | None) -> HostPart:
    """Which part of which mesh this process has.

    Raises:
        UsageError: Nobody says which process this is, or the mesh is not one.
        ClusterUsageError: Flags or environment make no cluster.
    """
    from grokdist_runtime.cluster import find_place
    from grokdist_runtime.errors import DeviceError
    from grokdist_runtime.host_files import HostPart, devices_of
    from grokdist_runtime.mesh_shape import parse_mesh

    place = find_place(processes=processes, process=process, environ=os.environ)
    if place is None:
        raise UsageError(
            f"--for-mesh {mesh} needs to know which host this is; expected --processes and"
            " --process, or a launcher that says it",
            hint=f"--for-mesh {mesh} --processes 2 --process 0",
        )
    try:
        part = HostPart(mesh=parse_mesh(mesh), processes=place.processes, process=place.process)
        list(devices_of(part))
    except DeviceError as error:
        raise UsageError(str(error), hint=error.hint) from error
    return part


def part_in(cluster: Cluster | None, mesh: str | None) -> HostPart | None:
    """This process's part of a shared run; ``None`` if it is alone, or says no mesh."""
    from grokdist_runtime.host_files import HostPart
    from grokdist_runtime.mesh_shape import AUTO, parse_mesh

    if cluster is None or mesh is None or mesh == AUTO:
        return None
    return HostPart(mesh=parse_mesh(mesh), processes=cluster.processes, process=cluster.process)


def own_files(manifest: Manifest, part: HostPart) -> tuple[FileEntry, ...]:
    """The files of a model that this host's devices load, in the manifest's order.

    Raises:
        UsageError: The model cannot be loaded onto the mesh.
    """
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.errors import DeviceError
    from grokdist_runtime.host_files import files_of
    from grokdist_runtime.mesh_shape import MeshShape, parse_mesh

    if manifest.config is None:
        raise UsageError(
            f"{manifest.name} has format {manifest.format}, which the runtime does not load;"
            " expected a model that can be put on a mesh",
            hint=f"grokdist fetch {manifest.name}",
        )
    cut = manifest.extra.get("mesh")
    try:
        needed = files_of(
            part,
            ModelConfig.from_mapping(manifest.config),
            (entry.path for entry in manifest.files),
            cut_for=parse_mesh(cut) if isinstance(cut, str) else MeshShape(),
        )
    except DeviceError as error:
        raise UsageError(str(error), hint=error.hint) from error
    kept = frozenset(needed)
    return tuple(entry for entry in manifest.files if entry.path in kept)


def include_for(manifest: Manifest, part: HostPart, out: Output) -> tuple[str, ...]:
    """Patterns of the files to fetch, nothing for all of them; says which it is."""
    own = own_files(manifest, part)
    if len(own) == len(manifest.files):
        out.note(
            f"{part} needs a part of nearly every file of {manifest.name}: all"
            f" {count_text(len(own), 'file')} are wanted; --share gets each byte from outside the"
            f" cluster about once, and grokdist convert --mesh {part.mesh} cuts files so that a"
            " host needs its own only"
        )
        return ()
    size, whole = sum(entry.size for entry in own), manifest.size
    out.note(
        f"{part} needs {len(own)} of {count_text(len(manifest.files), 'file')},"
        f" {bytes_text(size)} of {bytes_text(whole)}"
    )
    return tuple(glob.escape(entry.path) for entry in own)
