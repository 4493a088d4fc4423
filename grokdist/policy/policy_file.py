"""The policy file: TOML to ``Policy``, strictly. What it decides is in ``policy/decision.py``.

A key that is not known is refused: a rule that is misspelt must not silently fail to bind.
Reference with an example: ``docs/policy.md``.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.catalog.manifest import Role
from grokdist.cursor import Cursor
from grokdist.document import shorten
from grokdist.errors import PolicyError, UsageError
from grokdist.policy.licenses import normalise
from grokdist.policy.mof_components import COMPONENTS

MAX_BYTES = 1 << 20
OPEN_SOURCE = "open-source"
"""In a list of licences: every licence that OSI approved or the FSF lists as free."""

_MAX_ITEMS = 1_000
_KEYID = re.compile(r"[0-9a-f]{64}")
_CLASSES = {"III": 3, "II": 2, "I": 1}


class Mode(StrEnum):
    """What a finding does."""

    AUDIT = "audit"
    """It is said and recorded."""
    ENFORCE = "enforce"
    """It refuses the command."""


class Rule(StrEnum):
    """The rules, by the ids that findings, exceptions and SARIF results name."""

    LICENSE_DENIED = "license.denied"
    LICENSE_UNKNOWN = "license.unknown"
    UNSIGNED = "signature.unsigned"
    EXPIRED = "signature.expired"
    SIGNERS = "signature.signers"
    MODEL_SIGNERS = "signature.model"
    ROLE = "signature.role"
    OPENNESS_CLASS = "openness.class"
    OPENNESS_COMPONENT = "openness.component"
    PICKLE = "format.pickle"
    SOURCE = "source.not-allowed"


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenseRules:
    """Licences by SPDX id or ``open-source``; what is denied beats what is allowed.

    Attributes:
        allow: licences that may be used.
        deny: licences that may not.
        unknown_allowed: whether a licence on neither list may be used.
    """

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    unknown_allowed: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureRules:
    """Who must vouch for a manifest.

    Attributes:
        required: refuse a manifest that nobody signed.
        fresh: refuse signatures whose metadata expired.
        signers: ids of the keys that count, 64 hex digits; empty for any key of the registry.
        threshold: how many of them must have signed; 0 for no such rule.
        roots: fingerprints of registry roots that count; empty for any.
        role: ``publisher`` refuses what was only observed; None for no such rule.
        model_keys: public key files of those whose model signature (``grokdist sign``, or any
            OpenSSF Model Signing tool) counts, once the files are here.
        model_threshold: how many of these must have signed; 0 for no such rule.
    """

    required: bool = False
    fresh: bool = False
    signers: frozenset[str] = frozenset()
    threshold: int = 0
    roots: frozenset[str] = frozenset()
    role: Role | None = None
    model_keys: tuple[Path, ...] = ()
    model_threshold: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OpennessRules:
    """How open a model must be.

    Attributes:
        minimum_class: class of the Model Openness Framework, 3, 2 or 1 (the most open); 0 for none.
        components: components that must be released under an open licence, by their MOF names.
    """

    minimum_class: int = 0
    components: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRules:
    """Where bytes may come from: kinds (``hub``) or patterns (``https://mirror.example.org/*``).

    Attributes:
        allow: empty for every source.
        deny: what is denied beats what is allowed.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemption:
    """A finding that is tolerated for one model, for a time and a reason.

    Attributes:
        model: name of the model.
        revision: only this revision of it; None for all.
        rules: what is tolerated.
        reason: why.
        expires: the last day on which it counts, UTC.
        approved_by: who allowed it, where stated.
    """

    model: str
    revision: str | None
    rules: frozenset[Rule]
    reason: str
    expires: date
    approved_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One policy file.

    Attributes:
        path: where it was read from.
        sha256: hex digest of its bytes.
        mode: whether findings refuse or are only recorded.
        license, signature, openness, sources: its rules.
        pickle_allowed: whether models in Python pickles may be used.
        exemptions: its exceptions.
    """

    path: Path
    sha256: str
    mode: Mode
    license: LicenseRules
    signature: SignatureRules
    openness: OpennessRules
    sources: SourceRules
    pickle_allowed: bool
    exemptions: tuple[Exemption, ...]


def read_policy(path: Path) -> Policy:
    """Read and parse a policy file.

    Raises:
        UsageError: it cannot be read, or is not a policy. A policy that cannot be understood
            never counts as one that allows.
    """
    try:
        return parse_policy(read_bounded(path, MAX_BYTES), path)
    except OSError as error:
        raise UsageError(
            f"policy {shorten(str(path), 200)} cannot be read: {error.strerror or error}"
        ) from error
    except TooLargeError as error:
        raise UsageError(
            f"policy {shorten(str(path), 200)} has more than {MAX_BYTES} bytes; expected fewer"
        ) from error


def parse_policy(data: bytes, path: Path) -> Policy:
    """Parse the bytes of a policy file.

    Raises:
        UsageError: the place, what stands there and what was expected.
    """
    try:
        tree = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # Of the values, also a number of more digits than Python reads.
        raise UsageError(f"policy {path} is not TOML: {error}") from error
    root = _Table(Cursor(tree, noun=f"policy {path}", kind=UsageError))
    policy = Policy(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        mode=root.cursor["mode"].choice(Mode) if root.has("mode") else Mode.ENFORCE,
        license=_license(root.table("license")),
        signature=_signature(root.table("signature"), path.parent),
        openness=_openness(root.table("openness")),
        sources=_sources(root.table("sources")),
        pickle_allowed=_pickle(root.table("format")),
        exemptions=tuple(_exemption(_Table(item)) for item in root.rows("exception")),
    )
    root.refuse_unknown()
    return policy


class _Table:
    """One table of the file; knows which of its keys were asked for."""

    def __init__(self, cursor: Cursor) -> None:
        cursor.members()
        self.cursor = cursor
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self.cursor.members()

    def table(self, key: str) -> _Table:
        return _Table(self.cursor[key] if self.has(key) else self._empty(key, {}))

    def rows(self, key: str) -> list[Cursor]:
        return self.cursor[key].items(limit=_MAX_ITEMS) if self.has(key) else []

    def texts(self, key: str) -> tuple[str, ...]:
        return self.cursor.texts(key, limit=_MAX_ITEMS) if self.has(key) else ()

    def flag(self, key: str, default: bool) -> bool:
        return self.cursor[key].boolean() if self.has(key) else default

    def text(self, key: str) -> str:
        self._asked.add(key)
        return self.cursor[key].text(limit=1_000)

    def optional(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def refuse_unknown(self) -> None:
        for key in self.cursor.members():
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.cursor[key].error(f"one of the keys {known}", found="not known")

    def _empty(self, key: str, value: Mapping[str, Any]) -> Cursor:
        return Cursor(value, key, noun=self.cursor.noun, kind=self.cursor.kind)


def _license(table: _Table) -> LicenseRules:
    allow, deny = (
        frozenset(_licence(item) for item in table.rows(key)) for key in ("allow", "deny")
    )
    unknown = bool(not allow)
    if table.has("unknown"):
        value = table.cursor["unknown"]
        unknown = value.match(re.compile("allow|deny"), "'allow' or 'deny'") == "allow"
    table.refuse_unknown()
    return LicenseRules(allow=allow, deny=deny, unknown_allowed=unknown)


def _licence(item: Cursor) -> str:
    text = item.text(limit=256)
    if text == OPEN_SOURCE:
        return text
    try:
        expression = normalise(text)
    except PolicyError:
        expression = ""
    if not expression or " " in expression:
        raise item.error(f"one SPDX id, a LicenseRef-..., or {OPEN_SOURCE!r}")
    return expression


def _signature(table: _Table, folder: Path) -> SignatureRules:
    signers, roots = (
        frozenset(item.match(_KEYID, "64 lower-case hex digits") for item in table.rows(key))
        for key in ("signers", "roots")
    )
    threshold = 1 if signers else 0
    if table.has("threshold"):
        most = len(signers) or 64
        threshold = table.cursor["threshold"].integer(low=1, high=most)
    role = table.cursor["role"].choice(Role) if table.has("role") else None
    model_keys = tuple(folder / name for name in table.texts("model_keys"))
    model_threshold = 1 if model_keys else 0
    if table.has("model_threshold"):
        model_threshold = table.cursor["model_threshold"].integer(low=1, high=len(model_keys))
    rules = SignatureRules(
        required=table.flag("required", bool(threshold or roots)),
        fresh=table.flag("fresh", False),
        signers=signers,
        threshold=threshold,
        roots=roots,
        role=role,
        model_keys=model_keys,
        model_threshold=model_threshold,
    )
    table.refuse_unknown()
    return rules


def _openness(table: _Table) -> OpennessRules:
    minimum = 0
    if table.has("minimum_class"):
        text = table.cursor["minimum_class"].match(re.compile("I{1,3}"), "'III', 'II' or 'I'")
        minimum = _CLASSES[text]
    names = {component.name for component in COMPONENTS}
    components = []
    for item in table.rows("components"):
        if item.text() not in names:
            raise item.error("a component of the Model Openness Framework")
        components.append(item.text())
    table.refuse_unknown()
    return OpennessRules(minimum_class=minimum, components=tuple(components))


def _sources(table: _Table) -> SourceRules:
    rules = SourceRules(allow=table.texts("allow"), deny=table.texts("deny"))
    table.refuse_unknown()
    return rules


def _pickle(table: _Table) -> bool:
    allowed = table.flag("pickle", True)
    table.refuse_unknown()
    return allowed


def _exemption(table: _Table) -> Exemption:
    table.has("expires")
    expires = table.cursor["expires"]
    # A datetime is a date for Python; it would promise an hour that is not kept.
    if not isinstance(expires.value, date) or isinstance(expires.value, datetime):
        raise expires.error("a date like 2027-01-31", found=str(expires.value)[:80])
    rules = frozenset(item.choice(Rule) for item in table.rows("rules"))
    if not rules:
        raise table.cursor.error("rules that it excuses, as in rules = ['format.pickle']")
    exemption = Exemption(
        model=table.text("model"),
        revision=table.optional("revision"),
        rules=rules,
        reason=table.text("reason"),
        expires=expires.value,
        approved_by=table.optional("approved_by"),
    )
    table.refuse_unknown()
    return exemption
