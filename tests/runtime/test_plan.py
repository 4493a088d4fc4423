"""Plans: equal to what the runtime allocates, and to what is known of Grok-1."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from grokdist_runtime import kv_cache, params, plan, runner
from grokdist_runtime.checkpoint.tensor_table import EMBEDDINGS, tensor_table
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.device_table import DEVICES, Devices, host, of_kind, parse_devices
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.plan import Plan, distinct_experts, make_plan, would_fit
from grokdist_runtime.sharding import default_mesh, make_mesh, shape_of
from grokdist_runtime.spec import ModelSpec
from tests.runtime.random_checkpoint import small_config

TPU = of_kind(next(kind for kind in DEVICES if kind.name == "v5e"), 8)


@pytest.fixture(scope="module")
def grok_1(repository: Path) -> ModelConfig:
    """The architecture as the signed manifest gives it."""
    manifest = json.loads((repository / "manifests/models/grok-1.json").read_text("utf-8"))
    return ModelConfig.from_mapping(manifest["config"])


def on(config: ModelConfig, devices: str, **options: Any) -> Plan:
    return make_plan(config, parse_devices(devices), **options)


class AsAccelerator(ModelSpec):
    """The spec of a mesh whose devices are no CPUs, so that the compute dtype is the one asked."""

    @classmethod
    def create(cls, config: ModelConfig, mesh: Any, *, kv_cache: str | None = None) -> ModelSpec:
        return dataclasses.replace(ModelSpec.create(config, mesh, kv_cache=kv_cache), on_cpu=False)


@pytest.mark.parametrize(
    "mesh", ["1x1", "1x2", "1x4", "1x8", "2x4", "4x2", "1x2x4", "1x1x8", "2x2x2"]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cache", [None, "int8"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_kv_heads": 2},
        {"num_q_heads": 24, "num_kv_heads": 3, "ffn_size": 64},
        {"num_q_heads": 16, "num_kv_heads": 4, "quantised_for_model_shards": 4},
        {"ffn_size": 48, "quantised_for_model_shards": 2},
        {"vocab_size": 104, "num_q_heads": 16, "num_kv_heads": 2, "num_experts": 16},
    ],
)
def test_weights_and_cache_are_what_the_runtime_allocates(
    mesh: str, dtype: str, cache: str | None, changes: dict[str, Any]
) -> None:
    config = small_config(compute_dtype=dtype, **changes)
    spec = AsAccelerator.create(config, make_mesh(mesh), kv_cache=cache)
    made = make_plan(config, TPU, mesh=mesh, batch=4, kv_cache=cache)
    assert made.per_device.weights == params.bytes_per_device(spec)
    own = 4 // made.mesh.data
    assert made.per_device.kv_cache == kv_cache.cache_bytes(spec, own, made.cache_tokens)


def test_a_cpu_holds_the_cache_in_float32_and_the_embedding_as_asked() -> None:
    config = small_config(compute_dtype="bfloat16")
    spec = ModelSpec.create(config, make_mesh("2x4"))
    machine = host("a machine", memory_bytes=1 << 40, usable_bytes=1 << 40, evidence="none")
    made = make_plan(config, machine, mesh="2x4", batch=2)
    assert (made.dtype, made.cache_dtype) == ("bfloat16", "float32")
    assert made.per_device.weights == params.bytes_per_device(spec)
    assert made.per_device.kv_cache == kv_cache.cache_bytes(spec, 1, made.cache_tokens)
    assert made.needed == 8 * made.per_device.total  # the simulated devices share one memory
    assert any("float32 and rounds to bfloat16 the embedding" in note for note in made.notes)


def test_what_is_restated_without_jax_is_what_the_runtime_says() -> None:
    assert plan.MIN_BUCKET == kv_cache.MIN_BUCKET
    assert plan.MAX_CHUNK == runner.MAX_CHUNK
    for tokens in (1, 127, 128, 129, 4096, 8191, 8192):
        assert plan.bucket_size(tokens) == kv_cache.bucket_size(tokens)
    for heads in (4, 8, 24):
        config = small_config(num_q_heads=heads, num_kv_heads=4)
        mesh = default_mesh(config)
        assert make_plan(config, TPU).mesh == shape_of(mesh)
        assert make_plan(config, TPU, mesh="auto").mesh == shape_of(mesh)


@pytest.mark.parametrize("mesh", ["1x1", "1x8", "1x2x4"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.usefixtures("full_compilation")
def test_activations_are_no_less_than_xla_uses_and_not_far_more(mesh: str, batch: int) -> None:
    config = small_config(emb_size=64, ffn_size=128, vocab_size=512, sequence_len=256)
    spec = ModelSpec.create(config, make_mesh(mesh))
    import jax

    weights = jax.tree.map(
        lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=info.sharding(spec)),
        params.abstract_weights(spec),
    )
    program = runner.Program(name="prefill", batch=batch, size=256, new=256)
    compiled: Any = runner.Runner(spec, weights)._compile(program)
    used = compiled.memory_analysis().temp_size_in_bytes
    machine = host("a machine", memory_bytes=1 << 40, usable_bytes=1 << 40, evidence="none")
    estimate = make_plan(config, machine, mesh=mesh, batch=batch).per_device.activations
    assert used <= estimate <= 4 * used


def test_a_cache_that_grows_is_there_twice_for_a_moment() -> None:
    deep = small_config(num_layers=256, sequence_len=1024)
    grown = make_plan(deep, TPU, mesh="1x1").per_device
    assert grown.activations == grown.kv_cache // 2
    first = make_plan(deep, TPU, mesh="1x1", context=plan.MIN_BUCKET).per_device
    assert first.activations < first.kv_cache // 2


# Known of Grok-1: 316.8 GB with a bfloat16 embedding, 262,144 bytes of cache a token, 84.6 GB read
# a token. None of these figures stands in the code.


def test_grok_1_weighs_316_8_gb(grok_1: ModelConfig) -> None:
    made = on(grok_1, "8xH100")
    assert round(made.copy_bytes / 1e9, 1) == 316.8
    assert round(made.copy_bytes / 2**30, 1) == 295.0
    assert round(made.per_device.weights / 2**30, 1) == 36.9
    assert round(on(grok_1, "cpu:512GB").copy_bytes / 1e9, 1) == 316.8
    exact = on(grok_1, "cpu:512GB", dtype="float32")
    assert round(exact.copy_bytes / 1e9, 1) == 318.4  # the embedding as it is in the files


def test_grok_1_caches_262_144_bytes_a_token(grok_1: ModelConfig) -> None:
    made = on(grok_1, "8xH100", context=8192)
    assert made.per_device.kv_cache * 8 == 262_144 * 8192
    # 16 devices share 8 heads: each keeps a whole one, so that twice as much is held.
    assert on(grok_1, "v6e-16").per_device.kv_cache * 16 == 2 * 262_144 * 8192


def test_grok_1_reads_84_6_gb_a_token(grok_1: ModelConfig) -> None:
    read = on(grok_1, "8xH100").bytes_read(batch=1, tokens=0)
    assert round(read / 1e9, 1) == 84.6
    assert on(grok_1, "8xH100").bytes_read(batch=1, tokens=10) == read + 10 * 262_144


@pytest.mark.parametrize(
    ("devices", "tokens_per_s"),
    [
        ("8xA100", 193),
        ("8xH100", 317),
        ("8xH200", 454),
        ("8xB200", 757),
        ("4xH200", 227),
        ("v5p-8", 131),
        ("v5p-16", 262),
        ("v6e-16", 310),
    ],
)
def test_roofline_of_grok_1(grok_1: ModelConfig, devices: str, tokens_per_s: int) -> None:
    made = on(grok_1, devices)
    speed = made.tokens_per_s(batch=1)
    # The published figures leave out scales, norms and routers, 0.1 % of what is read.
    assert speed == pytest.approx(tokens_per_s, rel=0.003)
    assert made.devices.bytes_per_s is not None
    bandwidth = made.devices.bytes_per_s * made.devices.count
    assert bandwidth / _matrices_read(grok_1) == pytest.approx(tokens_per_s, abs=0.6)
    assert made.fits


def _matrices_read(config: ModelConfig) -> float:
    """Bytes of the matrices that a token is multiplied with, and of the embedding in bfloat16."""
    share = config.num_selected_experts / config.num_experts
    read = 0.0
    for tensor in tensor_table(config):
        if tensor.name == EMBEDDINGS:
            read += tensor.nbytes / 2
        elif tensor.dtype == "int8":
            read += tensor.nbytes * (share if tensor.axes[0] == "experts" else 1)
    return read


def test_roofline_of_grok_1_on_a_cpu(grok_1: ModelConfig) -> None:
    made = on(grok_1, "cpu:512GB@400GB/s")
    assert made.fits
    assert 400e9 / _matrices_read(grok_1) == pytest.approx(4.7, abs=0.05)
    speed = made.tokens_per_s(batch=1)
    assert speed == pytest.approx(4.72, abs=0.01)
    assert on(grok_1, "cpu:512GB").tokens_per_s(batch=1) is None


@pytest.mark.parametrize(
    ("devices", "fits"),
    [
        ("8xA100", True),
        ("4xA100", False),
        ("4xH100", False),
        ("8xA100-40", False),
        ("16xA100-40", True),
        ("2xH200", False),
        ("4xH200", True),
        ("2xMI300X", True),
        ("v5p-8", True),
        ("v5e-16", False),
        ("v6e-16", True),
        ("cpu:512GB", True),
        ("cpu:320GB", False),
    ],
)
def test_where_grok_1_fits(grok_1: ModelConfig, devices: str, fits: bool) -> None:
    made = on(grok_1, devices)
    assert made.fits is fits
    assert (made.spare >= 0) is fits
    assert bool(would_fit(made)) is not fits


def test_three_devices_do_not_divide_grok_1(grok_1: ModelConfig) -> None:
    made = on(grok_1, "3xH200")
    assert str(made.mesh) == "1x2"
    assert not made.fits
    assert "ffn_size 32768 and vocab_size 131072 do not divide over 3 " in made.notes[0]
    assert "--devices 4xH200" in would_fit(made)
    with pytest.raises(DeviceError, match="ffn_size 32768 and vocab_size 131072 do not divide"):
        on(grok_1, "3xH200", mesh="1x3")


def test_experts_are_dealt_out_where_heads_divide_no_further(grok_1: ModelConfig) -> None:
    small, large = on(grok_1, "v5e-16"), on(grok_1, "v5e-32")
    assert small.copy_bytes > 16 * small.devices.memory_bytes
    # 48 query heads go over 16 devices at most, so that tensor parallelism alone would need these.
    assert str(large.mesh) == "1x16x2"
    assert large.fits
    assert any("48 query heads do not divide over 32 devices" in note for note in large.notes)
    assert any("experts lie in 2 groups" in note for note in large.notes)
    tensor_parallel = on(grok_1, "v5e-32", mesh="1x16")
    assert not tensor_parallel.fits
    idle = "16 of 32 devices stay idle with mesh 1x16: num_q_heads 48 does not divide over 32"
    assert any(idle in note for note in tensor_parallel.notes)
    assert any("all 32 together have the room" in note for note in tensor_parallel.notes)
    assert not any("together" in note for note in small.notes)


def test_the_busiest_device_bounds_the_roofline(grok_1: ModelConfig) -> None:
    def speed(mesh: str, batch: int = 1) -> float:
        found = on(grok_1, "8xH200", mesh=mesh).tokens_per_s(batch=batch)
        assert found is not None
        return found

    # One token's two experts lie on two devices of eight, each of which reads a whole one.
    assert speed("1x8") > 3 * speed("1x1x8")
    assert speed("1x8") == pytest.approx(speed("1x4x2"), rel=1e-9)  # at best one in each group
    # With many tokens every expert is needed, and so every device.
    assert speed("1x8", 64) == pytest.approx(speed("1x1x8", 64), rel=1e-6)
    # 32 devices compute 16 shares of the heads twice, and 32 of the experts once.
    more, fewer = (on(grok_1, "v6e-32", mesh=mesh) for mesh in ("1x16x2", "1x16"))
    one, other = more.tokens_per_s(batch=1), fewer.tokens_per_s(batch=1)
    assert one is not None
    assert other is not None
    assert other < one < 2 * other


def test_each_change_that_would_fit_does(grok_1: ModelConfig) -> None:
    tight = "cpu:390GB"
    changes = [change.split(" ") for change in would_fit(on(grok_1, tight, batch=8))]
    assert {option for option, _ in changes} == {
        "--devices",
        "--context",
        "--batch",
        "--kv-cache",
        "--requantise",
    }
    for option, value in changes:
        if option == "--kv-cache":
            assert on(grok_1, tight, batch=8, kv_cache=value).fits
        elif option == "--requantise":
            assert on(grok_1.requantised(128), tight, batch=8).fits
        elif option == "--devices":
            assert on(grok_1, value, batch=8).fits, value
        elif option == "--context":
            assert on(grok_1, tight, batch=8, context=int(value)).fits
            assert not on(grok_1, tight, batch=8, context=2 * int(value)).fits
        else:
            assert on(grok_1, tight, batch=int(value)).fits
            assert not on(grok_1, tight, batch=2 * int(value)).fits


def test_distinct_experts_grow_with_the_batch(grok_1: ModelConfig) -> None:
    found = [round(distinct_experts(grok_1, batch), 1) for batch in (1, 2, 4, 8, 16)]
    assert found == [2.0, 3.5, 5.5, 7.2, 7.9]
    made = on(grok_1, "8xH100")
    assert made.bytes_read(batch=10**4, tokens=0) <= made.copy_bytes
    one, many = made.tokens_per_s(batch=1), made.tokens_per_s(batch=64)
    assert one is not None
    assert many is not None
    assert 10 * one < many < 64 * one


def test_copies_share_a_batch() -> None:
    config = small_config()
    one, two = make_plan(config, TPU, mesh="1x4"), make_plan(config, TPU, mesh="2x4", batch=2)
    alone, together = one.tokens_per_s(batch=1), two.tokens_per_s(batch=2)
    assert alone is not None
    assert together == pytest.approx(2 * alone)
    odd = make_plan(config, TPU, mesh="2x4", batch=3)
    assert any("batch 3 does not divide over 2 copies" in note for note in odd.notes)


@pytest.mark.parametrize(
    ("text", "count", "memory"),
    [
        ("8xH100", 8, 80e9),
        ("h200", 1, 141e9),
        ("2xA100-40", 2, 40e9),
        ("v5p-8", 4, 95e9),
        ("v5e-16", 16, 16e9),
        ("16xv5e", 16, 16e9),
        ("cpu:512GB", 1, 512e9),
        ("cpu:1.5TiB", 1, 1.5 * 2**40),
    ],
)
def test_devices_as_a_person_types_them(text: str, count: int, memory: float) -> None:
    found = parse_devices(text)
    assert (found.count, found.memory_bytes) == (count, memory)
    assert found.usable_bytes < found.memory_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0xH100",
        "8x",
        "8xZ80",
        "-1xH100",
        "8 H100",
        "9999xH100",
        "x" * 200,
        "v5p-7",
        "v5e-0",
        "cpu",
        "cpu:",
        "cpu:0GB",
        "cpu:512",
        "cpu:9999999GB",
        "cpu:5GB@0GB/s",
        "8xcpu:5GB",
        "٣xH100",
    ],
)
def test_devices_that_are_none(text: str) -> None:
    with pytest.raises(DeviceError, match="expected") as caught:
        parse_devices(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "1x3"}, "do not divide over 3"),
        ({"mesh": "1x1x3"}, "num_experts 8 does not divide over 3 expert devices"),
        ({"mesh": "2x4x2"}, "needs 16 devices; 8xv5e has 8"),
        ({"mesh": "8"}, "expected DxM"),
        ({"mesh": "4x4"}, "needs 16 devices; 8xv5e has 8"),
        ({"context": 0}, "expected from 1 to 64"),
        ({"context": 65}, "expected from 1 to 64"),
        ({"batch": 0}, "expected from 1 to 65536"),
        ({"dtype": "float16"}, "expected one of float32, bfloat16"),
        ({"kv_cache": "int4"}, "expected int8, or none"),
    ],
)
def test_plans_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        make_plan(small_config(vocab_size=64, ffn_size=64), TPU, **options)


def test_every_figure_says_where_it_comes_from() -> None:
    for kind in DEVICES:
        assert kind.memory_evidence
        assert kind.bandwidth_evidence
    unverified = {kind.name for kind in DEVICES if "unverified" in kind.bandwidth_evidence}
    assert unverified == {"A100-40", "MI300X"}
    shown: Devices = parse_devices("MI300X")
    assert "unverified" in shown.evidence
