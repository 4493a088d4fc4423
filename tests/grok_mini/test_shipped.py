"""What ships as grok-mini is small, whole, readable, and what the documents say it is."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from grokdist.policy.mof_components import COMPONENTS
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.tensor_table import shard_file_name, tensor_table
from grokdist_runtime.config import ModelConfig
from tools.grok_mini.evaluate import INTERMEDIATE, RESULTS, ROOT, SHIPPED, weights_digest
from tools.grok_mini.metadata import TARGET, metadata
from tools.grok_mini.model import GROK_MINI

MAX_SHIPPED_BYTES = 12_000_000
CHECKPOINTS = pytest.mark.parametrize("directory", [SHIPPED, INTERMEDIATE], ids=["final", "early"])


def test_shipped_files_and_size() -> None:
    files = {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*") if path.is_file()}
    shards = {f"ckpt-0/{shard_file_name(i)}" for i in range(12 * GROK_MINI.num_layers + 2)}
    beside = {"config.json", "tokenizer.model", "LICENSE", "MODEL_CARD.md", "DATA_CARD.md"}
    assert files == shards | beside
    assert sum((SHIPPED / name).stat().st_size for name in files) < MAX_SHIPPED_BYTES
    assert (SHIPPED / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@CHECKPOINTS
def test_config_is_the_architecture(directory: Path) -> None:
    assert ModelConfig.from_json(directory / "config.json") == GROK_MINI
    keys = list(json.loads((directory / "config.json").read_text()))
    assert keys[:3] == ["vocab_size", "emb_size", "widening_factor"]
    assert keys[-1] == "quantised_for_model_shards"
    assert len(keys) == 22
    assert GROK_MINI.attn_output_multiplier == GROK_MINI.key_size**-0.5
    assert GROK_MINI.embedding_multiplier_scale == math.sqrt(GROK_MINI.emb_size)


@CHECKPOINTS
def test_every_shard_fits_its_place(directory: Path) -> None:
    checkpoint = open_checkpoint(directory, GROK_MINI)
    for spec in tensor_table(GROK_MINI):
        shard = checkpoint[spec.name]
        values = np.asarray(shard.weight.array(), np.float32)
        assert np.isfinite(values).all()
        if shard.scales is not None:
            assert shard.scales.dtype == "bfloat16"
            scales = shard.scales.array().astype(np.float32)
            assert (scales > 0).all()
            assert np.isfinite(scales).all()
            # Every group was scaled by its largest value, so some weight of it is at the end.
            assert np.abs(values).max() == 127


def test_a_shard_has_the_bytes_that_numpy_1_wrote() -> None:
    first, third = ((SHIPPED / "ckpt-0" / shard_file_name(index)).read_bytes() for index in (0, 2))
    assert first.startswith(b"\x80\x04\x95")
    assert b"numpy.core.multiarray" in first[:64]
    assert b"numpy._core" not in first[:64]
    assert b"QuantizedWeight8bit" in third[:64]
    assert b"ml_dtypes" in third[-8 * GROK_MINI.ffn_size * 2 - 300 :]


def test_evaluation_is_of_the_shipped_files_and_beats_counting() -> None:
    results = json.loads(RESULTS.read_text())
    tokenizer = hashlib.sha256((SHIPPED / "tokenizer.model").read_bytes()).hexdigest()
    assert results["weights_sha256"] == weights_digest(SHIPPED)
    assert results["tokenizer_sha256"] == tokenizer
    losses = {name: row["nats_per_token"] for name, row in results["models"].items()}
    counted = min(loss for name, loss in losses.items() if name.startswith("Kneser-Ney"))
    assert losses["grok-mini (shipped, int8)"] < counted - 0.1
    assert losses["uniform"] == pytest.approx(math.log(GROK_MINI.vocab_size), abs=1e-4)


def test_metadata_is_up_to_date() -> None:
    assert json.loads(TARGET.read_text()) == json.loads(json.dumps(metadata()))


def test_every_openness_component_has_its_files() -> None:
    record = json.loads((ROOT / "docs/grok-mini/components.json").read_text())
    assert [entry["name"] for entry in record["components"]] == [c.name for c in COMPONENTS]
    for entry, component in zip(record["components"], COMPONENTS, strict=True):
        assert entry["type"] == component.content_type
        for path in [*entry["paths"], entry["licence_path"]]:
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "DATA_CARD.md"])
def test_cards_give_the_measured_figures(name: str) -> None:
    card = (SHIPPED / name).read_text()
    if name == "MODEL_CARD.md":
        loss = json.loads(RESULTS.read_text())["models"]["grok-mini (shipped, int8)"]
        assert f"{loss['nats_per_token']:.3f}" in card
        assert f"{metadata()['parameters']:,}" in card
    else:
        for entry in json.loads((ROOT / "tools/grok_mini/corpus/corpus.json").read_text())[
            "splits"
        ].values():
            assert f"{entry['bytes']:,}" in card
