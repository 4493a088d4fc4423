"""The Model Openness Framework: which class a release reaches, and what it lacks.

Framework: White et al., "The Model Openness Framework" (arXiv 2403.13784), version 1.0. The
arithmetic is that of the Model Openness Tool (github.com/lfai/model_openness_tool, state of May
2026), so that a result here equals what its site shows, including these choices of its own:

- a class is reached at 100 % of its required components and those of the classes below it, and
  classes II and I read 0 % until the class below is reached;
- a component counts when its licence is open by any of four lists (OSI, FSF, open data, OpenMDW);
  open but unusual for that type of content counts with a warning; the lists are the tool's copies;
- a research paper stands in for a missing technical report.

``tests/policy/mot/`` holds what the tool's own classes make of each of its sample files. The tool
knows licences by their exact id; an expression in a manifest is read as SPDX means it.

Only components that were released in full count. What a component's licence is when it names none
of its own follows from what the release's licence says it covers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from grokdist.catalog.manifest import Availability, Component, Manifest
from grokdist.errors import PolicyError
from grokdist.policy.approved_licenses import FSF_FREE, OSI_APPROVED
from grokdist.policy.licenses import satisfies
from grokdist.policy.mof_components import (
    COMPONENTS,
    RESEARCH_PAPER,
    TECHNICAL_REPORT,
    ContentType,
    MofComponent,
)
from grokdist.policy.mof_licenses import (
    APPROPRIATE,
    APPROVED_SINCE,
    LOST_FOR_DATA,
    OPEN_DATA,
    OPEN_MODEL,
)

CLASS_LABELS = {
    0: "Unclassified",
    1: "Class I - Open Science Model",
    2: "Class II - Open Tooling Model",
    3: "Class III - Open Model",
}


class Verdict(StrEnum):
    """What the framework makes of one component."""

    INCLUDED = "included"
    """Released under an open licence."""
    INVALID = "invalid"
    """Released under a licence that is not open."""
    UNLICENSED = "unlicensed"
    """Released, but under no licence."""
    MISSING = "missing"
    """Not released, or only in part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentVerdict:
    """One component and what counts about it.

    Attributes:
        component: the framework's component.
        verdict: whether it counts, and why not.
        license: the licence that decided; None where there is none or nothing was released.
        type_appropriate: False where an open licence is not one written for this content type.
        availability: what the manifest says was released; None where it says nothing.
        evidence: where the manifest says that this can be seen.
        note: the manifest's remark.
    """

    component: MofComponent
    verdict: Verdict
    license: str | None = None
    type_appropriate: bool = True
    availability: Availability | None = None
    evidence: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MofResult:
    """The framework's result for a release.

    Attributes:
        class_number: 1, 2 or 3 (1 is the most open); 0 for unclassified.
        class_label: its name.
        percentages: by class number, as the Model Openness Tool shows them.
        included: required components that count, by class number, lower classes' included.
        required: required components that are asked for, likewise.
        components: a verdict for each of the 17.
        warnings: sentences for people.
    """

    class_number: int
    class_label: str
    percentages: Mapping[int, float]
    included: Mapping[int, int]
    required: Mapping[int, int]
    components: tuple[ComponentVerdict, ...]
    warnings: tuple[str, ...]


def evaluate(manifest: Manifest) -> MofResult:
    """The framework's result for the components that a manifest records.

    Takes the manifest's word for what was released; does not look at the evidence it names.
    """
    recorded = {component.name: component for component in manifest.components}
    verdicts = [_judge(recorded.get(known.name), known, manifest) for known in COMPONENTS]
    unknown = recorded.keys() - {known.name for known in COMPONENTS}
    return tally(
        verdicts,
        remarks=[f"{name} is not a component of the framework" for name in sorted(unknown)],
    )


def judge_license(
    component: MofComponent, license_expression: str | None, *, exact: bool = False
) -> ComponentVerdict:
    """The verdict on a component that was released under this licence, or under none.

    Args:
        component: the framework's component.
        license_expression: its licence.
        exact: the licence is one id, spelled exactly, as the Model Openness Tool compares them.
    """
    if license_expression is None:
        return ComponentVerdict(component=component, verdict=Verdict.UNLICENSED)
    if exact:
        is_open = _is_open(license_expression)
        appropriate = is_open and license_expression in APPROPRIATE[component.content_type]
        return _judged(component, license_expression, is_open, appropriate)
    try:
        is_open = satisfies(license_expression, _is_open)
        appropriate = is_open and satisfies(
            license_expression,
            lambda spdx: _is_open(spdx) and spdx in APPROPRIATE[component.content_type],
        )
    except PolicyError:  # no expression at all: a licence, but nobody can say which
        is_open = appropriate = False
    return _judged(component, license_expression, is_open, appropriate)


def _judged(
    component: MofComponent, license_expression: str, is_open: bool, appropriate: bool
) -> ComponentVerdict:
    return ComponentVerdict(
        component=component,
        verdict=Verdict.INCLUDED if is_open else Verdict.INVALID,
        license=license_expression,
        type_appropriate=appropriate or not is_open,
    )


def tally(verdicts: Iterable[ComponentVerdict], *, remarks: Iterable[str] = ()) -> MofResult:
    """Percentages and class from the verdicts on all 17 components."""
    components = tuple(verdicts)
    by_name = {verdict.component.name: verdict for verdict in components}
    included = {number: _included(by_name, number) for number in (3, 2, 1)}
    required = {number: len(_required(number)) for number in (3, 2, 1)}
    asked = dict(required)
    if not _counts(by_name, TECHNICAL_REPORT) and _counts(by_name, RESEARCH_PAPER):
        # In classes III and II the paper is counted in the report's place; class I asks for the
        # paper itself, so there the report is one component less to ask for.
        asked[1] -= 1
    percentages = dict.fromkeys((3, 2, 1), 0.0)
    reached = 0
    for number in (3, 2, 1):
        percentages[number] = min(100.0, included[number] / asked[number] * 100)
        if included[number] < asked[number]:
            break
        reached = number
    warnings = [_warning(verdict) for verdict in components if not verdict.type_appropriate]
    return MofResult(
        class_number=reached,
        class_label=CLASS_LABELS[reached],
        percentages=percentages,
        included=included,
        required=asked,
        components=components,
        warnings=(*warnings, *remarks),
    )


def _warning(verdict: ComponentVerdict) -> str:
    content = verdict.component.content_type
    lost = content is ContentType.DATA and verdict.license in LOST_FOR_DATA
    return (
        f"{verdict.component.name} is {content.value} under {verdict.license}: open, but not a"
        f" licence written for {content.value}"
        + (" (by the tool's list it is; the tool loses that entry on import)" if lost else "")
    )


def result_document(result: MofResult) -> dict[str, Any]:
    """A result as JSON values; what a component's manifest entry says is null where it has none."""
    return {
        "class": result.class_number,
        "class_label": result.class_label,
        "percentages": {str(number): value for number, value in result.percentages.items()},
        "included": {str(number): value for number, value in result.included.items()},
        "required": {str(number): value for number, value in result.required.items()},
        "components": [
            {
                "name": verdict.component.name,
                "class": verdict.component.mof_class,
                "required": verdict.component.required,
                "verdict": str(verdict.verdict),
                "license": verdict.license,
                "type_appropriate": verdict.type_appropriate,
                "availability": str(verdict.availability) if verdict.availability else None,
                "evidence": verdict.evidence,
                "note": verdict.note,
            }
            for verdict in result.components
        ],
        "warnings": list(result.warnings),
    }


def _judge(
    recorded: Component | None, component: MofComponent, manifest: Manifest
) -> ComponentVerdict:
    if recorded is None:
        return ComponentVerdict(component=component, verdict=Verdict.MISSING)
    if recorded.availability is not Availability.RELEASED:
        return ComponentVerdict(
            component=component,
            verdict=Verdict.MISSING,
            availability=recorded.availability,
            evidence=recorded.evidence,
            note=recorded.note,
        )
    license_expression = recorded.license or _inherited(component, manifest)
    return dataclasses.replace(
        judge_license(component, license_expression),
        availability=recorded.availability,
        evidence=recorded.evidence,
        note=recorded.note,
    )


def _inherited(component: MofComponent, manifest: Manifest) -> str | None:
    part = {
        ContentType.CODE: "code",
        ContentType.DOCUMENT: "documentation",
        ContentType.DATA: "weights" if component.name.startswith("Model parameters") else "data",
    }[component.content_type]
    covers = manifest.license.covers
    return manifest.license.expression if not covers or part in covers else None


def openness_line(result: MofResult) -> str:
    """The framework's result in one line: the class, or how far the first class is."""
    if result.class_number:
        return f"{result.class_label} of the Model Openness Framework"
    return (
        f"{result.class_label} by the Model Openness Framework: {result.included[3]} of"
        f" {result.required[3]} components of Class III ({result.percentages[3]:.1f} %)"
    )


def _is_open(spdx: str) -> bool:
    if spdx in APPROVED_SINCE:
        return False
    return any(spdx in known for known in (OSI_APPROVED, FSF_FREE, OPEN_DATA, OPEN_MODEL))


def _required(number: int) -> list[str]:
    return [known.name for known in COMPONENTS if known.required and known.mof_class >= number]


def _counts(by_name: Mapping[str, ComponentVerdict], name: str) -> bool:
    return by_name[name].verdict is Verdict.INCLUDED


def _included(by_name: Mapping[str, ComponentVerdict], number: int) -> int:
    counted = sum(_counts(by_name, name) for name in _required(number))
    paper_for_report = not _counts(by_name, TECHNICAL_REPORT) and _counts(by_name, RESEARCH_PAPER)
    return counted + (1 if paper_for_report and number > 1 else 0)
