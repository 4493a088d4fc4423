"""Which files of a model one of several hosts loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import FileEntry, Manifest
    from grokdist_runtime.host_files import HostPart


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
