"""The manifest of a model that was converted here: what it is now, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import grokdist
from grokdist.catalog.alteration import INT4_FORMAT, INT4_GROUP, alteration_of
from grokdist.catalog.manifest import FileEntry, LicenseInfo, Manifest, Role, TrustedManifest
from grokdist.trust.oms.root import root_of_files

CONVERTED_FORMATS = {"grok-1-pickle": "grok-1-safetensors"}
"""What a format becomes, where the bytes of every tensor stay."""

_KEPT = "The bytes of every tensor are those of the original files."
_ALTERED = (
    "ALTERED: {how}. The bytes of all other tensors are those of the original files, and"
    " nothing but the original files gives back what was rounded."
)


def converted_manifest(
    source: TrustedManifest,
    source_root: str,
    files: Iterable[FileEntry],
    *,
    license_path: str | None,
    when: datetime,
    mesh: str,
    int4_group: int | None = None,
) -> Manifest:
    """The manifest of a conversion.

    Args:
        source: the manifest of what was converted, all of whose files were verified.
        source_root: root digest of these files.
        files: what the conversion consists of, each with its SHA-256.
        license_path: path of the licence text among them; None where it is not there.
        when: the time of the conversion, UTC.
        mesh: the devices that its tensors are cut for, as in ``1x8``.
        int4_group: rows to a scale, at most, where experts were requantised to int4.
    """
    made_from = source.manifest
    entries = tuple(sorted(files, key=lambda entry: entry.path))
    text = next((entry.sha256 for entry in entries if entry.path == license_path), None)
    license_info: LicenseInfo = replace(
        made_from.license,
        text_path=license_path,
        text_sha256=text or made_from.license.text_sha256,
    )
    root = root_of_files({entry.path: str(entry.sha256) for entry in entries})
    made = replace(
        made_from,
        name=f"{made_from.name[:52]}-safetensors",
        title=f"{made_from.title[:100]} (safetensors)",
        format=CONVERTED_FORMATS[made_from.format],
    )
    if int4_group is not None:
        made = replace(
            made,
            name=f"{made_from.name[:52]}-int4",
            title=f"{made_from.title[:100]} (altered: int4 experts)",
            format=INT4_FORMAT,
            config={**(made_from.config or {}), INT4_GROUP: int4_group},
        )
    how = alteration_of(made)
    return replace(
        made,
        revision=root,
        role=Role.OBSERVER,
        statement=(
            f"Converted by grokdist {grokdist.__version__} on {when:%Y-%m-%d} from"
            f" {made_from.name} {made_from.revision}, whose files were verified against the"
            f" manifest {source.sha256}. {_KEPT if how is None else _ALTERED.format(how=how)}"
            " Nobody but whoever converted it vouches for that, and the publisher signed"
            " nothing of it."
        ),
        sources=(),
        anchors=(),
        files=entries,
        listed=True,
        license=license_info,
        extra={
            "converted_from": {
                "name": made_from.name,
                "revision": made_from.revision,
                "manifest_sha256": source.sha256,
                "root_sha256": source_root,
            },
            "mesh": mesh,
            **({"altered": how} if how is not None else {}),
        },
    )


def converted_from(manifest: Manifest) -> dict[str, str]:
    """What a converted model was made from, as its manifest records it; empty for any other.

    The member is free text of whoever wrote the manifest: only printable strings are taken.
    """
    found: Any = manifest.extra.get("converted_from")
    if not isinstance(found, dict):
        return {}
    keys = ("name", "revision", "manifest_sha256", "root_sha256")
    return {
        key: value
        for key in keys
        if isinstance(value := found.get(key), str) and value.isprintable() and len(value) <= 200
    }
