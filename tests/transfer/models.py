"""Small models for transfer tests: files, their manifest, requests for them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grokdist.catalog.manifest import (
    FileEntry,
    LicenseInfo,
    Manifest,
    Role,
    SignedBy,
    Source,
    TrustedManifest,
)
from grokdist.transfer.claims import Patience
from grokdist.transfer.part import Part
from grokdist.transfer.part_files import part_bytes
from grokdist.transfer.plan import FetchRequest, Plan, make_plan
from grokdist.transfer.sources.base import Source as LiveSource
from grokdist.transfer.sources.http_transport import HttpSettings
from grokdist.transfer.sources.hub import HubSource
from grokdist.transfer.tree import ModelTree

HASTY = Patience(
    tries=4, tries_unproven=3, rest=0.02, longest_rest=0.05, stall=1.0, idle=0.3, slowest=64
)
"""Patience for tests: everything happens within a second."""

QUICK_HTTP = HttpSettings(connect_timeout=5.0, read_timeout=5.0, block=1 << 16)


def content(path: str, size: int) -> bytes:
    """Bytes that depend on the path alone."""
    return random.Random(path).randbytes(size)


def small_files() -> dict[str, bytes]:
    """Seven files of several sizes, the last one empty."""
    sizes = {
        "ckpt-0/tensor00000_000": 300_007,
        "ckpt-0/tensor00001_000": 24_727,
        "ckpt-0/tensor00002_000": 700_001,
        "ckpt-0/tensor00003_000": 65_536,
        "tokenizer.model": 2_229,
        "LICENSE.txt": 1,
        "empty": 0,
    }
    return {path: content(path, size) for path, size in sizes.items()}


def entry_of(path: str, data: bytes) -> FileEntry:
    return FileEntry(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def manifest_of(
    entries: Sequence[FileEntry], *, sources: Sequence[Source] = (), name: str = "tiny"
) -> Manifest:
    return Manifest(
        schema="grokdist/manifest/v1",
        name=name,
        revision="ab" * 20,
        title="Tiny",
        publisher="Nobody",
        role=Role.OBSERVER,
        statement="These bytes were made by a test.",
        released=None,
        format="grok-1-pickle",
        summary="weights; no training data",
        config=None,
        license=LicenseInfo(expression="Apache-2.0", name="Apache License 2.0"),
        components=(),
        sources=tuple(sources),
        anchors=(),
        files=tuple(entries),
    )


def trusted(manifest: Manifest) -> TrustedManifest:
    raw = repr(manifest).encode()
    return TrustedManifest(
        manifest=manifest,
        raw=raw,
        sha256=hashlib.sha256(raw).hexdigest(),
        signed_by=SignedBy(registry="test", root_sha256="cd" * 32, keyids=("k",), threshold=1),
    )


def request_for(files: Mapping[str, bytes], directory: Path, **changes: Any) -> FetchRequest:
    entries = [entry_of(path, data) for path, data in files.items()]
    return FetchRequest(trusted=trusted(manifest_of(entries)), directory=directory, **changes)


def plan_for(
    files: Mapping[str, bytes], directory: Path, *sources: LiveSource, **changes: Any
) -> Plan:
    return make_plan(request_for(files, directory, **changes), sources)


def hub(endpoint: str, **changes: Any) -> HubSource:
    return HubSource("xai-org/grok-1", endpoint=endpoint, settings=QUICK_HTTP, **changes)


def leave_part(
    directory: Path,
    path: str,
    right: bytes,
    *ranges: tuple[int, int],
    source: str = "earlier",
    data: bytes | None = None,
) -> None:
    """What a process leaves that brought ranges of a file, or of ``data`` in its place."""
    with ModelTree.create(directory) as tree:
        part = Part(tree, entry_of(path, right))
        for start, end in ranges:
            segment = part.claim(start, end, source)
            segment.append((right if data is None else data)[start:end])
            part.release(segment)
        part.close(keep=True)


def noted(directory: Path, path: str, data: bytes) -> int:
    """Bytes of a part that another process could go on from."""
    with ModelTree(directory) as tree:
        return part_bytes(tree, entry_of(path, data))


def assert_complete(directory: Path, files: Mapping[str, bytes]) -> None:
    """Every file is there with its bytes, and no part is left."""
    for path, data in files.items():
        assert (directory / path).read_bytes() == data, path
    parts = directory / ".grokdist" / "parts"
    assert not [each for each in parts.rglob("*") if each.is_file()]
