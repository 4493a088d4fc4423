"""A model as a CycloneDX machine-learning bill of materials (ML-BOM), versions 1.6 and 1.7.

Format: https://cyclonedx.org/docs/1.6/json/ and https://cyclonedx.org/docs/1.7/json/ (ECMA-424).
Written here rather than by the project's Python library, which has no place for a model card. The
members used are the same in both versions. Reads nothing and signs nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from grokdist.policy.bom.disclosure import DataFact
from grokdist.policy.bom.facts import FileFact, ModelFacts, Origin
from grokdist.policy.bom.license_ids import spdx_id
from grokdist.policy.bom.references import Reference

SPEC_VERSIONS = ("1.6", "1.7")
PREDICATE_TYPE = "https://cyclonedx.org/bom"
"""in-toto predicate type: spec/predicates/cyclonedx.md of github.com/in-toto/attestation."""

_NAMESPACE = uuid.UUID("2a0fd2a2-1f0e-5d0e-9e0b-6d3c9d0f6b57")
_Json = dict[str, Any]


def cyclonedx_document(
    facts: ModelFacts, *, created: str, author: str | None = None, spec_version: str = "1.6"
) -> _Json:
    """The document as JSON values.

    The serial number follows from all else, so that equal facts at an equal time give an equal
    document.

    Args:
        facts: what is known of the model.
        created: UTC time of the document, ``YYYY-MM-DDThh:mm:ssZ``.
        author: who operates this tool; left out where None.
        spec_version: one of ``SPEC_VERSIONS``.
    """
    model = facts.purl
    files = [_file(file) for file in facts.files]
    data = [_data(fact) for fact in facts.data]
    document: _Json = {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec_version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec_version,
        "version": 1,
        "metadata": {
            "timestamp": created,
            # The release exists already, and its finished files are described.
            "lifecycles": [{"phase": "post-build"}],
            "tools": {
                "components": [
                    {"type": "application", "name": "grokdist", "version": facts.tool_version}
                ]
            },
            **({"authors": [{"name": author}]} if author else {}),
            "component": _model(facts),
        },
        "components": [*files, *data],
        "dependencies": [
            {"ref": model, "dependsOn": [each["bom-ref"] for each in (*files, *data)]},
        ],
        "compositions": _compositions(facts),
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return {
        **{key: document[key] for key in ("$schema", "bomFormat", "specVersion")},
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        **{key: document[key] for key in document if key not in ("$schema",)},
    }


def _model(facts: ModelFacts) -> _Json:
    group = facts.purl.removeprefix("pkg:huggingface/").split("/")[0]
    return {
        "type": "machine-learning-model",
        "bom-ref": facts.purl,
        "supplier": {"name": facts.publisher},
        "manufacturer": {"name": facts.publisher},
        "publisher": facts.publisher,
        **({"group": group} if facts.purl.startswith("pkg:huggingface/") else {}),
        "name": facts.name,
        "version": facts.revision,
        "description": f"{facts.title}: {facts.summary}. {facts.verification}",
        "licenses": _licenses(facts),
        "purl": facts.purl,
        **({"pedigree": _pedigree(facts, facts.origin)} if facts.origin else {}),
        "externalReferences": [*map(_reference, facts.references), _attestation(facts)],
        "modelCard": _model_card(facts),
        "properties": _properties(
            ("title", facts.title),
            ("released", facts.released),
            ("role", facts.role),
            ("statement", facts.statement),
            ("verification", facts.verification),
            ("verified-at", facts.verified_at),
            ("verified-files", f"{facts.verified_files} of {len(facts.files)}"),
            ("root-digest", facts.root and f"sha256:{facts.root}"),
            ("manifest-sha256", facts.manifest_sha256),
            ("registry", facts.signed_by.registry),
            ("registry-root", facts.signed_by.root_sha256),
            ("registry-signatures", str(len(facts.signed_by.keyids))),
            ("format", facts.format),
            ("altered", facts.altered),
            ("license-expression", facts.declared),
            ("license-scope", facts.license_scope),
            ("license-covers", ", ".join(facts.license_covers)),
            ("license-excludes", ", ".join(facts.license_excludes)),
            ("license-text-sha256", facts.license_sha256),
        ),
    }


def _pedigree(facts: ModelFacts, origin: Origin) -> _Json:
    """What it was converted from; the digest is the root over all files, so no hash of a file."""
    return {
        "ancestors": [
            {
                "type": "machine-learning-model",
                "name": origin.name,
                "version": origin.revision,
                "properties": _properties(
                    ("root-digest", origin.root and f"sha256:{origin.root}"),
                ),
            }
        ],
        "notes": f"ALTERED: {facts.altered}"
        if facts.altered
        else "Converted to another format; the bytes of every tensor are those of the original.",
    }


def _licenses(facts: ModelFacts) -> list[_Json]:
    declared = _license(facts, facts.declared, "declared")
    if facts.concluded is None or "expression" in declared:  # an expression stands alone in 1.6
        return [declared]
    return [declared, _license(facts, facts.concluded, "concluded")]


def _license(facts: ModelFacts, expression: str, acknowledgement: str) -> _Json:
    if any(word in expression.split() for word in ("AND", "OR", "WITH")):
        return {"expression": expression, "acknowledgement": acknowledgement}
    known = {"id": expression} if spdx_id(expression) else {"name": facts.license_name}
    url = facts.license_evidence if acknowledgement == "declared" else facts.license_text
    return {
        "license": {
            **known,
            "acknowledgement": acknowledgement,
            **({"url": url} if url else {}),
        }
    }


def _reference(reference: Reference) -> _Json:
    return {
        "type": reference.kind,
        "url": reference.url,
        **({"comment": reference.comment} if reference.comment else {}),
        **(
            {"hashes": [{"alg": "SHA-256", "content": reference.sha256}]}
            if reference.sha256
            else {}
        ),
    }


def _attestation(facts: ModelFacts) -> _Json:
    signer = facts.signed_by
    return {
        "type": "attestation",
        "url": f"models/{facts.name}.json",
        "comment": (
            f"the manifest, a target of the {signer.registry} registry, {signer.threshold} of"
            f" {len(signer.keyids)} signatures required, root sha256 {signer.root_sha256}"
            if signer.signed
            else "the manifest, given as a file; nobody signed it"
        ),
        "hashes": [{"alg": "SHA-256", "content": facts.manifest_sha256}],
    }


def _model_card(facts: ModelFacts) -> _Json:
    parameters: _Json = {
        **({"task": facts.task} if facts.task else {}),
        **({"architectureFamily": ", ".join(facts.families)} if facts.families else {}),
        "modelArchitecture": facts.title,
        "datasets": [{"ref": _data_ref(fact)} for fact in facts.data],
        **({"inputs": [{"format": each} for each in facts.inputs]} if facts.inputs else {}),
        **({"outputs": [{"format": each} for each in facts.outputs]} if facts.outputs else {}),
    }
    return {
        "bom-ref": f"model-card:{facts.name}",
        "modelParameters": parameters,
        "considerations": {"technicalLimitations": list(facts.limitations)},
        "properties": _properties(
            ("parameters", None if facts.parameters is None else str(facts.parameters)),
            ("task", facts.task or "unknown"),
            ("architecture", ", ".join(facts.families) or "unknown"),
            ("training", facts.training),
            *((f"config:{name}", value) for name, value in facts.hyperparameters),
        ),
    }


def _file(file: FileFact) -> _Json:
    return {
        "type": "file",
        "bom-ref": f"file:{file.path}",
        "name": file.path,
        **({"hashes": [{"alg": "SHA-256", "content": file.sha256}]} if file.sha256 else {}),
        "properties": _properties(
            ("size", str(file.size)),
            # A git object id covers a header too, and of an LFS file only the pointer: no hash of
            # the content.
            ("git-lfs-pointer-blob" if file.lfs else "git-blob", file.git_blob),
            ("bep52-pieces-root", file.pieces_root),
            ("verified-at", file.verified or "not verified here"),
        ),
    }


def _data_ref(fact: DataFact) -> str:
    return f"data:{fact.use}"


def _data(fact: DataFact) -> _Json:
    """The data as a component; what was not released says so, and claims no licence or place."""
    licenses = []
    if fact.license:
        key = "id" if spdx_id(fact.license) else "name"
        licenses = [{"license": {key: fact.license, "acknowledgement": "declared"}}]
    places = fact.location.split(", ") if fact.location else []
    return {
        "type": "data",
        "bom-ref": _data_ref(fact),
        "name": fact.name,
        "description": fact.statement,
        **({"licenses": licenses} if licenses else {}),
        **(
            {"externalReferences": [{"type": "distribution", "url": place} for place in places]}
            if places
            else {}
        ),
        "data": [
            {
                "type": "dataset",
                "name": fact.name,
                "description": fact.statement,
                **({"contents": {"url": places[0]}} if places else {}),
            }
        ],
        "properties": _properties(
            ("availability", str(fact.availability)), ("evidence", fact.evidence)
        ),
    }


def _compositions(facts: ModelFacts) -> list[_Json]:
    """How complete each part is: the file list, what the model was made from, and that itself."""
    missing = [fact for fact in facts.data if not fact.disclosed]
    return [
        {
            "bom-ref": "composition:files",
            "aggregate": "complete" if facts.listed else "unknown",
            "assemblies": [facts.purl],
        },
        {
            "bom-ref": "composition:origin",
            "aggregate": "incomplete" if missing else "not_specified",
            "dependencies": [facts.purl],
        },
        *(
            {
                "bom-ref": f"composition:{_data_ref(fact)}",
                "aggregate": "incomplete" if fact.availability == "not-released" else "unknown",
                "assemblies": [_data_ref(fact)],
            }
            for fact in missing
        ),
    ]


def _properties(*pairs: tuple[str, str | None]) -> list[_Json]:
    return [
        {"name": f"grokdist:{name}", "value": value} for name, value in pairs if value is not None
    ]
