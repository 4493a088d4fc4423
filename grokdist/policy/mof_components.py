"""The 17 components that the Model Openness Framework, version 1.0, looks for in a release.

Names, content types, classes and which are required: White et al., arXiv 2403.13784, and the
settings of the Model Openness Tool (github.com/lfai/model_openness_tool).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ContentType(StrEnum):
    """What a component is made of; licences are written for one or the other."""

    CODE = "code"
    DATA = "data"
    DOCUMENT = "document"


@dataclass(frozen=True, kw_only=True, slots=True)
class MofComponent:
    """One of the framework's components.

    Attributes:
        name: the framework's name of it.
        content_type: what it is made of.
        mof_class: the class that it is first asked for in: 3, 2 or 1.
        required: False where the framework only recommends it.
    """

    name: str
    content_type: ContentType
    mof_class: int
    required: bool = True


_CODE, _DATA, _DOCUMENT = ContentType.CODE, ContentType.DATA, ContentType.DOCUMENT

TECHNICAL_REPORT = "Technical report"
RESEARCH_PAPER = "Research paper"

COMPONENTS = tuple(
    MofComponent(name=name, content_type=content_type, mof_class=mof_class, required=required)
    for mof_class, name, content_type, required in (
        (3, "Model architecture", _CODE, True),
        (3, "Model parameters (Final)", _DATA, True),
        (3, "Model card", _DOCUMENT, True),
        (3, "Data card", _DOCUMENT, True),
        (3, TECHNICAL_REPORT, _DOCUMENT, True),
        (3, "Evaluation results", _DOCUMENT, True),
        (3, "Sample model outputs", _DOCUMENT, False),
        (2, "Training code", _CODE, True),
        (2, "Inference code", _CODE, True),
        (2, "Evaluation code", _CODE, True),
        (2, "Evaluation data", _DATA, True),
        (2, "Supporting libraries and tools", _CODE, False),
        (1, "Datasets", _DATA, True),
        (1, "Data preprocessing code", _CODE, True),
        (1, "Model parameters (Intermediate)", _DATA, True),
        (1, RESEARCH_PAPER, _DOCUMENT, True),
        (1, "Model metadata", _DATA, False),
    )
)
"""The 17 components of version 1.0."""
