"""What a model needs on given devices, and how fast it could be at most: arithmetic only.

Bytes follow from the one table of tensors and from the rules by which the runtime splits, stores
and computes; they are restated here without JAX, since a plan must need no device, and tests hold
them equal to ``params.bytes_per_device`` and ``kv_cache.cache_bytes``. Weights and cache are exact;
activations are an estimate. The speed is the roofline of memory bandwidth: every byte that a token
needs read once at the peak rate, with no time for sums, communication or start of programs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

from grokdist_runtime.checkpoint.tensor_table import (
    EMBEDDINGS,
    ITEM_SIZE,
    TensorSpec,
    tensor_table,
)
from grokdist_runtime.config import COMPUTE_DTYPES, ModelConfig, check_kv_cache
from grokdist_runtime.device_table import DEVICES, USABLE, Devices, of_kind
from grokdist_runtime.errors import DeviceError

MIN_BUCKET = 128
"""Tokens that the smallest cache has room for; equal to ``kv_cache.MIN_BUCKET``."""

MAX_CHUNK = 256
"""Tokens of a prompt taken in at once, at most; equal to ``runner.MAX_CHUNK``."""

MAX_BATCH = 1 << 16
_SCALES_DTYPE = "float32"  # whatever the checkpoint has
_SPLIT_AXES = ("vocab", "ffn", "q_dim")
_JAX_SHARE = 0.75  # of a GPU's memory, which JAX takes unless told otherwise
_MESH = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", re.ASCII)


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
        mesh: Copies of the model, and devices that share each copy.
        dtype: Of the embedding; a CPU has float32 whatever was asked for.
        cache_dtype: Of cached keys and values: ``dtype``, or ``int8`` with scales.
        context: Tokens of each sequence that there is to be room for.
        cache_tokens: The cache's bucket, which holds them.
        batch: Sequences at once.
        per_device: Bytes on each device, or on each of those that a host plays.
        needed: Bytes to compare with ``devices.usable_bytes``.
        notes: What is worth knowing about this plan.
    """

    config: ModelConfig
    devices: Devices
    mesh: tuple[int, int]
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
        return weight_bytes(self.config, 1, self.dtype).total

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
        held = weight_bytes(self.config, 1, self.dtype)
        used = distinct_experts(self.config, batch) / self.config.num_experts
        own = _cache_bytes(self.config, self.mesh[1], self.cache_dtype, batch, tokens)
        cache = own * self.mesh[1]
        return held.rest + round(held.experts * used) + cache

    def tokens_per_s(self, *, batch: int, tokens: int = 0) -> float | None:
        """The roofline for all sequences together; None where the bandwidth is unknown."""
        if self.devices.bytes_per_s is None:
            return None
        data, model = self.mesh
        own = batch // data if batch % data == 0 else batch
        # A host has one memory, however many devices it plays, and it serves every copy.
        readers = 1 / data if self.devices.family == "host" else model
        read = self.bytes_read(batch=own, tokens=tokens)
        return batch * self.devices.bytes_per_s * readers / read


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
        mesh: ``DxM``; None for what ``run`` takes: one copy, over as many as it divides over.
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
    data, model = sizes = _mesh(config, devices, mesh)
    on_host = devices.family == "host"
    held = "float32" if on_host else asked
    size = bucket_size(context)
    own = batch // data if batch % data == 0 else batch
    cached = kv_cache or held
    cache = _cache_bytes(config, model, cached, own, size)
    growing = cache // 2 if size > MIN_BUCKET else 0  # the smaller bucket, while it is copied
    per_device = Bytes(
        weights=weight_bytes(config, model, held).total,
        kv_cache=cache,
        activations=max(_activation_bytes(config, model, held, own, size), growing),
    )
    needed = per_device.total * (data * model if on_host else 1)
    return Plan(
        config=config,
        devices=devices,
        mesh=sizes,
        dtype=held,
        cache_dtype=cached,
        context=context,
        cache_tokens=size,
        batch=batch,
        per_device=per_device,
        needed=needed,
        notes=tuple(_notes(config, devices, sizes, asked, batch, needed)),
    )


def would_fit(plan: Plan) -> tuple[str, ...]:
    """Changes that would each make a plan fit that does not, as options to type."""
    if plan.fits:
        return ()
    again = functools.partial(
        make_plan,
        plan.config,
        dtype=None if plan.devices.family == "host" else plan.dtype,
        kv_cache="int8" if plan.cache_dtype == "int8" else None,
    )
    found = []
    own = plan.devices.name.partition("x")[2]
    for kind in sorted(DEVICES, key=lambda kind: kind.name != own):
        for count in _divisors(plan.config):
            if again(of_kind(kind, count), context=plan.context, batch=plan.batch).fits:
                found.append(f"--devices {count}x{kind.name}")
                break
    if plan.devices.family == "host":
        found.append(f"--devices cpu:{math.ceil(plan.needed / USABLE / 1e9)}GB")
    here = functools.partial(again, plan.devices, mesh=f"{plan.mesh[0]}x{plan.mesh[1]}")
    for tokens in _halvings(plan.cache_tokens, MIN_BUCKET):
        if here(context=tokens, batch=plan.batch).fits:
            found.append(f"--context {tokens}")
            break
    for batch in _halvings(plan.batch, 1):
        if here(context=plan.context, batch=batch).fits:
            found.append(f"--batch {batch}")
            break
    return tuple(found)


@functools.lru_cache(maxsize=64)
def weight_bytes(config: ModelConfig, shards: int, dtype: str) -> WeightBytes:
    """Weights on each of the devices that share one copy of the model."""
    experts = rest = 0
    for tensor in tensor_table(config):
        held = _tensor_bytes(config, tensor, shards, dtype)
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


def _tensor_bytes(config: ModelConfig, tensor: TensorSpec, shards: int, dtype: str) -> int:
    split = math.prod(shards for axis in tensor.axes if _is_split(config, axis, shards))
    stored = dtype if tensor.name == EMBEDDINGS else tensor.dtype
    held = math.prod(tensor.shape) // split * ITEM_SIZE[stored]
    if tensor.scales_shape is None:
        return held
    rows, groups = tensor.shape[-2], tensor.scales_shape[-2]
    parts = shards if _is_split(config, tensor.axes[-2], shards) else 1
    units = rows // math.gcd(rows // groups, rows // parts)  # as quantised.scale_groups
    scales = math.prod((*tensor.shape[:-2], units, tensor.shape[-1]))
    return held + scales // split * ITEM_SIZE[_SCALES_DTYPE]


def _is_split(config: ModelConfig, axis: str, shards: int) -> bool:
    if axis == "kv_dim":
        return config.num_kv_heads % shards == 0
    return axis in _SPLIT_AXES


def _cache_bytes(config: ModelConfig, shards: int, dtype: str, batch: int, tokens: int) -> int:
    """Keys and values on one device; ``batch`` sequences are this device's own."""
    scale = ITEM_SIZE[_SCALES_DTYPE] if dtype == "int8" else 0
    per_head = config.key_size * ITEM_SIZE[dtype] + scale
    return 2 * config.num_layers * _kv_heads(config, shards) * batch * tokens * per_head


def _kv_heads(config: ModelConfig, shards: int) -> int:
    """Key and value heads in one device's cache, as ``ModelSpec.local_kv_heads``."""
    if config.num_kv_heads % shards == 0:
        return config.num_kv_heads // shards
    return 1 if shards % config.num_kv_heads == 0 else config.num_q_heads // shards


def _activation_bytes(config: ModelConfig, shards: int, dtype: str, batch: int, tokens: int) -> int:
    """Bytes alive at once while a chunk of each sequence's prompt is taken in.

    Counts the arrays of ``layers`` and ``moe`` one by one, each phase's at its fullest, and one
    matrix widened from int8, which XLA may write out.
    """
    wide = ITEM_SIZE["float32"]
    chunk = min(MAX_CHUNK, tokens)
    rows, emb = batch * chunk, config.emb_size
    pairs = rows * config.num_selected_experts
    heads, ffn = config.num_q_heads // shards, config.ffn_size // shards
    stream = 6 * rows * emb * wide  # residual, normalised, sums and their copies
    q_and_mixed = 4 * rows * heads * config.key_size * wide
    logits = 3 * batch * heads * chunk * tokens * wide  # capped, masked, weights
    layer_cache = _cache_bytes(config, shards, dtype, batch, tokens) // config.num_layers
    attention = q_and_mixed + logits + layer_cache
    block = min(64, pairs)
    moe = 4 * (pairs + block) * emb * wide + 3 * block * ffn * wide
    head = 4 * batch * config.vocab_size * wide  # logits, and what sampling sorts
    widened = emb * max(ffn, heads * config.key_size) * ITEM_SIZE[dtype]
    return stream + widened + max(attention, moe, head)


def _mesh(config: ModelConfig, devices: Devices, text: str | None) -> tuple[int, int]:
    if text is None:
        counts = [count for count in _divisors(config) if count <= devices.count]
        return 1, max(counts)
    match = _MESH.fullmatch(text)
    if match is None:
        raise DeviceError(
            f"mesh is {text[:40]!r}; expected DxM, data by model devices",
            hint="for example --mesh 1x8 splits the model over 8 devices",
        )
    data, model = int(match[1]), int(match[2])
    if (bad := _undivided(config, model)) != "":
        raise DeviceError(
            f"mesh {text}: {bad} over {model} devices",
            hint=f"expected M one of {', '.join(map(str, _divisors(config)))}",
        )
    if devices.family != "host" and data * model > devices.count:
        raise DeviceError(
            f"mesh {text} needs {data * model} devices; {devices.name} has {devices.count}"
        )
    return data, model


def _undivided(config: ModelConfig, shards: int) -> str:
    """What of the model cannot be split over so many devices; empty if all can."""
    sizes = (
        ("num_q_heads", config.num_q_heads),
        ("ffn_size", config.ffn_size),
        ("vocab_size", config.vocab_size),
    )
    bad = [f"{what} {size}" for what, size in sizes if size % shards]
    return f"{' and '.join(bad)} {'do' if len(bad) > 1 else 'does'} not divide" if bad else ""


def _divisors(config: ModelConfig) -> list[int]:
    """How many devices can share one copy of the model, ascending."""
    most = math.gcd(config.num_q_heads, config.ffn_size, config.vocab_size)
    return [count for count in range(1, most + 1) if most % count == 0]


def _halvings(start: int, least: int) -> Iterator[int]:
    while (start := start // 2) >= least:
        yield start


def _notes(
    config: ModelConfig,
    devices: Devices,
    mesh: tuple[int, int],
    asked: str,
    batch: int,
    needed: int,
) -> Iterator[str]:
    data, model = mesh
    if devices.family == "host":
        if asked != "float32":
            yield f"a CPU computes in float32, which is finer than {asked}"
        if devices.bytes_per_s is None:
            yield "the memory's bandwidth is unknown, and the roofline with it: cpu:SIZE@RATEGB/s"
    elif (idle := devices.count - data * model) > 0:
        why = _undivided(config, devices.count)
        because = f": {why} over {devices.count}" if why else ""
        yield f"{idle} of {devices.count} devices stay idle with mesh {data}x{model}{because}"
        room = devices.usable_bytes
        if needed > room and needed * model <= room * devices.count:
            yield f"all {devices.count} together have the room; it is the split that does not fit"
    if config.num_kv_heads % model:
        yield (
            f"{config.num_kv_heads} key and value heads do not divide over {model} devices:"
            " their weights are copied to each"
        )
    if data > 1 and batch % data:
        yield f"batch {batch} does not divide over {data} copies: each does all of it"
    if (
        devices.family == "gpu"
        and _JAX_SHARE * devices.memory_bytes < needed <= devices.usable_bytes
    ):
        yield "JAX takes 75 % of a GPU unless told: XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
