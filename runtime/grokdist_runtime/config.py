"""The shape of a model of Grok-1's architecture: one frozen, validated dataclass.

Parses the ``config.json`` that stands beside a checkpoint. Holds no weights, touches no device and
does not import JAX; which tensors follow from a configuration is said in
``grokdist_runtime.checkpoint.tensor_table``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from grokdist_runtime.checkpoint.expert_int4 import (
    MAX_GROUP,
    MIN_GROUP,
    alteration,
    group_rows,
)
from grokdist_runtime.errors import ConfigError, DeviceError, RequantisationError

COMPUTE_DTYPES = ("float32", "bfloat16")
"""The dtypes that activations may have."""

KV_CACHES = ("int8",)
"""What cached keys and values can be rounded to; by default they stay as they are computed."""

MAX_CONFIG_BYTES = 1 << 20
"""A configuration file larger than this is refused before it is parsed."""

# Bounds are far above any published model; they keep a hostile file from asking for absurd arrays.
_INTEGER_BOUNDS: Mapping[str, tuple[int, int]] = {
    "vocab_size": (2, 1 << 24),
    "emb_size": (1, 1 << 20),
    "ffn_size": (1, 1 << 22),
    "key_size": (2, 1 << 14),
    "num_q_heads": (1, 1 << 14),
    "num_kv_heads": (1, 1 << 14),
    "num_layers": (1, 1 << 12),
    "num_experts": (1, 1 << 12),
    "num_selected_experts": (1, 1 << 12),
    "sequence_len": (1, 1 << 24),
    "pad_token": (0, (1 << 24) - 1),
    "eos_token": (0, (1 << 24) - 1),
    "seed": (0, (1 << 63) - 1),
    "quantised_for_model_shards": (1, 1 << 14),
    "expert_int4_group": (0, MAX_GROUP),
}
_POSITIVE_NUMBERS = (
    "widening_factor",
    "attn_output_multiplier",
    "output_multiplier_scale",
    "embedding_multiplier_scale",
    "rms_eps",
    "rope_base",
    "attn_logit_cap",
)
_MAX_NUMBER = 1e12


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of one model; every instance has passed the checks below.

    Attributes:
        vocab_size: Rows of the embedding, which is also the output head.
        emb_size: Width of the residual stream.
        widening_factor: What the original computes ``ffn_size`` from; kept for the record.
        ffn_size: Hidden width of one expert.
        key_size: Width of one attention head; even, since RoPE rotates halves.
        num_q_heads: Query heads; a multiple of ``num_kv_heads``.
        num_kv_heads: Key and value heads; query head ``i`` uses
            ``i // (num_q_heads // num_kv_heads)``.
        num_layers: Decoder layers.
        num_experts: Experts in each layer.
        num_selected_experts: Experts used by each token.
        sequence_len: Longest context, in tokens.
        attn_output_multiplier: Factor on attention logits.
        output_multiplier_scale: Factor on the output logits.
        embedding_multiplier_scale: Factor on the embedding.
        rms_eps: Added to the mean square in RMSNorm.
        rope_base: Base of the rotary frequencies.
        attn_logit_cap: ``c`` in ``c * tanh(logits / c)``.
        pad_token: Id whose keys are masked.
        eos_token: Id that ends a text.
        compute_dtype: Dtype of the activations, ``float32`` or ``bfloat16``.
        seed: Seed the weights were drawn from, for synthetic checkpoints; not used in inference.
        quantised_for_model_shards: Scale groups along the contraction axis of the two
            row-parallel matrices (expert down projection, attention output).
        expert_int4_group: Rows of an expert's matrix that share a scale, at most, where experts
            were requantised to int4; 0 where they are int8, as released.

    Raises:
        ConfigError: A value has the wrong type, is out of bounds or does not divide.
    """

    vocab_size: int
    emb_size: int
    widening_factor: float
    ffn_size: int
    key_size: int
    num_q_heads: int
    num_kv_heads: int
    num_layers: int
    num_experts: int
    num_selected_experts: int
    sequence_len: int
    attn_output_multiplier: float
    output_multiplier_scale: float
    embedding_multiplier_scale: float
    rms_eps: float = 1e-5
    rope_base: float = 10000.0
    attn_logit_cap: float = 30.0
    pad_token: int = 0
    eos_token: int = 2
    compute_dtype: str = "bfloat16"
    seed: int = 0
    quantised_for_model_shards: int = 8
    expert_int4_group: int = 0

    def __post_init__(self) -> None:
        for key, (low, high) in _INTEGER_BOUNDS.items():
            _check_integer(key, getattr(self, key), low, high)
        for key in _POSITIVE_NUMBERS:
            _check_number(key, getattr(self, key))
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise _error("compute_dtype", self.compute_dtype, f"one of {', '.join(COMPUTE_DTYPES)}")
        if self.key_size % 2:
            raise _error("key_size", self.key_size, "an even number")
        if self.num_q_heads % self.num_kv_heads:
            raise _error(
                "num_q_heads", self.num_q_heads, f"a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.num_selected_experts > self.num_experts:
            raise _error(
                "num_selected_experts",
                self.num_selected_experts,
                f"at most num_experts {self.num_experts}",
            )
        for key in ("pad_token", "eos_token"):
            if getattr(self, key) >= self.vocab_size:
                raise _error(key, getattr(self, key), f"less than vocab_size {self.vocab_size}")
        for what, width in (
            ("ffn_size", self.ffn_size),
            ("num_q_heads * key_size", self.q_size),
        ):
            if width % self.quantised_for_model_shards:
                raise _error(
                    "quantised_for_model_shards",
                    self.quantised_for_model_shards,
                    f"a divisor of {what} {width}",
                )
        if self.expert_int4_group:
            for what, rows in (("emb_size", self.emb_size), ("ffn_size", self.ffn_size)):
                if group_rows(rows, self.expert_int4_group) is None:
                    raise _error(
                        "expert_int4_group",
                        self.expert_int4_group,
                        f"0, or at least an even divisor of {what} {rows} from {MIN_GROUP} on",
                    )

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_q_heads * self.key_size

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.key_size

    @property
    def ffn_pieces(self) -> int:
        """Pieces that an expert's hidden columns can be split into: two int4 rows stay together."""
        return self.ffn_size // 2 if self.expert_int4_group else self.ffn_size

    @property
    def altered(self) -> str | None:
        """What was done to the released weights, in a phrase; None where nothing was."""
        return alteration(self.expert_int4_group) if self.expert_int4_group else None

    def requantised(self, group: int) -> ModelConfig:
        """The same model with experts of int4.

        Raises:
            RequantisationError: They are int4 already, or their sizes do not divide.
        """
        if self.expert_int4_group:
            raise RequantisationError(
                f"the experts are int4 already, in groups of at most {self.expert_int4_group};"
                " expected int8, since rounding twice loses twice"
            )
        if group < MIN_GROUP:
            raise RequantisationError(f"a group of {group} rows; expected at least {MIN_GROUP}")
        try:
            return dataclasses.replace(self, expert_int4_group=group)
        except ConfigError as error:
            raise RequantisationError(f"cannot requantise: {error}") from error

    @property
    def queries_per_kv_head(self) -> int:
        """Query heads that share one key and value head."""
        return self.num_q_heads // self.num_kv_heads

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> ModelConfig:
        """Builds a configuration from parsed JSON.

        ``ffn_size`` may be left out if ``widening_factor`` is there, and the other way round;
        keys with a default may be left out; unknown keys are ignored.

        Raises:
            ConfigError: A key is missing or a value is refused; names key, value, expectation.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"config is a {type(mapping).__name__}; expected a JSON object")
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            if field.name in mapping:
                values[field.name] = mapping[field.name]
        for key in _POSITIVE_NUMBERS:
            if key in values:
                values[key] = _check_number(key, values[key])
        _complete_ffn(values)
        for field in dataclasses.fields(cls):
            if field.name not in values and field.default is dataclasses.MISSING:
                raise ConfigError(f"config has no key {field.name!r}; expected a number")
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every type

    @classmethod
    def from_json(cls, source: str | bytes | Path) -> ModelConfig:
        """Builds a configuration from JSON text, or from the file at a ``Path``.

        Raises:
            ConfigError: The file cannot be read, is no JSON object, or a value is refused.
        """
        where = "config"
        if isinstance(source, Path):
            where = str(source)
            try:
                with source.open("rb") as file:
                    source = file.read(MAX_CONFIG_BYTES + 1)
            except OSError as error:
                raise ConfigError(f"cannot read {where}: {error.strerror}") from error
        if len(source) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{where} is larger than {MAX_CONFIG_BYTES} bytes")
        try:
            mapping = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where} is not JSON: {error}") from error
        return cls.from_mapping(mapping)


def check_kv_cache(name: str | None) -> None:
    """Checks what the cache is to be rounded to.

    Raises:
        DeviceError: It is neither None nor one of ``KV_CACHES``.
    """
    if name is not None and name not in KV_CACHES:
        raise DeviceError(
            f"the cache's dtype is {name[:40]!r}; expected {' or '.join(KV_CACHES)}, or none given",
            hint="leave --kv-cache out to keep what is computed",
        )


def original_ffn_size(emb_size: int, widening_factor: float) -> int:
    """Hidden width as the original derives it: two thirds, rounded up to a multiple of 8."""
    size = int(widening_factor * emb_size) * 2 // 3
    return -(-size // 8) * 8


def _complete_ffn(values: dict[str, object]) -> None:
    """Fills in whichever of ``ffn_size`` and ``widening_factor`` is missing from the other."""
    emb_size, factor = values.get("emb_size"), values.get("widening_factor")
    if not isinstance(emb_size, int) or isinstance(emb_size, bool):
        return
    ffn_size = values.get("ffn_size")
    if ffn_size is None and isinstance(factor, float):
        _check_integer("emb_size", emb_size, *_INTEGER_BOUNDS["emb_size"])
        values["ffn_size"] = original_ffn_size(emb_size, factor)
    elif factor is None and isinstance(ffn_size, int) and ffn_size > 0 and emb_size > 0:
        values["widening_factor"] = 1.5 * ffn_size / emb_size


def _check_integer(key: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _error(key, value, f"an integer from {low} to {high}")


def _check_number(key: str, value: object) -> float:
    expected = f"a number above 0 and at most {_MAX_NUMBER:g}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _error(key, value, expected)
    if not (0 < value <= _MAX_NUMBER) or not math.isfinite(value):
        raise _error(key, value, expected)
    return float(value)


def _error(key: str, value: object, expected: str) -> ConfigError:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return ConfigError(f"config key {key!r} is {shown}; expected {expected}")
