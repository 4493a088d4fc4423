"""The GPU benchmark runs in small on a CPU, finds weights in HLO, and keeps trials apart."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import grok
from benchmarks.gpu.ahead import described_devices
from benchmarks.gpu.failure import BenchmarkError
from benchmarks.gpu.hlo import collectives, weight_writes
from benchmarks.gpu.page import compiled_page, page
from benchmarks.gpu.roofline import Communication, kind_of, peak_tokens_per_s, step_bytes
from benchmarks.gpu.tuning import candidates
from grokdist_runtime.pallas_matmul import tiles_for
from grokdist_runtime.params import bytes_per_device
from grokdist_runtime.quantised import Quantised, matmul
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec

ROWS, COLUMNS = 256, 128
SIZE = ROWS * COLUMNS


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")


def stack() -> Quantised:
    return Quantised(
        values=jnp.ones((2, 3, ROWS, COLUMNS), jnp.int8), scales=jnp.ones((2, 3, 1, COLUMNS))
    )


def optimised(function: object, *arguments: object) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()  # type: ignore[arg-type]


def test_a_dequantised_weight_is_found_and_the_runtimes_own_product_has_none() -> None:
    """On a CPU a product of many rows widens its matrix in memory; one of a row goes in blocks."""
    spec = ModelSpec.create(grok.small(), make_mesh("1x1"))

    def product(x: jax.Array, w: Quantised, place: jax.Array) -> jax.Array:
        return matmul(x, w, (1, place), spec)

    text = optimised(product, jnp.ones((64, ROWS)), stack(), jnp.int32(1))
    (write,) = weight_writes(text, SIZE)
    assert (write.dtype, write.elements, write.nbytes) == ("f32", SIZE, 4 * SIZE)
    assert write.widened
    text = optimised(product, jnp.ones((1, ROWS)), stack(), jnp.int32(1))
    assert weight_writes(text, SIZE) == []


def test_a_copied_weight_is_found_and_told_from_a_dequantised_one() -> None:
    text = optimised(lambda w, place: w[1, place], stack().values, jnp.int32(1))
    (write,) = weight_writes(text, SIZE)
    assert (write.dtype, write.nbytes) == ("s8", SIZE)
    assert not write.widened


def test_an_update_in_place_counts_as_what_is_updated() -> None:
    def update(stack: jax.Array, row: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(stack, row, (at, 0, 0, 0))

    arguments = (stack().values, jnp.ones((1, 1, 1, COLUMNS), jnp.int8), jnp.int32(1))
    text = jax.jit(update, donate_argnums=0).lower(*arguments).compile().as_text()
    assert "dynamic-update-slice" in text
    assert weight_writes(text, SIZE) == []


FUSIONS = """\
HloModule step, is_scheduled=true

%widen (a: s8[4,8,16], i: s32[]) -> (f32[8,16], f32[16]) {
  %a = s8[4,8,16]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %slice = s8[1,8,16]{2,1,0} dynamic-slice(%a, %i, %i, %i), dynamic_slice_sizes={1,8,16}
  %wide = f32[1,8,16]{2,1,0} convert(%slice)
  %flat = f32[8,16]{1,0} bitcast(%wide)
  %zero = f32[] constant(0)
  %sum = f32[16]{0} reduce(%flat, %zero), dimensions={0}, to_apply=%add
  ROOT %both = (f32[8,16]{1,0}, f32[16]{0}) tuple(%flat, %sum)
}

%product (a.1: s8[4,8,16], x: bf16[64,32]) -> f32[64,16] {
  %a.1 = s8[4,8,16]{2,1,0} parameter(0)
  %b = s8[32,16]{1,0} bitcast(%a.1)
  %c = bf16[32,16]{1,0} convert(%b)
  %x = bf16[64,32]{1,0} parameter(1)
  ROOT %dot = f32[64,16]{1,0} dot(%x, %c), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], s8[4,8,16])) -> (s32[], s8[4,8,16]) {
  %state = (s32[], s8[4,8,16]{2,1,0}) parameter(0)
  %j = s32[] get-tuple-element(%state), index=0
  %w = s8[4,8,16]{2,1,0} get-tuple-element(%state), index=1
  %loop_fusion = (f32[8,16]{1,0}, /*index=1*/f32[16]{0}) fusion(%w, %j), kind=kInput, calls=%widen
  %t = f32[16]{0} get-tuple-element(%loop_fusion), index=1
  %all-reduce-start = f32[16]{0} all-reduce-start(%t), replica_groups={}, to_apply=%add
  ROOT %next = (s32[], s8[4,8,16]{2,1,0}) tuple(%j, %w)
}

ENTRY %main (p: s8[4,8,16], y: bf16[64,32]) -> f32[64,16] {
  %p = s8[4,8,16]{2,1,0} parameter(0)
  %y = bf16[64,32]{1,0} parameter(1)
  %k = s32[] constant(0)
  %init = (s32[], s8[4,8,16]{2,1,0}) tuple(%k, %p)
  %loop = (s32[], s8[4,8,16]{2,1,0}) while(%init), condition=%cond, body=%body
  %kernel = f32[8,16]{1,0} custom-call(%p, %y), custom_call_target="__gpu$xla.gpu.triton"
  ROOT %gemm = f32[64,16]{1,0} fusion(%p, %y), kind=kCustom, calls=%product
}
"""


def test_fusions_are_looked_through_and_products_are_no_weights() -> None:
    """As GPUs have them: the loop's fusion writes a widened matrix beside a sum; the rest does not.

    Product and kernel are larger than the matrix of 128 elements, and sums of it all the same.
    """
    (write,) = weight_writes(FUSIONS, 128)
    assert (write.name, write.dtype, write.elements) == ("loop_fusion", "f32", 128)
    assert weight_writes(FUSIONS, 129) == []
    assert collectives(FUSIONS) == {"all-reduce": 1}
    with pytest.raises(ValueError, match="no ENTRY"):
        weight_writes("HloModule nothing", 1)


def test_a_small_run_goes_end_to_end_and_is_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--small", "--batch", "1", "--prefill", "32", "--kernels", "plain", "--runs", "1"]
    options += ["--steps", "2", "--cache", "128", "--layers", "1", "--output", str(tmp_path)]
    assert command.main(options) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"small-trial.md", "small-trial.json"}
    results = json.loads((tmp_path / "small-trial.json").read_text("utf-8"))
    assert results["machine"]["device"] == "cpu"
    assert [len(model["rows"]) for model in results["models"]] == [2, 2]
    decode, prefill = results["models"][0]["rows"]
    assert decode["step_s"] > 0
    assert decode["layer_bytes"] > 0
    assert decode["written"] == 0
    assert prefill["written"] > 0, "a CPU widens what many rows are multiplied with"
    (row,) = results["eight"]["rows"]
    assert row["tokens_per_s"] == pytest.approx(1 / (row["work_s"] + row["sums_s"]))
    text = (tmp_path / "small-trial.md").read_text("utf-8")
    assert text == page(results) == capsys.readouterr().out


def test_without_a_gpu_there_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in command.RESULTS.iterdir()}
    assert command.main([]) == 1
    assert "expected a GPU" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in command.RESULTS.iterdir()} == before


def test_compiling_ahead_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BenchmarkError, match="plug-in for CUDA is not installed"):
        described_devices(1)


def test_the_page_of_compiled_programs_says_that_nothing_ran(repository: Path) -> None:
    results = json.loads((repository / "benchmarks/results/gpu-compiled.json").read_text("utf-8"))
    text = (repository / "benchmarks/results/gpu-compiled.md").read_text("utf-8")
    assert compiled_page(results) == text
    assert "nothing here ran on a GPU" in text
    assert all(row["widened"] == 0 for row in results["rows"])
    ours = [row for row in results["rows"] if row["kernels"] == "pallas" and row["new"] == 1]
    assert ours
    assert all(row["copied"] == 0 for row in ours)


def test_layers_are_of_true_size_and_as_many_as_fit() -> None:
    config = grok.grok_1()
    one = bytes_per_device(ModelSpec.create(grok.with_layers(config, 1), make_mesh("1x1")))
    assert 6.5e9 < one < 10e9, "a layer of 4.9 GB, and an embedding that a CPU has in float32"
    room = 66 * 10**9
    fit = grok.layers_that_fit(config, room)
    assert fit == 13
    assert grok.layers_that_fit(config, 10**13) == config.num_layers
    part = grok.share(config, 8)
    whole = grok.layers_that_fit(part, room)
    assert whole == config.num_layers, "an eighth of the model fits one device"
    assert part.ffn_size * 8 == config.ffn_size
    assert grok.smallest_matrix(part) * 8 == grok.smallest_matrix(config) == 6144 * 1024


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("shape", [(6144, 4096), (128, 32)])
def test_only_tiles_that_divide_are_tried(shape: tuple[int, int], rows: int) -> None:
    inner, columns = shape
    w = Quantised(
        values=jax.ShapeDtypeStruct((1, *shape), jnp.int8),  # type: ignore[arg-type]
        scales=jax.ShapeDtypeStruct((1, 1, columns), jnp.float32),  # type: ignore[arg-type]
    )
    usual = tiles_for(w, 2, rows)
    assert usual is not None
    first, *others = candidates(usual, inner, columns)
    assert first == usual
    assert usual not in others
    assert len(others) > 20 or columns < 64
    assert all(inner % (t.splits * t.inner) == 0 == columns % t.columns for t in others)


def test_eight_devices_are_reckoned_as_stated() -> None:
    communication = Communication(devices=8, latency_s=1e-5, bytes_per_s=1e9)
    assert communication.all_reduce_s(1000) == pytest.approx(1e-5 + 2 * 7 / 8 * 1e-6)
    assert communication.all_gather_s(1000) == pytest.approx(1e-5 + 7 / 8 * 1e-6)
    free = dataclasses.replace(communication, bytes_per_s=float("inf"))
    config = grok.grok_1()
    assert free.step_s(config, 1) == pytest.approx(130 * 1e-5), "129 sums and one gather"
    kind = kind_of("NVIDIA H100 80GB HBM3")
    assert kind is not None
    assert round(peak_tokens_per_s(config, kind, 8)) == 317
    assert 84e9 < step_bytes(config, kind, batch=1, tokens=1) < 85e9
    assert kind_of("a toaster") is None
