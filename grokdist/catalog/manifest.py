"""The manifest: one model release as its catalog describes it.

Frozen values only; ``grokdist.catalog.parsing`` builds them from JSON and refuses what is
malformed. Schema and reasons: ``docs/adr/0003-manifest.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from grokdist.catalog.index_rating import IndexRating


class Role(StrEnum):
    """What the signature on a manifest claims about the bytes it lists."""

    OBSERVER = "observer"
    """These bytes were seen at the publisher's address; the publisher signed nothing."""
    PUBLISHER = "publisher"
    """The publisher itself signs this manifest."""


class SourceKind(StrEnum):
    """How the bytes of a source travel; the names that ``--source`` takes."""

    HUB = "hub"
    TORRENT = "torrent"
    HTTPS = "https"
    LOCAL = "local"


class AnchorKind(StrEnum):
    """An identifier that the publisher itself published."""

    HUB_COMMIT = "hub-commit"
    GIT_COMMIT = "git-commit"
    BTIH = "btih"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a release.

    Attributes:
        path: relative POSIX path inside the model's directory, NFC, no ``..``.
        size: bytes.
        sha256: 64 lower-case hex digits; None where only ``git_blob`` is known.
        git_blob: 40 hex digits, the git object id of the file (of its LFS pointer for LFS files).
        lfs: True where ``git_blob`` names an LFS pointer blob rather than the content.
        pieces_root: 64 hex digits, the root of the content's BEP 52 tree (``trust/merkle.py``);
            None where it was not computed, and for an empty file, which has none.
    """

    path: str
    size: int
    sha256: str | None
    git_blob: str | None = None
    lfs: bool = False
    pieces_root: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One place the files can be had from.

    Attributes:
        kind: transport.
        location: hub: ``org/name``; torrent: magnet URI; https: base URL ending in ``/``;
            local: name of a folder bundled with the package.
        revision: hub: 40-hex commit; None elsewhere.
        files: glob patterns (``fnmatch``) of the paths it holds; empty means all.
        trackers: torrent only: announce URLs.
        gated: hub only: True where the publisher gives access to accounts that asked for it.
        note: a sentence for people, e.g. how well it worked when it was last tried.
    """

    kind: SourceKind
    location: str
    revision: str | None = None
    files: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    gated: bool = False
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """An identifier the publisher published, with where it was seen."""

    kind: AnchorKind
    value: str
    repository: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenseInfo:
    """The licence of a release, and what it covers.

    Attributes:
        expression: SPDX expression, or a ``LicenseRef-...``.
        name: full name of the licence.
        scope: the publisher's own sentence on what the licence covers, verbatim; None if none.
        covers: the parts of the release it applies to, e.g. ``("code", "weights")``.
        excludes: parts it says nothing about or excludes, e.g. ``("training data",)``.
        text_path: path of the licence text among the files, if it is there.
        text_sha256: SHA-256 of the licence text; None where the text was not seen.
        evidence: URL where the licence was seen.
        note: the conditions that matter most, in a sentence for people; None where the licence is
            a common one.
    """

    expression: str
    name: str
    scope: str | None = None
    covers: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    text_path: str | None = None
    text_sha256: str | None = None
    evidence: str | None = None
    note: str | None = None


class Availability(StrEnum):
    """Whether a component of the Model Openness Framework was released."""

    RELEASED = "released"
    PARTIAL = "partial"
    NOT_RELEASED = "not-released"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One component of the Model Openness Framework, as released (or not).

    Attributes:
        name: one of the framework's 17 names, e.g. ``Model parameters (Final)``.
        availability: whether it was released.
        license: SPDX expression of this component, None where it has none of its own.
        location: path or URL of the component.
        evidence: URL or path that shows the statement.
        note: a sentence for people.
    """

    name: str
    availability: Availability
    license: str | None = None
    location: str | None = None
    evidence: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One model release.

    Attributes:
        schema: ``grokdist/manifest/v1``.
        name: the model's name in the catalog, ``[a-z0-9][a-z0-9._-]*``.
        revision: the release's identifier, the publisher's commit where there is one.
        title: name for people, e.g. ``Grok-1``.
        publisher: who released the model.
        role: what the manifest's signature claims.
        statement: one sentence that says exactly what was observed and what was not checked.
        released: ISO date of the release, None if unknown.
        format: ``grok-1-pickle`` (sharded pickles, one tensor a file), ``grok-1-safetensors`` (the
            same converted), ``grok-1-safetensors-int4`` (the same altered), ``safetensors``, or
            ``none`` where no weights were released.
        summary: the one-line openness notice, e.g. ``weights and inference code; no training
            data``.
        config: architecture, keys as in ``config.json`` of a model directory; None if unknown.
        license, components, sources, anchors: as their classes say.
        index: how the European Open Source AI Index rates the release; None if nobody rated it.
        files: the files of the release; empty where no weights were released, and where they are
            not listed here.
        listed: False where the manifest does not list the files (``"files": null``): then they
            follow from its ``hub-commit`` anchor, whose git objects name every one of them.
        extra: unknown keys, kept as they came.
    """

    schema: str
    name: str
    revision: str
    title: str
    publisher: str
    role: Role
    statement: str
    released: str | None
    format: str
    summary: str
    config: Mapping[str, Any] | None
    license: LicenseInfo
    components: tuple[Component, ...]
    index: IndexRating | None = None
    sources: tuple[Source, ...]
    anchors: tuple[Anchor, ...]
    files: tuple[FileEntry, ...]
    listed: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Total bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def has_weights(self) -> bool:
        """False where the publisher released no weights: there is nothing to fetch or run."""
        return bool(self.files) or not self.listed


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedBy:
    """Who vouches for a manifest, and how that was checked.

    Attributes:
        registry: name of the registry; ``embedded`` for the one in the package;
            ``unsigned`` for a manifest given as a file.
        root_sha256: fingerprint of the trust root; None when unsigned.
        keyids: ids of the targets keys whose signatures held.
        threshold: how many of them are required.
        expires: ISO time at which the first of the registry's metadata files expires; None when
            unsigned.
        expired: True where that time is past (a warning offline).
    """

    registry: str
    root_sha256: str | None = None
    keyids: tuple[str, ...] = ()
    threshold: int = 0
    expires: str | None = None
    expired: bool = False

    @property
    def signed(self) -> bool:
        """True where signatures were checked against a trust root."""
        return self.root_sha256 is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustedManifest:
    """A manifest with its exact bytes and what vouches for them.

    Attributes:
        manifest: the parsed manifest.
        raw: the bytes the signature covers.
        sha256: hex digest of ``raw``.
        signed_by: what was checked.
    """

    manifest: Manifest
    raw: bytes
    sha256: str
    signed_by: SignedBy
