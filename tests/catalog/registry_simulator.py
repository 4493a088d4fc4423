"""A TUF registry in memory that signs on demand.

Tests change plain objects (roles, versions, expiry dates, who signs) and ask for the files; the
simulator then writes and signs them as a publisher's tool would. Keys live in this object only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # no __all__
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its documented names, no __all__
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from grokdist.catalog.trusted_metadata import RegistryFiles

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FRESH = datetime(2030, 6, 1, tzinfo=UTC)
STALE = datetime(2029, 6, 1, tzinfo=UTC)
THRESHOLDS = {"root": 2, "targets": 2, "snapshot": 1, "timestamp": 1}
KEY_COUNTS = {"root": 3, "targets": 3, "snapshot": 1, "timestamp": 1}


class RegistrySimulator:
    """One registry whose every part a test may change before asking for its files.

    Attributes:
        roots: root roles in order of version; the last one is in force.
        root_signers: for each root, the keys that sign it.
        targets, snapshot, timestamp: the other roles, before signing.
        signers: by role, the keys that sign it.
        contents: target files by path.
        after: by role, a last change to the bytes written.
    """

    def __init__(self, contents: dict[str, bytes] | None = None) -> None:
        self.contents = contents if contents is not None else {"models/tiny.json": b'{"a": 1}\n'}
        self.signers = {
            role: [CryptoSigner.generate_ed25519() for _ in range(count)]
            for role, count in KEY_COUNTS.items()
        }
        self.roots = [self.new_root(1)]
        self.root_signers = [list(self.signers["root"])]
        self.targets = Targets(expires=FRESH)
        self.snapshot = Snapshot(expires=FRESH)
        self.timestamp = Timestamp(expires=FRESH)
        self.with_hashes = True
        self.after: dict[str, Callable[[bytes], bytes]] = {}

    @property
    def root(self) -> Root:
        """The root in force."""
        return self.roots[-1]

    def new_root(self, version: int) -> Root:
        """A root role for the present signers."""
        root = Root(version=version, expires=FRESH, consistent_snapshot=False)
        for role, signers in self.signers.items():
            for signer in signers:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = THRESHOLDS[role]
        return root

    def rotate(self, role: str) -> None:
        """New keys for a role, announced by a next root that old and new root keys sign."""
        before = list(self.signers["root"])
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(KEY_COUNTS[role])]
        self.roots.append(self.new_root(self.root.version + 1))
        together = before if role != "root" else before + self.signers["root"]
        self.root_signers.append(together)

    def files(self) -> RegistryFiles:
        """Sign everything and return the bytes."""
        roots = tuple(
            self._written("root" if i == 0 else f"root{i + 1}", root, signers)
            for i, (root, signers) in enumerate(zip(self.roots, self.root_signers, strict=True))
        )
        self.targets.targets = {
            path: TargetFile.from_data(path, data, ["sha256"])
            for path, data in self.contents.items()
        }
        targets = self._written("targets", self.targets, self.signers["targets"])
        self.snapshot.meta = {"targets.json": self._meta(self.targets, targets)}
        snapshot = self._written("snapshot", self.snapshot, self.signers["snapshot"])
        self.timestamp.snapshot_meta = self._meta(self.snapshot, snapshot)
        timestamp = self._written("timestamp", self.timestamp, self.signers["timestamp"])
        return RegistryFiles(roots=roots, timestamp=timestamp, snapshot=snapshot, targets=targets)

    def write(self, folder: Path) -> str:
        """Write the registry to a folder; returns the first root's fingerprint."""
        files = self.files()
        folder.mkdir(parents=True, exist_ok=True)
        for number, root in enumerate(files.roots, start=1):
            (folder / f"{number}.root.json").write_bytes(root)
        for name in ("timestamp", "snapshot", "targets"):
            (folder / f"{name}.json").write_bytes(getattr(files, name))
        for path, data in self.contents.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return fingerprint(files)

    def _meta(self, signed: Signed, data: bytes) -> MetaFile:
        if not self.with_hashes:
            return MetaFile(signed.version)
        return MetaFile.from_data(signed.version, data, ["sha256"])

    def _written(self, name: str, signed: Signed, signers: list[Any]) -> bytes:
        data = sign(signed, signers)
        return self.after.get(name, lambda same: same)(data)


def sign(signed: Signed, signers: list[Any]) -> bytes:
    """A metadata file with these keys' signatures."""
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return JSONSerializer().serialize(metadata)


def fingerprint(files: RegistryFiles) -> str:
    """What a client would pin for this registry."""
    return hashlib.sha256(files.roots[0]).hexdigest()
