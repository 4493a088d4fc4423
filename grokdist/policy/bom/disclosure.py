"""What the publisher disclosed of how a model was made, and what it did not, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.manifest import Availability, Component, Manifest
from grokdist.policy.bom.architecture import GROK_1_FORMAT


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFact:
    """Data that the model was made or tested with.

    Attributes:
        name: what to call it here; the publisher's own name where it released the data.
        use: ``training`` or ``evaluation``.
        availability: whether the publisher released it.
        statement: a sentence on what is known.
        license: its own SPDX expression; None where none is stated.
        location: path or URL where it is, None where it was not released.
        evidence: URL or path that shows the statement.
    """

    name: str
    use: str
    availability: Availability
    statement: str
    license: str | None = None
    location: str | None = None
    evidence: str | None = None

    @property
    def disclosed(self) -> bool:
        """True where the publisher released it, whole or in part."""
        return self.availability in (Availability.RELEASED, Availability.PARTIAL)


def component_of(manifest: Manifest, name: str) -> Component | None:
    """What the manifest records of a component of the Model Openness Framework."""
    return next((each for each in manifest.components if each.name == name), None)


_SAID: dict[Availability, str] = {
    Availability.RELEASED: "released",
    Availability.PARTIAL: "released in part",
    Availability.NOT_RELEASED: "not released",
    Availability.UNKNOWN: "unknown",
}


def data_of(manifest: Manifest) -> tuple[DataFact, ...]:
    """The training data, released or not, and the evaluation data where it was released."""
    rows = [_datum(manifest, "Datasets", "training")]
    evaluation = _datum(manifest, "Evaluation data", "evaluation")
    return (*rows, evaluation) if evaluation.disclosed else tuple(rows)


def _datum(manifest: Manifest, component: str, use: str) -> DataFact:
    known = component_of(manifest, component)
    availability = Availability.UNKNOWN if known is None else known.availability
    card = component_of(manifest, "Data card")
    notes = [each.note for each in (known, card) if each is not None and each.note]
    sentence = {
        Availability.RELEASED: f"The {use} data was released.",
        Availability.PARTIAL: f"The {use} data was released in part.",
        Availability.NOT_RELEASED: f"Not released: the publisher has not disclosed the {use} data.",
        Availability.UNKNOWN: f"Unknown: the manifest says nothing on the {use} data.",
    }[availability]
    released = known is not None and availability in (Availability.RELEASED, Availability.PARTIAL)
    return DataFact(
        name=f"{use.capitalize()} data of {manifest.title}"
        + ("" if released else f" ({_SAID[availability]})"),
        use=use,
        availability=availability,
        statement=" ".join(dict.fromkeys([sentence, *notes])),
        license=known.license if released and known is not None else None,
        location=known.location if released and known is not None else None,
        evidence=known.evidence if known is not None else None,
    )


def training_of(manifest: Manifest) -> str:
    """A sentence on what is known of how the model was trained."""
    names = ("Datasets", "Data card", "Data preprocessing code", "Training code")
    found = {name: component_of(manifest, name) for name in names}
    said = [
        f"{name.lower()}: {_SAID[Availability.UNKNOWN if each is None else each.availability]}"
        for name, each in found.items()
    ]
    if all(
        each is None or each.availability is not Availability.RELEASED for each in found.values()
    ):
        return f"Not disclosed by the publisher ({'; '.join(said)})."
    return f"{'; '.join(said).capitalize()}."


def limitations_of(manifest: Manifest) -> tuple[str, ...]:
    """Sentences on what is not released or not known, and on what wants care."""
    rows = []
    if (altered := alteration_of(manifest)) is not None:
        rows.append(
            f"ALTERED after its release: {altered}. It answers otherwise than the original, and"
            " evaluations of that one do not hold for it."
        )
    absent = [
        each.name for each in manifest.components if each.availability is Availability.NOT_RELEASED
    ]
    if absent:
        rows.append(f"Not released by the publisher: {', '.join(absent)}.")
    parameters = component_of(manifest, "Model parameters (Final)")
    if parameters is not None and parameters.note:
        rows.append(parameters.note)
    results = component_of(manifest, "Evaluation results")
    if results is not None and results.availability is not Availability.RELEASED and results.note:
        rows.append(results.note)
    if manifest.format == GROK_1_FORMAT:
        rows.append(
            "The checkpoint is Python pickles: unpickling one can execute code. Read it with a"
            " reader that executes nothing."
        )
    if manifest.license.excludes:
        rows.append(f"The licence does not cover {', '.join(manifest.license.excludes)}.")
    return tuple(rows)
