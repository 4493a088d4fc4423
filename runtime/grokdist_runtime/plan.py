"""What a model needs on given devices, and how fast it could be at most: arithmetic only.

Bytes follow from the table of tensors and the table of logical axes; how the runtime stores and
computes is restated here without JAX, since a plan must need no device, and tests hold it equal to
``params.bytes_per_device`` and ``kv_cache.cache_bytes``. Weights and cache are exact, activations
an estimate. The speed is the roofline of memory bandwidth: every byte that a token needs read once
at the peak rate, with no time for sums, communication or start of programs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

from grokdist_runtime.axis_rules import AxisRules
from grokdist_runtime.checkpoint.expert_int4 import DEFAULT_GROUP
from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    ITEM_SIZE,
    TensorSpec,
    tensor_table,
)
from grokdist_runtime.config import COMPUTE_DTYPES, ModelConfig, check_kv_cache
from grokdist_runtime.device_table import DEVICES, USABLE, Devices, of_kind
from grokdist_runtime.errors import DeviceError, RequantisationError
from grokdist_runtime.mesh_shape import (
    AUTO,
    MeshShape,
    auto_mesh,
    parse_mesh,
    sharer_counts,
    undivided,
)

MIN_BUCKET = 128
"""Tokens that the smallest cache has room for; equal to ``kv_cache.MIN_BUCKET``."""

MAX_CHUNK = 512
"""Tokens of a prompt taken in at once, at most; equal to ``runner.MAX_CHUNK``."""

MAX_BATCH = 1 << 16
_JAX_SHARE = 0.75  # of a GPU's memory, which JAX takes unless told otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bytes:
    """What one device holds.

    Attributes:
        weights: int8 matrices, scales, embedding, norms and routers; exact.
        kv_cache: Keys and values in their bucket; exact.
        activations: All else that is alive at once, in the largest step; estimated.
    """

    weights: int
    kv_cache: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.activations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One model on given devices.

    Attributes:
        config: The model.
        devices: What it is to run on.
        mesh: Devices along each axis.
        dtype: Of the embedding.
        cache_dtype: Of cached keys and values: ``dtype``, on a CPU float32; or ``int8`` with
            scales.
        context: Tokens of each sequence that there is to be room for.
        cache_tokens: The cache's bucket, which holds them.
        batch: Sequences at once.
        per_device: Bytes on each device, or on each of those that a host plays.
        needed: Bytes to compare with ``devices.usable_bytes``.
        notes: What is worth knowing about this plan.
    """

    config: ModelConfig
    devices: Devices
    mesh: MeshShape
    dtype: str
    cache_dtype: str
    context: int
    cache_tokens: int
    batch: int
    per_device: Bytes
    needed: int
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.needed <= self.devices.usable_bytes

    @property
    def copy_bytes(self) -> int:
        """Weights of one copy of the model, wherever its parts lie, each counted once."""
        return weight_bytes(self.config, MeshShape(), self.dtype).total

    @property
    def spare(self) -> int:
        """Bytes left over on each device; negative for those that are missing."""
        return self.devices.usable_bytes - self.needed

    def bytes_read(self, *, batch: int, tokens: int) -> int:
        """Bytes that one step of decoding reads on the devices of one copy of the model.

        Args:
            batch: Sequences that the copy continues by one token.
            tokens: Tokens in each sequence's cache.
        """
        held = weight_bytes(self.config, MeshShape(), self.dtype)
        used = distinct_experts(self.config, batch) / self.config.num_experts
        own = _cache_bytes(self.config, self.mesh, self.cache_dtype, batch, tokens)
        cache = own * self.mesh.sharers
        return held.rest + round(held.experts * used) + cache

    def tokens_per_s(self, *, batch: int, tokens: int = 0) -> float | None:
        """The roofline for all sequences together; None where the bandwidth is unknown."""
        if self.devices.bytes_per_s is None:
            return None
        data = self.mesh.data
        own = batch // data if batch % data == 0 else batch
        if self.devices.family == "host":
            # It has one memory, however many devices it plays, and that serves every copy.
            read = data * float(self.bytes_read(batch=own, tokens=tokens))
        else:
            read = self._busiest_read(batch=own, tokens=tokens)
        return batch * self.devices.bytes_per_s / read

    def _busiest_read(self, *, batch: int, tokens: int) -> float:
        """Bytes that one step reads on the device that has most to do, on which all others wait.

        Tensor parallelism gives all the same. Where experts are dealt out, some devices hold more
        of those that the tokens chose than others; copied heads are read by each copy.
        """
        config, mesh = self.config, self.mesh
        rules = AxisRules.for_shape(config, mesh)
        held = weight_bytes(config, MeshShape(), self.dtype)
        embedding = config.vocab_size * config.emb_size * ITEM_SIZE[self.dtype]
        used = busiest_experts(config, mesh.expert, batch) / config.num_experts
        return (
            held.experts * used / mesh.model
            + embedding / mesh.along(rules.vocab)
            + (held.rest - embedding) / mesh.along(rules.q_dim)
            + _cache_bytes(config, mesh, self.cache_dtype, batch, tokens)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightBytes:
    """Weights on one device: those of all experts, and the rest, of which each token reads all."""

    experts: int
    rest: int

    @property
    def total(self) -> int:
        """Both."""
        return self.experts + self.rest


def make_plan(
    config: ModelConfig,
    devices: Devices,
    *,
    mesh: str | None = None,
    context: int | None = None,
    batch: int = 1,
    dtype: str | None = None,
    kv_cache: str | None = None,
) -> Plan:
    """Plans one model on given devices.

    Args:
        config: The model.
        devices: What it is to run on.
        mesh: ``DxM`` or ``DxMxE``; None or ``auto`` for what ``run`` takes, ``auto_mesh``.
        context: Tokens of each sequence; None for all that the model can attend to.
        batch: Sequences at once.
        dtype: Compute dtype; None for the model's own.
        kv_cache: ``int8`` to round cached keys and values; None keeps the compute dtype.

    Raises:
        DeviceError: An argument is out of bounds, or the model cannot be split over the mesh.
    """
    context = config.sequence_len if context is None else context
    if not 1 <= context <= config.sequence_len:
        raise DeviceError(
            f"a context of {context} tokens is outside what the model was made for;"
            f" expected from 1 to {config.sequence_len}"
        )
    if not 1 <= batch <= MAX_BATCH:
        raise DeviceError(f"a batch of {batch} is not possible; expected from 1 to {MAX_BATCH}")
    asked = config.compute_dtype if dtype is None else dtype
    if asked not in COMPUTE_DTYPES:
        raise DeviceError(f"dtype is {asked[:40]!r}; expected one of {', '.join(COMPUTE_DTYPES)}")
    check_kv_cache(kv_cache)
    shape = _mesh(config, devices, mesh, batch)
    on_host = devices.family == "host"
    computed = "float32" if on_host else asked
    size = bucket_size(context)
    own = batch if batch % shape.data else batch // shape.data
    cached = kv_cache or computed
    cache = _cache_bytes(config, shape, cached, own, size)
    growing = cache // 2 if size > MIN_BUCKET else 0  # the smaller bucket, while it is copied
    per_device = Bytes(
        weights=weight_bytes(config, shape, asked).total,
        kv_cache=cache,
        activations=max(_activation_bytes(config, shape, computed, own, size), growing),
    )
    needed = per_device.total * (shape.devices if on_host else 1)
    return Plan(
        config=config,
        devices=devices,
        mesh=shape,
        dtype=asked,
        cache_dtype=cached,
        context=context,
        cache_tokens=size,
        batch=batch,
        per_device=per_device,
        needed=needed,
        notes=tuple(_notes(config, devices, shape, asked, batch, needed)),
    )


def would_fit(plan: Plan) -> tuple[str, ...]:
    """Changes that would each make a plan fit that does not, as options to type.

    Those that round come last: they give another model, or other keys and values.
    """
    if plan.fits:
        return ()
    anew = functools.partial(
        make_plan,
        dtype=None if plan.devices.family == "host" else plan.dtype,
        kv_cache="int8" if plan.cache_dtype == "int8" else None,
    )
    again = functools.partial(anew, plan.config)
    found = []
    own = plan.devices.name.partition("x")[2]
    for kind in sorted(DEVICES, key=lambda kind: kind.name != own):
        for count in sharer_counts(plan.config):
            if again(of_kind(kind, count), context=plan.context, batch=plan.batch).fits:
                found.append(f"--devices {count}x{kind.name}")
                break
    if plan.devices.family == "host":
        found.append(f"--devices cpu:{math.ceil(plan.needed / USABLE / 1e9)}GB")
    here = functools.partial(again, plan.devices, mesh=str(plan.mesh))
    for tokens in _halvings(plan.cache_tokens, MIN_BUCKET):
        if here(context=tokens, batch=plan.batch).fits:
            found.append(f"--context {tokens}")
            break
    for batch in _halvings(plan.batch, 1):
        if here(context=plan.context, batch=batch).fits:
            found.append(f"--batch {batch}")
            break
    same: dict[str, Any] = {"context": plan.context, "batch": plan.batch}
    if here(**same, kv_cache="int8").fits:
        found.append("--kv-cache int8")
    with contextlib.suppress(DeviceError, RequantisationError):
        smaller = plan.config.requantised(DEFAULT_GROUP)
        if anew(smaller, plan.devices, mesh=str(plan.mesh), **same).fits:
            found.append("--requantise int4")
    return tuple(found)


@functools.lru_cache(maxsize=64)
def weight_bytes(config: ModelConfig, mesh: MeshShape, dtype: str) -> WeightBytes:
    """Weights on each device."""
    rules = AxisRules.for_shape(config, mesh)
    experts = rest = 0
    for tensor in tensor_table(config):
        held = _tensor_bytes(tensor, rules, mesh, dtype)
        if tensor.axes[0] == "experts":
            experts += held
        else:
            rest += held
    return WeightBytes(experts=experts, rest=rest)


def bucket_size(tokens: int) -> int:
    """The cache's bucket with room for so many tokens: a power of two."""
    return max(MIN_BUCKET, 1 << max(tokens - 1, 0).bit_length())


def distinct_experts(config: ModelConfig, batch: int) -> float:
    """Experts of a layer that a step needs on average, if tokens choose among them evenly."""
    rest = 1 - config.num_selected_experts / config.num_experts
    return float(config.num_experts * (1 - rest**batch))


def busiest_experts(config: ModelConfig, groups: int, batch: int) -> float:
    """Of ``distinct_experts``, how many the fullest of so many groups holds at least."""
    even = distinct_experts(config, batch) / groups
    return max(even, math.ceil(config.num_selected_experts / groups))


def _tensor_bytes(tensor: TensorSpec, rules: AxisRules, mesh: MeshShape, dtype: str) -> int:
    split = math.prod(mesh.along(rules.axes(axis)) for axis in tensor.axes)
    stored = dtype if tensor.name == EMBEDDINGS else tensor.dtype
    held = math.prod(tensor.shape) // split * ITEM_SIZE[stored]
    if tensor.scales_shape is None:
        return held
    rows, groups = tensor.shape[-2], tensor.scales_shape[-2]
    parts = mesh.along(rules.axes(tensor.axes[-2]))
    units = rows // math.gcd(rows // groups, rows // parts)  # as quantised.scale_groups
    scales = math.prod((*tensor.shape[:-2], units, tensor.shape[-1]))
    return held + scales // split * ITEM_SIZE[tensor.scales_dtypes[-1]]


def _cache_bytes(config: ModelConfig, mesh: MeshShape, dtype: str, batch: int, tokens: int) -> int:
    """Keys and values on one device; ``batch`` sequences are this device's own."""
    scale = ITEM_SIZE["float32"] if dtype == "int8" else 0
    per_head = config.key_size * ITEM_SIZE[dtype] + scale
    return 2 * config.num_layers * _kv_heads(config, mesh) * batch * tokens * per_head


def _kv_heads(config: ModelConfig, mesh: MeshShape) -> int:
    """Key and value heads in one device's cache, as ``ModelSpec.local_kv_heads``."""
    shards = mesh.along(AxisRules.for_shape(config, mesh).q_dim)
    if config.num_kv_heads % shards == 0:
        return config.num_kv_heads // shards
    return 1 if shards % config.num_kv_heads == 0 else config.num_q_heads // shards


def _activation_bytes(
    config: ModelConfig, mesh: MeshShape, dtype: str, batch: int, tokens: int
) -> int:
    """Bytes alive at once while a chunk of each sequence's prompt is taken in.

    Counts the arrays of ``layers`` and ``moe`` one by one, each phase's at its fullest, and one
    matrix widened from int8, which XLA may write out.
    """
    wide = ITEM_SIZE["float32"]
    chunk = min(MAX_CHUNK, tokens)
    rows, emb = batch * chunk, config.emb_size
    pairs = rows * config.num_selected_experts
    heads = config.num_q_heads // mesh.along(AxisRules.for_shape(config, mesh).q_dim)
    ffn = config.ffn_size // mesh.model
    stream = 6 * rows * emb * wide  # residual, normalised, sums and their copies
    q_and_mixed = 4 * rows * heads * config.key_size * wide
    logits = 3 * batch * heads * chunk * tokens * wide  # capped, masked, weights
    layer_cache = _cache_bytes(config, mesh, dtype, batch, tokens) // config.num_layers
    attention = q_and_mixed + logits + layer_cache
    block = min(64, pairs)
    moe = 4 * (pairs + block) * emb * wide + 3 * block * ffn * wide
    head = 4 * batch * config.vocab_size * wide  # logits, and what sampling sorts
    widened = emb * max(ffn, heads * config.key_size) * ITEM_SIZE[dtype]
    return stream + widened + max(attention, moe, head)


def _mesh(config: ModelConfig, devices: Devices, text: str | None, batch: int) -> MeshShape:
    if text is None or text == AUTO:
        return auto_mesh(config, devices.count, batch=batch)
    shape = parse_mesh(text)
    AxisRules.for_shape(config, shape)
    if devices.family != "host" and shape.devices > devices.count:
        raise DeviceError(
            f"mesh {shape} needs {shape.devices} devices; {devices.name} has {devices.count}"
        )
    return shape


def _halvings(start: int, least: int) -> Iterator[int]:
    while (start := start // 2) >= least:
        yield start


def _notes(
    config: ModelConfig,
    devices: Devices,
    mesh: MeshShape,
    asked: str,
    batch: int,
    needed: int,
) -> Iterator[str]:
    if devices.family == "host":
        if asked != "float32":
            yield f"a CPU computes in float32 and rounds to {asked} the embedding alone"
        if devices.bytes_per_s is None:
            yield "the memory's bandwidth is unknown, and the roofline with it: cpu:SIZE@RATEGB/s"
    elif (idle := devices.count - mesh.devices) > 0:
        why = undivided(config, MeshShape(model=devices.count))
        because = f": {why}" if why else ""
        yield f"{idle} of {devices.count} devices stay idle with mesh {mesh}{because}"
        room = devices.usable_bytes
        if needed > room and needed * mesh.sharers <= room * devices.count:
            yield f"all {devices.count} together have the room; it is the split that does not fit"
    heads = mesh.along(AxisRules.for_shape(config, mesh).q_dim)
    if heads < mesh.sharers:
        yield (
            f"{config.num_q_heads} query heads do not divide over {mesh.sharers} devices: they go"
            f" over {heads}, and {mesh.sharers // heads} devices each compute the same ones"
        )
    if config.num_kv_heads % heads:
        yield (
            f"{config.num_kv_heads} key and value heads do not divide over {heads} devices:"
            " their weights are copied to each"
        )
    if mesh.expert > 1:
        yield (
            f"experts lie in {mesh.expert} groups: with few tokens some devices wait for others,"
            " longer than the roofline says"
        )
    if mesh.data > 1 and batch % mesh.data:
        yield f"batch {batch} does not divide over {mesh.data} copies: each does all of it"
    if (
        devices.family == "gpu"
        and _JAX_SHARE * devices.memory_bytes < needed <= devices.usable_bytes
    ):
        yield "JAX takes 75 % of a GPU unless told: XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
