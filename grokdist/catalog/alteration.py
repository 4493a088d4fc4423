"""Whether a manifest's model is one whose weights were altered after their release, and how.

Said from what the files must be to load at all, its architecture and format: a manifest that left
it out would describe a model that does not run.
"""

from __future__ import annotations

from grokdist.catalog.manifest import Manifest

INT4_FORMAT = "grok-1-safetensors-int4"
"""safetensors whose experts were requantised to int4."""

INT4_GROUP = "expert_int4_group"
"""Key of a configuration: rows of an expert's matrix that share a scale, at most."""


def alteration_of(manifest: Manifest) -> str | None:
    """What was done to the released weights, in words that fit ``altered: ...``; else None."""
    group = (manifest.config or {}).get(INT4_GROUP)
    if isinstance(group, int) and not isinstance(group, bool) and group > 0:
        # Here and not above: what is said of any other model needs no runtime.
        from grokdist_runtime.checkpoint.expert_int4 import alteration

        return alteration(group)
    if manifest.format == INT4_FORMAT:
        return "experts requantised to int4; not the weights that were released"
    return None
