"""The Model Openness Tool's YAML: reading, rating and writing a release in its format.

Format: ``schema/mof_schema.json`` and ``models/*.yml`` of github.com/lfai/model_openness_tool
(commit 8b5d30e); which licence a component has follows ``ModelEvaluator.php``: its own, else that
of its content type, else that of the distribution, and ``unlicensed`` or an empty name is none. A
file lists what was released, so what it does not list was not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.catalog.manifest import AnchorKind, Availability, Component, Manifest, SourceKind
from grokdist.cursor import Cursor
from grokdist.errors import ManifestError
from grokdist.policy import safe_yaml
from grokdist.policy.mof import (
    ComponentVerdict,
    MofResult,
    Verdict,
    evaluate,
    judge_license,
    result_document,
    tally,
)
from grokdist.policy.mof_components import COMPONENTS, ContentType, MofComponent

FRAMEWORK = {"name": "Model Openness Framework", "version": "1.0", "date": "2024-12-15"}
"""The framework's own release, as every file of the tool names it."""

_UNLICENSED = "unlicensed"
_KNOWN = {component.name: component for component in COMPONENTS}
_TEXT = 1024
_EXPRESSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.()+-]{0,255}( (AND|OR|WITH) [0-9A-Za-z.()+-]+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class MofRelease:
    """A release as the tool's YAML describes it.

    Attributes:
        name: the release's name.
        producer: who made it.
        version: version or size, as the file words it; empty where it does not say.
        licenses: licences as written by ``distribution``, ``code``, ``data`` and ``document``;
            empty where the file leaves one open.
        components: licence as written by name of the component; None where it has no entry of its
            own, empty or ``unlicensed`` where it says that there is none.
    """

    name: str
    producer: str
    version: str
    licenses: Mapping[str, str]
    components: Mapping[str, str | None]


def read_mof_yaml(path: Path) -> bytes:
    """The bytes of a file that a person named.

    Raises:
        ManifestError: it cannot be read, or is too large.
    """
    try:
        return read_bounded(path, safe_yaml.MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    except TooLargeError as error:
        raise ManifestError(
            f"{path} is too large; expected at most {safe_yaml.MAX_BYTES} bytes"
        ) from error


def parse_mof_yaml(data: bytes) -> MofRelease:
    """Read a file of the tool.

    Checks the form of what is used here: names, licences, components. Does not check the rest of
    the tool's schema, nor that anything named exists.

    Raises:
        ManifestError: the place in the document, what stands there and what was expected.
    """
    try:
        tree = safe_yaml.load(data)
    except safe_yaml.MalformedYamlError as error:
        raise ManifestError(f"the MOF file is malformed: {error}") from error
    root = Cursor(tree, noun="MOF file")
    framework = root["framework"]["name"]
    if framework.value != FRAMEWORK["name"]:
        raise framework.error(f"{FRAMEWORK['name']!r}")
    release = root["release"]
    components: dict[str, str | None] = {}
    for item in release["components"].items(limit=len(COMPONENTS)):
        name = item["name"]
        if not isinstance(name.value, str) or name.value not in _KNOWN:
            raise name.error("one of the framework's 17 components")
        if name.value in components:
            raise name.error("each component once")
        has_own = item.get("license") is not None
        components[name.value] = _optional_text(item, "license") if has_own else None
    licenses = {}
    for key in ("distribution", *ContentType):
        member = release["license"].get(key)
        if member is not None:
            licenses[str(key)] = _optional_text(member, "name")
    return MofRelease(
        name=release["name"].text(limit=_TEXT),
        producer=_optional_text(release, "producer"),
        version=_optional_text(release, "version"),
        licenses=licenses,
        components=components,
    )


def evaluate_release(release: MofRelease) -> MofResult:
    """The framework's result, as the tool would show it for this file."""
    return tally([_judge(release, name) for name in _KNOWN])


def components_of(release: MofRelease, *, evidence: str) -> tuple[Component, ...]:
    """The release's components as a manifest states them.

    What the file lists was released under the licence that decides; what it does not list was
    not, in the tool's own reading. ``LicenseRef-none`` stands for a component without a licence.

    Args:
        release: a file of the tool.
        evidence: what the statements rest on: the file.
    """
    components = []
    for name, known in _KNOWN.items():
        if name in release.components:
            availability = Availability.RELEASED
            text = _deciding(release, name, known)
            decides = text if text and _EXPRESSION.fullmatch(text) else _reference(text)
        else:
            availability, decides = Availability.NOT_RELEASED, None
        components.append(
            Component(name=name, availability=availability, license=decides, evidence=evidence)
        )
    return tuple(components)


def release_document(release: MofRelease, result: MofResult) -> dict[str, Any]:
    """What ``--json`` prints of a rated file."""
    return {
        "name": release.name,
        "producer": release.producer,
        "version": release.version,
        **result_document(result),
    }


def mof_document(manifest: Manifest) -> dict[str, Any]:
    """A manifest's release in the tool's format, valid against its schema.

    Each released component is listed with the licence that counts for it, since the tool knows no
    licence that covers code and weights, but not documents. A licence is written as in the
    manifest; the tool knows single SPDX ids only.
    """
    release: dict[str, Any] = {"name": manifest.title, "version": manifest.revision}
    if manifest.released is not None:
        release["date"] = manifest.released
    # The configuration of a manifest is that of one family: decoders of text.
    release["type"] = "language" if manifest.config else ""
    release["architecture"] = "transformer decoder" if manifest.config else ""
    release["origin"] = ""
    release["producer"] = manifest.publisher
    release["contact"] = ""
    release["repository"] = next(
        (
            a.repository
            for a in manifest.anchors
            if a.kind is AnchorKind.GIT_COMMIT and a.repository
        ),
        "",
    )
    release["huggingface"] = next(
        (s.location for s in manifest.sources if s.kind is SourceKind.HUB), ""
    )
    release["license"] = {}
    recorded = {component.name: component for component in manifest.components}
    release["components"] = []
    for verdict in evaluate(manifest).components:
        if verdict.verdict is Verdict.MISSING:
            continue
        component = recorded[verdict.component.name]
        entry = {"name": component.name, "license": verdict.license or _UNLICENSED}
        if component.note:
            entry["description"] = component.note
        if component.location:
            entry["component_path"] = component.location
        if component.evidence:
            entry["license_path"] = component.evidence
        release["components"].append(entry)
    return {"framework": dict(FRAMEWORK), "release": release}


def write_mof_yaml(manifest: Manifest) -> bytes:
    """``mof_document`` as YAML."""
    import yaml

    text = yaml.safe_dump(
        mof_document(manifest), sort_keys=False, allow_unicode=True, width=10_000, indent=2
    )
    return text.encode("utf-8")


def _judge(release: MofRelease, name: str) -> ComponentVerdict:
    component = _KNOWN[name]
    if name not in release.components:
        return ComponentVerdict(
            component=component,
            verdict=Verdict.MISSING,
            availability=Availability.NOT_RELEASED,
            note="not in the file",
        )
    judged = judge_license(component, _deciding(release, name, component), exact=True)
    return dataclasses.replace(judged, availability=Availability.RELEASED)


def _deciding(release: MofRelease, name: str, component: MofComponent) -> str | None:
    """The licence that decides on a component of the file, as written; None where none does."""
    decides = release.components[name]
    if decides is None:
        own_type = release.licenses.get(component.content_type.value)
        decides = own_type or release.licenses.get("distribution")
    return None if decides in (None, "", _UNLICENSED) else decides


def _reference(text: str | None) -> str:
    """A LicenseRef for a licence that is named in words, or for none."""
    words = re.sub(r"[^0-9A-Za-z.]+", "-", text or "none").strip("-.")
    return f"LicenseRef-{words[:200] or 'none'}"


def _optional_text(cursor: Cursor, key: str) -> str:
    member = cursor.get(key)
    return "" if member is None or member.value == "" else member.text(limit=_TEXT)
