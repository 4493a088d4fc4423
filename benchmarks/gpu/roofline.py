"""From one device to eight: bytes that must be read, and what summing over devices costs.

The communication model, stated: tensor parallelism sums the residual stream over devices twice a
layer and once for the embedding, and gathers the logits. Each takes a latency and its bytes over
the bandwidth of a ring, ``2 (n - 1) / n`` of the array for a sum and half of that for a gather;
nothing overlaps with anything. Latency and bandwidth are arguments, not measurements.
"""

from __future__ import annotations

import dataclasses

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.device_table import DEVICES, DeviceKind, of_kind
from grokdist_runtime.plan import make_plan

ALL_REDUCE_S = 10e-6
"""Assumed. github.com/NVIDIA/nccl/issues/1259 has 6 us for small sums over 2 H100, more over 8."""

BUS_BYTES_PER_S = 365e9
"""Of NCCL's ring over 8 H100 with gigabytes, github.com/NVIDIA/nccl/issues/1455."""

GPT_FAST = 73.04
"""Tokens a second, the best public figure: 8 A100, github.com/meta-pytorch/gpt-fast/pull/171."""

_FLOAT32 = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Communication:
    """Devices that share a model, and how they exchange.

    Attributes:
        devices: How many.
        latency_s: Of one collective, however small.
        bytes_per_s: Bus bandwidth, as nccl-tests define it.
    """

    devices: int
    latency_s: float = ALL_REDUCE_S
    bytes_per_s: float = BUS_BYTES_PER_S

    def all_reduce_s(self, nbytes: int) -> float:
        """Seconds to sum arrays of so many bytes over the devices."""
        moved = 2 * (self.devices - 1) / self.devices * nbytes
        return self.latency_s + moved / self.bytes_per_s

    def all_gather_s(self, nbytes: int) -> float:
        """Seconds until every device has all parts of an array of so many bytes."""
        moved = (self.devices - 1) / self.devices * nbytes
        return self.latency_s + moved / self.bytes_per_s

    def step_s(self, config: ModelConfig, batch: int) -> float:
        """Seconds of one step of decoding the whole model."""
        stream = self.all_reduce_s(batch * config.emb_size * _FLOAT32)
        logits = self.all_gather_s(batch * config.vocab_size * _FLOAT32)
        return (2 * config.num_layers + 1) * stream + logits


def step_bytes(config: ModelConfig, kind: DeviceKind, *, batch: int, tokens: int) -> int:
    """Bytes that a step reads if each is read once, experts as a batch needs on average."""
    plan = make_plan(config, of_kind(kind, 1), mesh="1x1", context=tokens, batch=batch)
    return plan.bytes_read(batch=batch, tokens=tokens)


def peak_tokens_per_s(config: ModelConfig, kind: DeviceKind, devices: int) -> float:
    """The roofline of ``grokdist plan`` for one sequence with an empty cache."""
    found = make_plan(config, of_kind(kind, devices)).tokens_per_s(batch=1)
    if found is None:
        raise ValueError(f"the bandwidth of {kind.name} is unknown")
    return found


def kind_of(device_kind: str) -> DeviceKind | None:
    """The entry of the device table for what JAX calls a device; None where there is none."""
    named = [kind for kind in DEVICES if kind.name.lower() in device_kind.lower()]
    return max(named, key=lambda kind: len(kind.name), default=None)
