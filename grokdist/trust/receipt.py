"""The receipt: what a fetch got, from where, when, vouched for by whom, under which licence.

Written as ``.grokdist/receipt.json`` when every wanted file was found right, and read again by
``verify`` and ``run``. It is a record, not a proof: it is not signed, and whoever may write the
directory may write it. Trust comes from the signed manifest that its ``manifest_sha256`` names;
the parser therefore treats the file as hostile and only promises that its shape is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from grokdist.errors import TrustError

SCHEMA = "grokdist/receipt/v1"
MAX_BYTES = 64 << 20
"""Largest receipt that is read; 100,000 files need about 20 MB."""

MAX_ATTESTATIONS = 256
"""Most attestations that a receipt lists."""

_MAX_FILES = 1_000_000
_MAX_TEXT = 4096
_MAX_SIZE = 1 << 60
_T = TypeVar("_T")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class ReceiptError(TrustError):
    """A receipt is not well-formed; the field and the reason are in the message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptFile:
    """One file that was found right.

    Attributes:
        path: relative POSIX path.
        size: bytes.
        sha256: its SHA-256, computed here.
        sources: names of the sources its bytes came from; empty if it was here before.
        pieces_root: root of its BEP 52 tree, computed here from the bytes that had ``sha256``;
            None where no tree was built, and for an empty file.
    """

    path: str
    size: int
    sha256: str
    sources: tuple[str, ...] = ()
    pieces_root: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptLicense:
    """The licence as it stood when the files were fetched.

    Attributes:
        expression: SPDX expression or ``LicenseRef-...``.
        text_sha256: SHA-256 of the licence text; None where it was not seen.
        accepted_by: how it was accepted; None where it needed no acceptance.
    """

    expression: str
    text_sha256: str | None = None
    accepted_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptSigner:
    """Who vouched for the manifest, and how that was checked.

    Attributes:
        registry: name of the registry, ``unsigned`` where there was none.
        root_sha256: fingerprint of the trust root; None when unsigned.
        keyids: ids of the keys whose signatures held.
        threshold: how many were required.
        expires: UTC time at which the signature's metadata expires; None when unsigned.
        expired: True where that time was past.
    """

    registry: str
    root_sha256: str | None = None
    keyids: tuple[str, ...] = ()
    threshold: int = 0
    expires: str | None = None
    expired: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptPolicy:
    """What policies decided before the fetch.

    Attributes:
        outcome: ``allowed``, ``excepted`` or ``audited``; what was refused has no receipt.
        policies: SHA-256 of each policy file that counted.
        findings: what they found, each with its rule's id, and its exception where one counted.
    """

    outcome: str
    policies: tuple[str, ...]
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptAttestation:
    """One attestation that lies beside the model.

    Attributes:
        path: relative POSIX path.
        predicate_type: URI of what it says.
        sha256: of its file, the envelope.
    """

    path: str
    predicate_type: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What one or more fetches into a directory got.

    Attributes:
        model: name in the catalog.
        revision: the release's identifier.
        files: what was found right, sorted by path.
        include: glob patterns that were asked for; empty where the whole model was.
        source_bytes: bytes that came from each source, over all fetches into the directory.
        started: UTC time, ``YYYY-MM-DDThh:mm:ssZ``.
        finished: UTC time.
        manifest_sha256: SHA-256 of the manifest's exact bytes.
        role: ``observer`` or ``publisher``.
        statement: the manifest's sentence on what was observed.
        signed_by: who vouched for the manifest.
        license: the licence.
        openness: one line on how open the model is; None where it was not computed.
        tool: name and version of the program that wrote this.
        policy: what policies decided; None where none bound.
        attestations: those made here, sorted by path.
        altered: what was done to the released weights; None where they are as they were released.
    """

    model: str
    revision: str
    files: tuple[ReceiptFile, ...]
    include: tuple[str, ...]
    source_bytes: Mapping[str, int]
    started: str
    finished: str
    manifest_sha256: str
    role: str
    statement: str
    signed_by: ReceiptSigner
    license: ReceiptLicense
    openness: str | None
    tool: str
    policy: ReceiptPolicy | None = None
    attestations: tuple[ReceiptAttestation, ...] = ()
    altered: str | None = None

    def with_roots(self, roots: Mapping[str, str]) -> Receipt:
        """The receipt with the tree roots of ``roots`` (path to 64 hex digits) added.

        Paths that it does not list, and empty files, are passed over.
        """
        files = tuple(
            replace(file, pieces_root=roots[file.path])
            if file.size and file.path in roots
            else file
            for file in self.files
        )
        return replace(self, files=files)

    def to_json(self) -> bytes:
        """The receipt as a readable JSON document, a line a file."""
        document = {
            "schema": SCHEMA,
            "model": self.model,
            "revision": self.revision,
            "started": self.started,
            "finished": self.finished,
            "tool": self.tool,
            "manifest_sha256": self.manifest_sha256,
            "role": self.role,
            "statement": self.statement,
            "signed_by": {
                "registry": self.signed_by.registry,
                "root_sha256": self.signed_by.root_sha256,
                "keyids": list(self.signed_by.keyids),
                "threshold": self.signed_by.threshold,
                "expires": self.signed_by.expires,
                "expired": self.signed_by.expired,
            },
            "license": {
                "expression": self.license.expression,
                "text_sha256": self.license.text_sha256,
                "accepted_by": self.license.accepted_by,
            },
            "openness": self.openness,
            "altered": self.altered,
            "policy": None
            if self.policy is None
            else {
                "outcome": self.policy.outcome,
                "policies": list(self.policy.policies),
                "findings": list(self.policy.findings),
            },
            "attestations": [
                {
                    "path": each.path,
                    "predicate_type": each.predicate_type,
                    "sha256": each.sha256,
                }
                for each in self.attestations
            ],
            "include": list(self.include),
            "source_bytes": dict(self.source_bytes),
        }
        rows = (
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "sources": list(file.sources),
                "pieces_root": file.pieces_root,
            }
            for file in self.files
        )
        head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
        files = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return f'{head},\n "files": [\n  {files}\n ]\n}}\n'.encode()


def parse_receipt(data: bytes) -> Receipt:
    """Parse a receipt strictly: exact keys, types, forms and limits.

    Raises:
        ReceiptError: it is not well-formed. Nothing is said about whether it is true.
    """
    if len(data) > MAX_BYTES:
        raise ReceiptError(f"receipt has {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_doubles, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise ReceiptError(f"receipt is not valid JSON: {error}") from None
    top = _Fields(document, "receipt")
    if top.text("schema") != SCHEMA:
        raise ReceiptError(f"receipt.schema is not one this program reads; expected {SCHEMA}")
    signer = _Fields(top.value("signed_by"), "signed_by")
    license_ = _Fields(top.value("license"), "license")
    receipt = Receipt(
        model=top.text("model"),
        revision=top.text("revision"),
        files=top.rows("files", _file, limit=_MAX_FILES),
        include=top.texts("include"),
        source_bytes=top.counts("source_bytes"),
        started=top.matching("started", _TIME),
        finished=top.matching("finished", _TIME),
        manifest_sha256=top.matching("manifest_sha256", _HEX64),
        role=top.text("role"),
        statement=top.text("statement"),
        signed_by=ReceiptSigner(
            registry=signer.text("registry"),
            root_sha256=signer.optional("root_sha256"),
            keyids=signer.texts("keyids"),
            threshold=signer.count("threshold"),
            expires=signer.optional("expires"),
            expired=signer.flag("expired"),
        ),
        license=ReceiptLicense(
            expression=license_.text("expression"),
            text_sha256=license_.optional("text_sha256"),
            accepted_by=license_.optional("accepted_by"),
        ),
        openness=top.optional("openness"),
        tool=top.text("tool"),
        policy=_policy(top.value_or_none("policy")),
        attestations=top.rows_or_none("attestations", _attestation, limit=MAX_ATTESTATIONS),
        altered=None if top.value_or_none("altered") is None else top.text("altered"),
    )
    for fields in (top, signer, license_):
        fields.require_all_read()
    for name, rows in (("files", receipt.files), ("attestations", receipt.attestations)):
        paths = [each.path for each in rows]
        if len(set(paths)) != len(paths):
            raise ReceiptError(f"receipt.{name} names a path twice")
    return receipt


def _policy(value: object) -> ReceiptPolicy | None:
    if value is None:
        return None
    fields = _Fields(value, "policy")
    policy = ReceiptPolicy(
        outcome=fields.text("outcome"),
        policies=fields.texts("policies"),
        findings=fields.texts("findings"),
    )
    fields.require_all_read()
    return policy


def _attestation(value: object, where: str) -> ReceiptAttestation:
    fields = _Fields(value, where)
    attestation = ReceiptAttestation(
        path=fields.text("path"),
        predicate_type=fields.text("predicate_type"),
        sha256=fields.matching("sha256", _HEX64),
    )
    fields.require_all_read()
    _require_plain(attestation.path, where)
    return attestation


def _file(value: object, where: str) -> ReceiptFile:
    fields = _Fields(value, where)
    file = ReceiptFile(
        path=fields.text("path"),
        size=fields.count("size"),
        sha256=fields.matching("sha256", _HEX64),
        sources=fields.texts("sources"),
        pieces_root=fields.hex64_or_none("pieces_root"),
    )
    if file.pieces_root is not None and file.size == 0:
        raise ReceiptError(f"{where}.pieces_root is given for an empty file; expected none")
    fields.require_all_read()
    _require_plain(file.path, where)
    return file


def _require_plain(path: str, where: str) -> None:
    if any(name in ("", ".", "..") for name in path.split("/")) or "\0" in path:
        raise ReceiptError(f"{where}.path {path!r} is unsafe; expected a plain relative path")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is given twice")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Fields:
    """The fields of one JSON object; each reader checks the type and form of one."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ReceiptError(f"{where} is not an object")
        self._fields: dict[str, object] = value
        self._where = where
        self._read: set[str] = set()

    def value(self, key: str) -> object:
        if key not in self._fields:
            raise ReceiptError(f"{self._where}.{key} is missing")
        self._read.add(key)
        return self._fields[key]

    def value_or_none(self, key: str) -> object:
        """Null, or a field that an earlier version did not write, is None."""
        self._read.add(key)
        return self._fields.get(key)

    def text(self, key: str) -> str:
        return self._text(self.value(key), key)

    def optional(self, key: str) -> str | None:
        value = self.value(key)
        return None if value is None else self._text(value, key)

    def matching(self, key: str, form: re.Pattern[str]) -> str:
        text = self.text(key)
        if not form.fullmatch(text):
            raise self._wrong(key, f"text of the form {form.pattern}")
        return text

    def hex64_or_none(self, key: str) -> str | None:
        """64 hex digits; null, or a field that an earlier version did not write, is None."""
        return None if self.value_or_none(key) is None else self.matching(key, _HEX64)

    def count(self, key: str) -> int:
        return self._count(self.value(key), key)

    def flag(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return self.rows(key, lambda value, where: self._text(value, where), limit=10_000)

    def counts(self, key: str) -> dict[str, int]:
        value = self.value(key)
        if not isinstance(value, dict) or len(value) > 10_000:
            raise self._wrong(key, "an object of numbers")
        return {self._text(name, key): self._count(number, key) for name, number in value.items()}

    def rows(self, key: str, parse: Callable[[object, str], _T], *, limit: int) -> tuple[_T, ...]:
        value = self.value(key)
        if not isinstance(value, list) or len(value) > limit:
            raise self._wrong(key, f"a list of at most {limit}")
        return tuple(parse(row, f"{key}[{place}]") for place, row in enumerate(value))

    def rows_or_none(
        self, key: str, parse: Callable[[object, str], _T], *, limit: int
    ) -> tuple[_T, ...]:
        """Rows; a field that an earlier version did not write has none."""
        return self.rows(key, parse, limit=limit) if key in self._fields else ()

    def require_all_read(self) -> None:
        if unknown := sorted(set(self._fields) - self._read):
            raise ReceiptError(f"{self._where} has a field {unknown[0][:80]!r} that is not known")

    def _text(self, value: object, key: str) -> str:
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise self._wrong(key, f"text of at most {_MAX_TEXT} characters")
        if not value.isprintable():
            raise self._wrong(key, "text without control characters")
        return value

    def _count(self, value: object, key: str) -> int:
        if type(value) is not int or not 0 <= value <= _MAX_SIZE:
            raise self._wrong(key, f"a number from 0 to {_MAX_SIZE}")
        return value

    def _wrong(self, key: str, expected: str) -> ReceiptError:
        return ReceiptError(f"{self._where}.{key} is not well-formed; expected {expected}")
