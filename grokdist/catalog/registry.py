"""A registry in a folder: finds its files, has them verified, and loads manifests from it.

The rules of trust are in ``grokdist.catalog.trusted_metadata``; here is only the reading, with a
bound on every file.
"""

from __future__ import annotations

import difflib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import grokdist
from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.catalog import parsing
from grokdist.catalog.manifest import SignedBy, TrustedManifest
from grokdist.catalog.registry_names import EMBEDDED
from grokdist.catalog.trust_root import ROOT_SHA256
from grokdist.catalog.trusted_metadata import (
    MAX_METADATA_BYTES,
    RegistryFiles,
    StaleRegistryError,
    VerifiedRegistry,
    verify_registry,
    verify_target,
)
from grokdist.document import shorten
from grokdist.errors import TrustError, UnknownModelError

_MAX_ROOTS = 256
_PREFIX = "models/"
_SUFFIX = ".json"


class Registry:
    """A signed set of manifests in a folder.

    The folder holds ``1.root.json`` (and later roots), ``timestamp.json``, ``snapshot.json``,
    ``targets.json`` and the targets, ``models/<name>.json``. Nothing is read until a method asks,
    and every method verifies anew.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        root_sha256: str,
        first_root: int = 1,
        exact: bool = True,
        not_before: datetime | None = None,
        renewal: str | None = None,
    ) -> None:
        """A registry in ``folder``, trusted through the root with this fingerprint.

        Args:
            folder: where its files are.
            name: what to call it.
            root_sha256: fingerprint of the pinned root.
            first_root: the pinned root's number.
            exact: hold the metadata to this project's own rules too, not to TUF's alone.
            not_before: a time that is known to be past; a clock that shows less is behind.
            renewal: the command that gets newer metadata.
        """
        self.folder = folder
        self.name = name
        self.root_sha256 = root_sha256
        self.first_root = first_root
        self.exact = exact
        self.not_before = not_before
        self.renewal = renewal

    @classmethod
    def embedded(cls) -> Registry:
        """The registry that ships with the package.

        In an installed package that is ``grokdist/_manifests``; in a checkout it is
        ``manifests`` beside ``pyproject.toml``.

        Raises:
            TrustError: neither is there.
        """
        package = Path(grokdist.__file__).parent
        folder = package / "_manifests"
        if not folder.is_dir():
            repository = package.parent
            folder = repository / "manifests"
            if not (repository / "pyproject.toml").is_file() or not folder.is_dir():
                raise TrustError(
                    "the embedded registry is missing from this installation",
                    hint="pip install --force-reinstall grokdist",
                )
        return cls(
            folder,
            name=EMBEDDED,
            root_sha256=ROOT_SHA256,
            renewal="pip install --upgrade grokdist",
        )

    def verify(self, *, strict_freshness: bool = False) -> VerifiedRegistry:
        """Verify the registry's metadata; see ``trusted_metadata`` for the rules.

        Raises:
            TrustError: a file is missing, unreadable or too large, or a rule does not hold.
        """
        roots: list[bytes] = [self._read(f"{self.first_root}.root.json", MAX_METADATA_BYTES)]
        while (self.folder / (name := f"{self.first_root + len(roots)}.root.json")).exists():
            if len(roots) == _MAX_ROOTS:
                raise TrustError(f"the registry has too many roots; expected at most {_MAX_ROOTS}")
            roots.append(self._read(name, MAX_METADATA_BYTES))
        now = datetime.now(UTC)
        try:
            return verify_registry(
                RegistryFiles(
                    roots=tuple(roots),
                    timestamp=self._read("timestamp.json", MAX_METADATA_BYTES),
                    snapshot=self._read("snapshot.json", MAX_METADATA_BYTES),
                    targets=self._read("targets.json", MAX_METADATA_BYTES),
                    first_root=self.first_root,
                ),
                root_sha256=self.root_sha256,
                now=max(now, self.not_before or now),
                strict_freshness=strict_freshness,
                exact=self.exact,
            )
        except TrustError as error:
            # A followed registry's copy is mended as it is renewed; the package's is not.
            if isinstance(error, StaleRegistryError) or self.name != EMBEDDED:
                error.hint = error.hint or self.renewal
            raise

    def names(self, *, strict_freshness: bool = False) -> tuple[str, ...]:
        """Names of the models in the registry, sorted.

        Raises:
            TrustError: as for ``verify``.
        """
        return _names(self.verify(strict_freshness=strict_freshness))

    def load(self, name: str, *, strict_freshness: bool = False) -> TrustedManifest:
        """Verify the registry and the manifest of one model, and parse it.

        Raises:
            UnknownModelError: the registry has no model of that name.
            TrustError: a signature, digest, version or file does not hold.
            ManifestError: the manifest is signed, but malformed.
        """
        verified = self.verify(strict_freshness=strict_freshness)
        path = f"{_PREFIX}{name}{_SUFFIX}"
        if not parsing.NAME.fullmatch(name) or path not in verified.targets:
            self._refuse_unsigned(name, path)
            raise _unknown(name, _names(verified))
        raw = self._read(path, parsing.MAX_BYTES)
        verify_target(verified, path, raw)
        manifest = parsing.parse_manifest(raw)
        if manifest.name != name:
            raise TrustError(
                f"manifest {path} describes another model: expected name '{name}', "
                f"got '{manifest.name}'"
            )
        return TrustedManifest(
            manifest=manifest,
            raw=raw,
            sha256=hashlib.sha256(raw).hexdigest(),
            signed_by=SignedBy(
                registry=self.name,
                root_sha256=verified.root_sha256,
                keyids=verified.keyids,
                threshold=verified.threshold,
                expires=verified.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                expired=bool(verified.expired),
            ),
        )

    def _refuse_unsigned(self, name: str, path: str) -> None:
        if parsing.NAME.fullmatch(name) and (self.folder / path).exists():
            raise TrustError(
                f"manifest {path} is in the registry's folder but not listed in its signed "
                "targets.json"
            )

    def _read(self, path: str, limit: int) -> bytes:
        file = self.folder / path
        try:
            if not file.resolve(strict=True).is_relative_to(self.folder.resolve()):
                raise TrustError(f"{path} is a link that leads out of the registry's folder")
            return read_bounded(file, limit)
        except FileNotFoundError as error:
            raise TrustError(f"{path} is missing from the registry {self.name}") from error
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise TrustError(f"{path} of the registry {self.name} cannot be read: {error}") from (
                error
            )
        except TooLargeError as error:
            raise TrustError(f"{path} has more than {limit} bytes; expected at most that") from (
                error
            )


def _names(verified: VerifiedRegistry) -> tuple[str, ...]:
    names = (
        path[len(_PREFIX) : -len(_SUFFIX)]
        for path in verified.targets
        if path.startswith(_PREFIX) and path.endswith(_SUFFIX)
    )
    return tuple(sorted(name for name in names if parsing.NAME.fullmatch(name)))


def _unknown(name: str, names: tuple[str, ...]) -> UnknownModelError:
    near = difflib.get_close_matches(name.lower()[:64], names, n=3)
    expected = f"did you mean {' or '.join(near)}?" if near else "expected a name of the catalog"
    return UnknownModelError(f"unknown model {shorten(name)}; {expected}", hint="grokdist list")
