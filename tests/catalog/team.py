"""A team that publishes a registry, with its keys at hand, on a real server with faults on demand.

The team goes by the publisher's own code. Attackers write into the served folder, or make the
server answer otherwise; those with a stolen key sign with ``Team.keys``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # no __all__
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater  # type: ignore[attr-defined]  # its documented names

from grokdist.catalog.followed_registries import FollowedRegistries
from grokdist.catalog.registry_draft import begin, draft_keys, draft_manifests
from grokdist.catalog.registry_publisher import Publication, publish, sign
from grokdist.catalog.registry_review import LIFETIMES
from grokdist.catalog.registry_update import Update
from grokdist.catalog.tuf_roles import (
    RoleKeys,
    make_snapshot,
    make_timestamp,
    signed,
)
from grokdist.transfer.registry_fetcher import FetchBounds, RegistryFetcher
from tests.catalog.conftest import manifest_tree
from tests.servers.raw_server import Asked, RawServer, Script, head

QUICK = FetchBounds(tries=1, deadline=5.0, read_timeout=5.0)


def manifest(name: str = "tiny", **changes: Any) -> bytes:
    """A valid manifest of that name."""
    return json.dumps(manifest_tree() | {"name": name} | changes).encode()


class Team:
    """A registry in ``folder``, its keys in memory: ``root``, ``targets`` and ``online``."""

    def __init__(self, folder: Path, *, now: datetime | None = None, **lifetimes: int) -> None:
        self.folder = folder
        self.keys = {
            "root": [CryptoSigner.generate_ed25519() for _ in range(3)],
            "targets": [CryptoSigner.generate_ecdsa() for _ in range(3)],
            "online": [CryptoSigner.generate_ed25519()],
        }
        roles = {
            "root": self.role_keys("root", 2),
            "targets": self.role_keys("targets", 2),
            "snapshot": self.role_keys("online", 1),
            "timestamp": self.role_keys("online", 1),
        }
        begin(folder, roles, LIFETIMES | lifetimes, now=now or datetime.now(UTC))

    def role_keys(self, role: str, threshold: int) -> RoleKeys:
        public = tuple(signer.public_key for signer in self.keys[role])
        return RoleKeys(keys=public, threshold=threshold)

    def sign(self, role: str, signers: Sequence[CryptoSigner] | None = None) -> None:
        for signer in self.keys[role][:2] if signers is None else signers:
            sign(self.folder, signer, role=role)

    def publish(self, *, to: Path | None = None, now: datetime | None = None) -> Publication:
        return publish(self.folder, self.keys["online"], to=to, now=now or datetime.now(UTC))

    def begin(self, *names: str) -> Publication:
        """Publish for the first time, with models of these names."""
        draft_manifests(self.folder, [manifest(name) for name in names], now=datetime.now(UTC))
        self.sign("root")
        self.sign("targets")
        return self.publish()

    def add(self, *manifests: bytes, remove: Sequence[str] = ()) -> Publication:
        """Publish with these manifests added or changed."""
        draft_manifests(self.folder, manifests, remove=remove, now=datetime.now(UTC))
        self.sign("targets")
        return self.publish()

    def rotate(self, role: str, *, index: int = 0) -> CryptoSigner:
        """Put a new key in the place of one, publish, and return the old key."""
        keys = self.keys[role]
        old, new = keys[index], CryptoSigner.generate_ed25519()
        holders = list(self.keys["root"])
        changes = draft_keys(
            self.folder,
            role,
            add=[new.public_key],
            remove=[old.public_key.keyid],
            now=datetime.now(UTC),
        )
        keys[index] = new
        # The threshold of the old root and that of the new one.
        self.sign("root", holders[:2])
        if role == "root":
            self.sign("root", self.keys["root"][:2])
        if any(change.role == "targets" for change in changes):
            self.sign("targets")
        self.publish()
        return old

    def read(self, name: str) -> Metadata[Any]:
        """A published metadata file."""
        return Metadata.from_file(str(self.folder / name))

    def version(self, role: str) -> int:
        """The published version of a role."""
        timestamp = self.read("timestamp.json").signed
        if role == "timestamp":
            return int(timestamp.version)
        snapshot = self.read(f"{timestamp.snapshot_meta.version}.snapshot.json").signed
        if role == "snapshot":
            return int(snapshot.version)
        return int(snapshot.meta["targets.json"].version)

    def forge(
        self,
        *,
        targets: bytes | None = None,
        ahead: int = 1,
        expires: datetime | None = None,
        snapshot_ahead: int | None = None,
        online: Sequence[CryptoSigner] | None = None,
        targets_version: int | None = None,
    ) -> None:
        """What a thief of the online key can do: point to any targets, at any version."""
        expires = expires or datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
        online = self.keys["online"] if online is None else online
        number = targets_version or self.version("targets")
        if targets is None:
            targets = (self.folder / f"{number}.targets.json").read_bytes()
        else:
            (self.folder / f"{number}.targets.json").write_bytes(targets)
        version = self.version("snapshot") + (ahead if snapshot_ahead is None else snapshot_ahead)
        stamp = self.version("timestamp") + ahead
        snapshot = signed(make_snapshot(number, targets, expires=expires, version=version), online)
        (self.folder / f"{version}.snapshot.json").write_bytes(snapshot)
        timestamp = make_timestamp(version, snapshot, expires=expires, version=stamp)
        (self.folder / "timestamp.json").write_bytes(signed(timestamp, online))

    def unsigned_listing(self, *names: str) -> Metadata[Any]:
        """The published listing with more models, and nobody's signature."""
        from grokdist.catalog.tuf_roles import target_file

        metadata = self.read(f"{self.version('targets')}.targets.json")
        metadata.signatures.clear()
        metadata.signed.version += 1
        for name in names:
            path = f"models/{name}.json"
            listed = target_file(path, manifest(name))
            metadata.signed.targets[path] = listed
            place = self.folder / "models" / f"{listed.hashes['sha256']}.{name}.json"
            place.write_bytes(manifest(name))
        return metadata


class RegistryServer(RawServer):
    """Serves a folder as a static host does; a test may have other answers given for a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instead: dict[str, Script] = {}
        super().__init__(self._answer)

    def _answer(self, asked: Asked) -> Iterator[bytes | float]:
        if asked.path in self.instead:
            yield from self.instead[asked.path](asked)
            return
        try:
            data = (self.folder / asked.path).read_bytes()
        except OSError:
            yield head("404 Not Found", Content_Length=0)
            return
        yield head(Content_Length=len(data))
        yield data


class Follower:
    """A machine that follows the team's registry as ``acme``."""

    def __init__(self, home: Path, server: RegistryServer, bounds: FetchBounds = QUICK) -> None:
        self.registries = FollowedRegistries(home)
        self.server = server
        self.bounds = bounds

    def add(self, root: bytes | None = None, **options: Any) -> Update:
        pinned = (self.server.folder / "1.root.json").read_bytes() if root is None else root
        return self.registries.add("acme", self.server.url, pinned, self.fetcher(), **options)

    def update(self) -> Update:
        return self.registries.update("acme", self.fetcher())

    def models(self) -> tuple[str, ...]:
        """What is cached, verified as it is read offline."""
        registry = self.registries.get("acme").registry()
        return tuple(name for name in registry.names() if registry.load(name))

    def fetcher(self) -> RegistryFetcher:
        return RegistryFetcher("acme", self.bounds)


@contextlib.contextmanager
def following(folder: Path, home: Path) -> Iterator[tuple[Follower, RegistryServer]]:
    """A follower that has the whole registry, and the server it came from."""
    with RegistryServer(folder) as server:
        follower = Follower(home, server)
        follower.add()
        yield follower, server


def once(*blocks: bytes | float) -> Callable[[Asked], Iterator[bytes | float]]:
    """A script that answers these bytes, and waits where a number stands."""

    def script(_: Asked) -> Iterator[bytes | float]:
        yield from blocks

    return script


def seen(folder: Path, home: Path) -> tuple[int, int]:
    """Versions of root and timestamp that a fresh client of python-tuf arrives at."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    with RegistryServer(folder) as server:
        root = (folder / "1.root.json").read_bytes()
        updater = Updater(
            str(home),
            server.url,
            target_dir=str(home),
            target_base_url=server.url,
            bootstrap=root,
        )
        updater.refresh()
        info = updater.get_targetinfo("models/tiny.json")
        assert info is not None
        updater.download_target(info)
    versions = [
        json.loads((home / f"{role}.json").read_bytes())["signed"]["version"]
        for role in ("root", "timestamp")
    ]
    return versions[0], versions[1]


def drafted_rotation(team: Team) -> None:
    """Draft and sign a root with other keys for all roles but the online ones, all at once."""
    holders = list(team.keys["root"])
    for role in ("root", "targets"):
        new = [CryptoSigner.generate_ed25519() for _ in team.keys[role]]
        draft_keys(
            team.folder,
            role,
            add=[signer.public_key for signer in new],
            remove=[signer.public_key.keyid for signer in team.keys[role]],
            now=datetime.now(UTC),
        )
        team.keys[role] = new
    team.sign("root", [*holders[:2], *team.keys["root"][:2]])
    team.sign("targets")
