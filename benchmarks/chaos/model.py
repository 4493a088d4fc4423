"""The small model that is fetched again and again: its files, its manifest, a torrent of it."""

from __future__ import annotations

from grokdist.catalog.serialise import serialise_manifest
from tests.transfer.models import content, entry_of, manifest_of

SIZES = {
    "ckpt-0/tensor00000_000": 1_500_011,
    "ckpt-0/tensor00001_000": 400_007,
    "ckpt-0/tensor00002_000": 65_536,
    "tokenizer.model": 2_229,
    "empty": 0,
}
FILES = {path: content(path, size) for path, size in SIZES.items()}
WHOLE = sum(SIZES.values())
MANIFEST = serialise_manifest(manifest_of([entry_of(path, data) for path, data in FILES.items()]))
