"""What a configuration accepts, and how it says what it does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from grokdist_runtime.config import MAX_CONFIG_BYTES, ModelConfig, original_ffn_size
from grokdist_runtime.errors import ConfigError
from tests.runtime.random_checkpoint import small_config


def values(**changes: Any) -> dict[str, Any]:
    return dataclasses.asdict(small_config()) | changes


@pytest.mark.parametrize(
    ("emb_size", "factor", "expected"), [(6144, 8.0, 32768), (64, 4.0, 176), (256, 4.0, 688)]
)
def test_ffn_size_is_computed_as_the_original_does(
    emb_size: int, factor: float, expected: int
) -> None:
    assert original_ffn_size(emb_size, factor) == expected
    mapping = values(emb_size=emb_size, widening_factor=factor)
    del mapping["ffn_size"]
    assert ModelConfig.from_mapping(mapping).ffn_size == expected


def test_a_given_ffn_size_wins_and_unknown_keys_are_ignored() -> None:
    config = ModelConfig.from_mapping(values(ffn_size=344, architecture="grok"))
    assert config.ffn_size == 344


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values()))
    assert ModelConfig.from_json(path) == small_config()
    assert ModelConfig.from_json(path.read_bytes()) == small_config()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("vocab_size", "512", "an integer from 2"),
        ("vocab_size", True, "an integer from 2"),
        ("vocab_size", 512.0, "an integer from 2"),
        ("num_layers", 0, "an integer from 1"),
        ("num_layers", 10**30, "an integer from 1"),
        ("emb_size", -64, "an integer from 1"),
        ("key_size", 7, "an even number"),
        ("num_q_heads", 12, "a multiple of num_kv_heads 8"),
        ("num_selected_experts", 9, "at most num_experts 8"),
        ("eos_token", 96, "less than vocab_size 96"),
        ("pad_token", -1, "an integer from 0"),
        ("quantised_for_model_shards", 5, "a divisor of ffn_size"),
        ("rms_eps", 0, "a number above 0"),
        ("rms_eps", float("nan"), "a number above 0"),
        ("rope_base", float("inf"), "a number above 0"),
        ("attn_logit_cap", None, "a number above 0"),
        ("embedding_multiplier_scale", 10**400, "a number above 0"),
        ("compute_dtype", "float16", "one of float32, bfloat16"),
        ("compute_dtype", ["float32"], "one of float32, bfloat16"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_mapping(values(**{key: value}))
    assert key in str(caught.value)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["vocab_size", "emb_size", "num_experts", "attn_output_multiplier"])
def test_a_missing_key_is_named(key: str) -> None:
    mapping = values()
    del mapping[key]
    with pytest.raises(ConfigError, match=key):
        ModelConfig.from_mapping(mapping)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", "[" * 100_000, "\xff"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        ModelConfig.from_json(text.encode("latin-1"))


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.json"):
        ModelConfig.from_json(tmp_path / "absent.json")
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        ModelConfig.from_json(huge)
