"""What a manifest's configuration says of the model itself: task, architecture, parameters.

Only what follows from the format or stands in the configuration; the rest is None.
"""

from __future__ import annotations

from collections.abc import Mapping

from grokdist.catalog.alteration import INT4_FORMAT

GROK_1_FORMAT = "grok-1-pickle"
"""The release's own checkpoint format."""

GROK_1_FORMATS = (GROK_1_FORMAT, "grok-1-safetensors", INT4_FORMAT)
"""The formats that this project reads: their tensors follow from the configuration."""

_HYPERPARAMETERS = 64


def task_of(form: str) -> str | None:
    """The Hub's name of the task; None where nothing says it."""
    return "text-generation" if form in GROK_1_FORMATS else None


def families_of(form: str, config: Mapping[str, object]) -> tuple[str, ...]:
    """Kinds of architecture, most general first; empty where unknown."""
    if form in GROK_1_FORMATS:
        return ("transformer", "mixture of experts")
    kind = config.get("model_type")
    return (kind,) if isinstance(kind, str) and kind.isprintable() else ()


def parameters_of(form: str, config: Mapping[str, object]) -> int | None:
    """Elements of all weights, without the scales of quantised ones; None where unknown."""
    if form not in GROK_1_FORMATS or not config:
        return None
    from grokdist_runtime.checkpoint.tensor_table import tensor_table
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.errors import ConfigError

    try:
        table = tensor_table(ModelConfig.from_mapping(config))
    except ConfigError:  # not sizes of this architecture: then nobody can count
        return None
    return sum(tensor.elements for tensor in table)


def hyperparameters_of(config: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """The configuration's plain values, name and value as text."""
    plain = [
        (key, str(value))
        for key, value in config.items()
        if isinstance(value, (int, float, str)) and not isinstance(value, bool)
    ]
    return tuple(plain[:_HYPERPARAMETERS])
