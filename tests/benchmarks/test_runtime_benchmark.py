"""The runtime's benchmark: contestants compute one model, and pages tell the figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from benchmarks.runtime import contest, original, original_child, our_child, report
from benchmarks.runtime.models import SIZES, describe_tensors, write_model
from benchmarks.runtime.q8_0 import BLOCK, pack, unpack
from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS, tensor_table

TINY = dataclasses.replace(
    SIZES["0.2"].config,
    vocab_size=64,
    emb_size=64,
    ffn_size=256,
    key_size=64,
    num_q_heads=4,
    num_kv_heads=2,
    num_layers=2,
    sequence_len=2048,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("synthetic") / "m"
    write_model(directory, TINY)
    return directory


@pytest.fixture(scope="module")
def answers(model: Path) -> dict[str, Any]:
    request = {
        "model": str(model),
        "logits": str(model / "logits.npy"),
        "score": [5, 9, 61, 7, 7, 30],
        "prompts": [[5, 9], [11, 12]],
        "long_prompts": [[4] * 20, [8] * 20],
        "decode": 3,
        "compile_cache": None,
        "kernels": "plain",
        "budget_s": 0.0,
        "prefill": True,
    }
    return {"ours": our_child.measure(request), "original": original_child.measure(request)}


def test_the_original_algorithm_computes_the_same_logits(
    model: Path, answers: dict[str, Any]
) -> None:
    weights = original.load(open_checkpoint(model, TINY))
    # Ours keeps the embedding in the compute dtype, as the release's own code does.
    rounded = weights[EMBEDDINGS].astype(TINY.compute_dtype)
    weights[EMBEDDINGS] = rounded.astype(jnp.float32)
    expected = original.score(weights, jnp.array([5, 9, 61, 7, 7, 30]), TINY)
    ours = np.load(model / "logits.npy")
    assert np.std(ours) > 0.1
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-4)


def test_measured_processes_answer_what_the_report_needs(answers: dict[str, Any]) -> None:
    ours, baseline = answers["ours"], answers["original"]
    assert len(ours["decode"]) == len(ours["prefill"]) == 1
    assert min(*ours["decode"], *ours["prefill"], *baseline["decode"], *baseline["prefill"]) > 0
    assert baseline["decode_layers"] == baseline["prefill_layers"] == 1, "the budget was spent"
    values = contest.active_values(TINY)
    # Embedding and scales are kept in float32.
    assert values < ours["active"] < 3 * values
    assert ours["memory"]["peak"] > ours["weights"]


def test_two_of_eight_experts_are_active() -> None:
    config = SIZES["4"].config
    experts = 3 * config.num_experts * config.emb_size * config.ffn_size * config.num_layers
    values = sum(np.prod(spec.shape) for spec in tensor_table(config))
    assert values - contest.active_values(config) == experts * 6 // 8


@pytest.mark.parametrize("label", SIZES)
def test_sizes_are_near_their_labels_and_have_a_twin(label: str) -> None:
    config = SIZES[label].config
    values = sum(np.prod(spec.shape) for spec in tensor_table(config))
    assert values / 1e9 == pytest.approx(float(label), rel=0.15)
    assert config.q_size == config.emb_size, "llama.cpp asks for it"
    for width in (config.emb_size, config.ffn_size // 8, config.q_size // 8):
        assert width % BLOCK == 0
    assert 5 < config.ffn_size / config.emb_size < 6


def test_weights_carry_over_to_blocks_of_32_exactly(model: Path) -> None:
    checkpoint = open_checkpoint(model, TINY)
    for spec in checkpoint.specs:
        shard = checkpoint[spec.name]
        if shard.scales is None:
            continue
        values, scales = shard.weight.array(), shard.scales.array().astype(np.float32)
        rows, columns = values.shape[-2:]
        values, scales = (
            values.reshape(-1, rows, columns)[-1],
            scales.reshape(-1, *scales.shape[-2:])[-1],
        )
        if rows % (len(scales) * BLOCK):
            continue
        wide = np.repeat(scales, rows // len(scales), axis=0)
        np.testing.assert_array_equal(unpack(pack(values, scales)), values * wide)


def test_scales_that_do_not_carry_over_are_refused() -> None:
    values = np.ones((64, 3), np.int8)
    with pytest.raises(ValueError, match="float16"):
        pack(values, np.full((1, 3), 1 / 3, np.float32))
    with pytest.raises(ValueError, match="groups"):
        pack(values, np.ones((4, 3), np.float32))


def test_the_embedding_lies_on_the_grid_of_blocks(model: Path) -> None:
    table = np.asarray(
        open_checkpoint(model, TINY)["language_model/in_out_embed/embeddings"].weight.array()
    )
    blocks = table.reshape(len(table), -1, BLOCK)
    scales = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float32), scales)
    np.testing.assert_array_equal(np.round(blocks / scales) * scales, blocks)


def test_tensors_are_described_where_they_stand(model: Path) -> None:
    described = {each["name"]: each for each in describe_tensors(model, TINY)}
    checkpoint = open_checkpoint(model, TINY)
    assert list(described) == [spec.name for spec in checkpoint.specs]
    name = "transformer/decoder_layer_1/moe/linear_1/w"
    place, shard = described[name], checkpoint[name]
    raw = np.memmap(
        place["values"]["path"], np.int8, "r", place["values"]["offset"], shard.weight.shape
    )
    np.testing.assert_array_equal(raw, shard.weight.array())
    assert shard.scales is not None
    where = place["scales"]
    raw = np.memmap(where["path"], ml_dtypes.bfloat16, "r", where["offset"], tuple(where["shape"]))
    np.testing.assert_array_equal(raw, shard.scales.array())


def test_other_weights_are_noticed() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 32))
    assert contest.difference(logits, 1.001 * logits)["same_choice"] == 1
    with pytest.raises(contest.BenchmarkError, match="the same model"):
        contest.difference(logits, logits[:, ::-1])


def test_pages_and_plots_tell_the_recorded_figures(repository: Path, tmp_path: Path) -> None:
    folder = repository / "benchmarks" / "results"
    results = json.loads((folder / "runtime.json").read_text("utf-8"))
    assert (folder / "runtime.md").read_text("utf-8") == report.render(results)
    page = (repository / "docs" / "runtime.md").read_text("utf-8")
    assert report.with_figures(page, results) == page
    for made in report.write_plots(results, tmp_path):
        svg = made.read_text("utf-8")
        ElementTree.fromstring(svg)  # noqa: S314  made here
        assert svg == (repository / "docs" / "pictures" / made.name).read_text("utf-8")


def test_a_busy_machine_is_said(repository: Path) -> None:
    path = repository / "benchmarks" / "results" / "runtime.json"
    results = json.loads(path.read_text("utf-8"))
    for load, said in ((0.1, False), (7.0, True)):
        results["machine"] |= {"load_before": load, "cores": 2}
        assert ("machine was busy" in report.render(results)) is said


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected both"):
        report.with_figures("no marks", {})
