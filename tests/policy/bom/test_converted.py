"""What a bill of materials says of a model that was converted, or altered by that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from grokdist.catalog.converted import converted_manifest
from grokdist.catalog.manifest import TrustedManifest
from grokdist.policy.bom.cyclonedx import SPEC_VERSIONS, cyclonedx_document
from grokdist.policy.bom.facts import facts_of
from grokdist.policy.bom.spdx import spdx_document
from tests.policy.bom import test_cyclonedx as cyclonedx
from tests.policy.bom import test_spdx as spdx
from tests.policy.bom.conftest import CREATED

ROOT = "ab" * 32


def converted(source: TrustedManifest, group: int | None) -> TrustedManifest:
    manifest = converted_manifest(
        source,
        ROOT,
        source.manifest.files,
        license_path="LICENSE",
        when=datetime(2026, 1, 2, tzinfo=UTC),
        mesh="1x1",
        int4_group=group,
    )
    return replace(source, manifest=manifest)


@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_cyclonedx_names_the_original_and_the_change(
    grok_mini: TrustedManifest, version: str
) -> None:
    facts = facts_of(converted(grok_mini, 64))
    document = cyclonedx_document(facts, created=CREATED, spec_version=version)
    assert cyclonedx.verdict(document) is None
    model = document["metadata"]["component"]
    (ancestor,) = model["pedigree"]["ancestors"]
    assert (ancestor["name"], ancestor["version"]) == ("grok-mini", grok_mini.manifest.revision)
    assert cyclonedx.properties(ancestor)["root-digest"] == f"sha256:{ROOT}"
    how = "experts requantised from int8 to int4 in groups of at most 64 rows"
    assert model["pedigree"]["notes"].startswith(f"ALTERED: {how}")
    assert cyclonedx.properties(model)["altered"].startswith(how)
    limits = model["modelCard"]["considerations"]["technicalLimitations"]
    assert limits[0].startswith("ALTERED after its release")


def test_spdx_names_the_original_and_the_change(grok_mini: TrustedManifest) -> None:
    document = spdx_document(facts_of(converted(grok_mini, 64)), created=CREATED)
    assert spdx.verdict(document) is None
    (model,) = spdx.typed(document, "ai_AIPackage")
    (original,) = spdx.typed(document, "software_Package")
    assert original["name"] == "grok-mini"
    assert original["software_packageVersion"] == grok_mini.manifest.revision
    assert spdx.related(document, "descendantOf") == {model["spdxId"]: [original["spdxId"]]}
    (bond,) = (
        each
        for each in spdx.typed(document, "Relationship")
        if each["relationshipType"] == "descendantOf"
    )
    assert bond["comment"].startswith("ALTERED: experts requantised")
    assert "ALTERED" in model["ai_limitation"]


def test_a_conversion_that_alters_nothing_says_so(grok_mini: TrustedManifest) -> None:
    facts = facts_of(converted(grok_mini, None))
    assert facts.altered is None
    notes = cyclonedx_document(facts, created=CREATED)["metadata"]["component"]["pedigree"]["notes"]
    assert "the bytes of every tensor are those of the original" in notes
    assert "ALTERED" not in str(spdx_document(facts, created=CREATED))


def test_a_release_as_it_is_has_no_ancestor(grok_mini: TrustedManifest) -> None:
    facts = facts_of(grok_mini)
    assert "pedigree" not in cyclonedx_document(facts, created=CREATED)["metadata"]["component"]
    assert spdx.typed(spdx_document(facts, created=CREATED), "software_Package") == []


def test_int4_has_as_many_parameters_as_int8(grok_mini: TrustedManifest) -> None:
    """Two to a byte, and still two."""
    found = {facts_of(converted(grok_mini, group)).parameters for group in (None, 64)}
    assert found == {facts_of(grok_mini).parameters}


def test_a_manifest_cannot_leave_the_alteration_out(grok_mini: TrustedManifest) -> None:
    altered = converted(grok_mini, 64)
    silent = replace(altered, manifest=replace(altered.manifest, extra={}))
    assert facts_of(silent).altered == facts_of(altered).altered is not None
    bare = replace(silent.manifest, config=grok_mini.manifest.config)
    assert "int4" in str(facts_of(replace(silent, manifest=bare)).altered)


def test_what_a_manifest_says_of_an_original_is_not_believed_blindly(
    grok_mini: TrustedManifest,
) -> None:
    altered = converted(grok_mini, 64)
    for said in ("text", {"name": "x\n", "revision": "y"}, {"name": "x"}, [], None):
        manifest = replace(altered.manifest, extra={"converted_from": said})
        assert facts_of(replace(altered, manifest=manifest)).origin is None
    said = {"name": "x", "revision": "y", "root_sha256": "no digest"}
    manifest = replace(altered.manifest, extra={"converted_from": said})
    origin = facts_of(replace(altered, manifest=manifest)).origin
    assert origin is not None
    assert origin.root is None
