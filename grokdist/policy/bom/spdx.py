"""A model as an SPDX 3.0.1 document in JSON-LD, with the AI and Dataset profiles.

Format: https://spdx.github.io/spdx-spec/v3.0.1/. Written here rather than by way of a library's
classes: the document is a flat list of small objects, and its checks belong into the tests, which
hold it against the model that SPDX publishes. Reads nothing and signs nothing.

What the profiles ask for and nobody but the publisher could say (when training data was built and
where it is) is left out rather than invented, and the document says so.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from grokdist.policy.bom.disclosure import DataFact
from grokdist.policy.bom.facts import FileFact, ModelFacts
from grokdist.policy.bom.references import Reference

SPEC_VERSION = "3.0.1"
PREDICATE_TYPE = "https://spdx.dev/Document/v3"
"""in-toto predicate type: spec/predicates/spdx.md of github.com/in-toto/attestation."""

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
NO_ASSERTION_LICENSE = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"

_CREATION = "_:creationinfo"
_NAMESPACE = uuid.UUID("2a0fd2a2-1f0e-5d0e-9e0b-6d3c9d0f6b57")
_REFERENCES = {
    "vcs": "vcs",
    "distribution": "altDownloadLocation",
    "license": "license",
    "model-card": "documentation",
    "documentation": "documentation",
}
_Json = dict[str, Any]


def spdx_document(facts: ModelFacts, *, created: str, author: str | None = None) -> _Json:
    """The document as JSON values.

    Its identifiers follow from all else, so that equal facts at an equal time give an equal
    document.

    Args:
        facts: what is known of the model.
        created: UTC time of the document, ``YYYY-MM-DDThh:mm:ssZ``.
        author: who operates this tool; without one the tool itself is the agent.
    """
    draft = _Writer("urn:uuid:draft", facts, created, author).document()
    digest = hashlib.sha256(json.dumps(draft, sort_keys=True).encode()).hexdigest()
    base = f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}"
    return _Writer(base, facts, created, author).document()


class _Writer:
    """Builds the graph with identifiers under one base."""

    def __init__(self, base: str, facts: ModelFacts, created: str, author: str | None) -> None:
        self.base = base
        self.facts = facts
        self.created = created
        self.author = author

    def id(self, name: str) -> str:
        return f"{self.base}#{name}"

    def element(self, kind: str, at: str, /, **members: Any) -> _Json:
        """An element of the graph; members that are None or empty are left out."""
        kept = {key: value for key, value in members.items() if value not in (None, [], ())}
        return {"type": kind, "spdxId": self.id(at), "creationInfo": _CREATION, **kept}

    def document(self) -> _Json:
        facts = self.facts
        agents = self._agents()
        tool = self.element(
            "Tool",
            "tool",
            name="grokdist",
            externalIdentifier=[
                {
                    "type": "ExternalIdentifier",
                    "externalIdentifierType": "packageUrl",
                    "identifier": f"pkg:generic/grokdist@{facts.tool_version}",
                }
            ],
        )
        described = [
            self._model(),
            *map(self._data, facts.data),
            *map(self._file, facts.files),
            *self._original(),
            *self._licenses(),
        ]
        relationships = list(self._relationships())
        sbom = self.element(
            "software_Sbom",
            "sbom",
            name=f"Bill of materials of {facts.title}",
            rootElement=[self.id("model")],
            element=[each["spdxId"] for each in (*described, *relationships)],
            software_sbomType=["analyzed"],
            profileConformance=self._profiles(),
        )
        return {
            "@context": CONTEXT,
            "@graph": [
                {
                    "type": "CreationInfo",
                    "@id": _CREATION,
                    "specVersion": SPEC_VERSION,
                    "created": self.created,
                    "createdBy": [self.id("author")],
                    "createdUsing": [self.id("tool")],
                },
                self.element(
                    "SpdxDocument",
                    "document",
                    name=f"{facts.name} {facts.revision}",
                    comment=(
                        f"{facts.verification} When the data was built and released, and by whom,"
                        " is left out where the publisher has not said it, although the Dataset"
                        " profile asks for it."
                    ),
                    rootElement=[self.id("sbom")],
                    profileConformance=self._profiles(),
                ),
                sbom,
                *agents,
                tool,
                *described,
                *relationships,
            ],
        }

    def _profiles(self) -> list[str]:
        # Not "extension", though extensions are used: the context of 3.0.1 takes that word for the
        # property of the same name, and the model then refuses the value.
        profiles = ["core", "software", "simpleLicensing", "expandedLicensing"]
        # The AI profile demands a time of release and a place; who lacks them cannot conform.
        if self.facts.released and self.facts.download:
            profiles.append("ai")
        return [*profiles, "dataset"]

    def _agents(self) -> list[_Json]:
        publisher = self.element("Organization", "publisher", name=self.facts.publisher)
        if self.author:
            # A name alone does not say whether it is a person's or an organisation's.
            return [publisher, self.element("Agent", "author", name=self.author)]
        return [publisher, self.element("SoftwareAgent", "author", name="grokdist")]

    def _model(self) -> _Json:
        facts = self.facts
        application = [f"Task: {facts.task or 'unknown'}."]
        if facts.inputs:
            application.append(f"{_listed(facts.inputs)} in, {_listed(facts.outputs)} out.")
        return self.element(
            "ai_AIPackage",
            "model",
            name=facts.name,
            summary=f"{facts.title}: {facts.summary}",
            description=f"{facts.statement} {facts.verification}",
            comment=None
            if facts.released is None
            else f"Released on {facts.released}; the time of day is not known.",
            suppliedBy=self.id("publisher"),
            originatedBy=[self.id("publisher")],
            releaseTime=None if facts.released is None else f"{facts.released}T00:00:00Z",
            externalRef=[*map(_reference, facts.references), self._attestation()],
            extension=[
                _extension(
                    ("title", facts.title),
                    ("role", facts.role),
                    ("verification", facts.verification),
                    ("verified-at", facts.verified_at),
                    ("verified-files", f"{facts.verified_files} of {len(facts.files)}"),
                    ("root-digest", facts.root and f"sha256:{facts.root}"),
                    ("manifest-sha256", facts.manifest_sha256),
                    ("registry", facts.signed_by.registry),
                    ("registry-root", facts.signed_by.root_sha256),
                    ("format", facts.format),
                    ("altered", facts.altered),
                    ("parameters", None if facts.parameters is None else str(facts.parameters)),
                    ("license-name", facts.license_name),
                    ("license-scope", facts.license_scope),
                    ("license-covers", ", ".join(facts.license_covers)),
                    ("license-excludes", ", ".join(facts.license_excludes)),
                    ("license-text-sha256", facts.license_sha256),
                )
            ],
            software_primaryPurpose="model",
            software_packageVersion=facts.revision,
            software_packageUrl=facts.purl,
            software_downloadLocation=facts.download,
            ai_typeOfModel=list(facts.families),
            ai_informationAboutApplication=" ".join(application),
            ai_informationAboutTraining=facts.training,
            ai_limitation=" ".join(facts.limitations),
            ai_useSensitivePersonalInformation="noAssertion",
            ai_hyperparameter=[
                {"type": "DictionaryEntry", "key": key, "value": value}
                for key, value in facts.hyperparameters
            ],
        )

    def _attestation(self) -> _Json:
        return {
            "type": "ExternalRef",
            "externalRefType": "secureSoftwareAttestation",
            "locator": [f"models/{self.facts.name}.json"],
            "comment": (
                f"the manifest, sha256 {self.facts.manifest_sha256}, in the"
                f" {self.facts.signed_by.registry} registry"
            ),
        }

    def _data(self, fact: DataFact) -> _Json:
        places = fact.location.split(", ") if fact.location else []
        return self.element(
            "dataset_DatasetPackage",
            f"data-{fact.use}",
            name=fact.name,
            description=fact.statement,
            suppliedBy=self.id("publisher") if fact.disclosed else None,
            externalRef=[
                {"type": "ExternalRef", "externalRefType": "other", "locator": [place]}
                for place in places[1:]
            ],
            extension=[
                _extension(("availability", str(fact.availability)), ("evidence", fact.evidence))
            ],
            software_primaryPurpose="data",
            software_downloadLocation=places[0] if places else None,
            dataset_datasetType=list(self.facts.inputs if fact.disclosed else ())
            or ["noAssertion"],
            dataset_hasSensitivePersonalInformation="noAssertion",
            dataset_intendedUse=f"{fact.use} of {self.facts.title}",
        )

    def _file(self, file: FileFact) -> _Json:
        return self.element(
            "software_File",
            _file_name(file),
            name=file.path,
            verifiedUsing=[{"type": "Hash", "algorithm": "sha256", "hashValue": file.sha256}]
            if file.sha256
            else None,
            extension=[
                _extension(
                    ("size", str(file.size)),
                    ("git-lfs-pointer-blob", file.git_blob if file.lfs else None),
                    ("bep52-pieces-root", file.pieces_root),
                    ("verified-at", file.verified or "not verified here"),
                )
            ],
            # Of an LFS file the blob is a pointer, which is not this content.
            software_contentIdentifier=[
                {
                    "type": "software_ContentIdentifier",
                    "software_contentIdentifierType": "gitoid",
                    "software_contentIdentifierValue": f"gitoid:blob:sha1:{file.git_blob}",
                }
            ]
            if file.git_blob and not file.lfs
            else None,
        )

    def _original(self) -> list[_Json]:
        """What the model was converted from, as a package of which only this is known."""
        origin = self.facts.origin
        if origin is None:
            return []
        return [
            self.element(
                "software_Package",
                "original",
                name=origin.name,
                extension=[_extension(("root-digest", origin.root and f"sha256:{origin.root}"))]
                if origin.root
                else None,
                software_primaryPurpose="model",
                software_packageVersion=origin.revision,
            )
        ]

    def _licenses(self) -> list[_Json]:
        facts = self.facts
        stated = [facts.declared, facts.concluded, *(fact.license for fact in facts.data)]
        return [
            self.element(
                "simplelicensing_LicenseExpression",
                _license_name(expression),
                simplelicensing_licenseExpression=expression,
                simplelicensing_customIdToUri=[
                    {"type": "DictionaryEntry", "key": word, "value": facts.license_evidence}
                    for word in expression.replace("(", " ").replace(")", " ").split()
                    if word.startswith("LicenseRef-")
                ]
                if facts.license_evidence
                else None,
            )
            for expression in dict.fromkeys(each for each in stated if each)
        ]

    def _relationships(self) -> Iterable[_Json]:
        facts = self.facts
        if facts.files:
            yield self._relationship(
                "contains",
                "model",
                [self.id(_file_name(file)) for file in facts.files],
                completeness="complete",
            )
        if facts.origin is not None:
            yield self._relationship(
                "descendantOf",
                "model",
                [self.id("original")],
                comment=f"ALTERED: {facts.altered}"
                if facts.altered
                else "Converted to another format; the bytes of every tensor are the original's.",
            )
        yield self._licensed("model", "Declared", facts.declared)
        yield self._licensed("model", "Concluded", facts.concluded)
        for fact in facts.data:
            data = f"data-{fact.use}"
            yield self._relationship(
                "trainedOn" if fact.use == "training" else "testedOn",
                "model",
                [self.id(data)],
                completeness="noAssertion" if fact.disclosed else "incomplete",
                comment=None if fact.disclosed else fact.statement,
            )
            yield self._licensed(data, "Declared", fact.license)
            yield self._licensed(data, "Concluded", None)

    def _licensed(self, subject: str, how: str, expression: str | None) -> _Json:
        target = self.id(_license_name(expression)) if expression else NO_ASSERTION_LICENSE
        return self._relationship(f"has{how}License", subject, [target])

    def _relationship(self, kind: str, subject: str, to: list[str], **members: Any) -> _Json:
        return self.element(
            "Relationship",
            f"{kind}-{subject}",
            relationshipType=kind,
            **{"from": self.id(subject)},
            to=to,
            **members,
        )


def _reference(reference: Reference) -> _Json:
    said = [reference.comment, reference.sha256 and f"sha256 {reference.sha256}"]
    comment = "; ".join(each for each in said if each)
    return {
        "type": "ExternalRef",
        "externalRefType": _REFERENCES[reference.kind],
        "locator": [reference.url],
        **({"comment": comment} if comment else {}),
    }


def _extension(*pairs: tuple[str, str | None]) -> _Json:
    """Properties that SPDX has no place for, in the form that CycloneDX has for them."""
    return {
        "type": "extension_CdxPropertiesExtension",
        "extension_cdxProperty": [
            {
                "type": "extension_CdxPropertyEntry",
                "extension_cdxPropName": f"grokdist:{name}",
                "extension_cdxPropValue": value,
            }
            for name, value in pairs
            if value
        ],
    }


def _file_name(file: FileFact) -> str:
    return f"file-{quote(file.path, safe='/')}"


def _license_name(expression: str) -> str:
    return f"license-{quote(expression, safe='')}"


def _listed(formats: tuple[str, ...]) -> str:
    return ", ".join(formats)
