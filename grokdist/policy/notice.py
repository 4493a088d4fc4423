"""The one line that says under which licence a model comes and how open it is."""

from __future__ import annotations

from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.manifest import Manifest


def notice(manifest: Manifest) -> str:
    """Licence and openness in one line, e.g. ``Apache-2.0 · weights and inference code; ...``.

    Weights that were altered after their release are said to be, before anything else of them.
    Where no weights were released there is nothing a licence could cover: the line names none.
    """
    if not manifest.has_weights:
        return manifest.summary
    altered = " · ALTERED: experts rounded to int4" if alteration_of(manifest) else ""
    return f"{manifest.license.expression}{altered} · {manifest.summary}"
