"""The files of a model that one of several hosts needs, for ``fetch`` and ``run``."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import Manifest
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


def include_for(manifest: Manifest, part: HostPart, out: Output) -> tuple[str, ...]:
    """Patterns of the files to fetch, nothing for all of them; says which it is."""
    from grokdist.api.own_files import own_files

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
