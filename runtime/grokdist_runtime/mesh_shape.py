"""Devices along each axis of a mesh: how a person writes that, what divides, what ``auto`` takes.

``data`` copies the model and splits batches, ``model`` is tensor parallelism, ``expert`` deals out
whole experts. What is cut along which axis is in ``axis_rules``. No JAX, since plans are made about
devices that are elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.errors import DeviceError

DATA = "data"
MODEL = "model"
EXPERT = "expert"
AXES = (DATA, MODEL, EXPERT)
"""In the order of the devices: those that share a copy of the model are neighbours."""

AUTO = "auto"
"""What a person writes for ``auto_mesh``; the same as nothing."""

_TEXT = re.compile(
    r"(?P<data>[1-9][0-9]{0,3})x(?P<model>[1-9][0-9]{0,3})(?:x(?P<expert>[1-9][0-9]{0,3}))?",
    re.ASCII,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Devices along each axis.

    Attributes:
        data: Copies of the model.
        model: Parts that each expert is cut into, and heads and vocabulary with it.
        expert: Groups of devices that the experts are dealt out to.
    """

    data: int = 1
    model: int = 1
    expert: int = 1

    def __str__(self) -> str:
        text = f"{self.data}x{self.model}"
        return text if self.expert == 1 else f"{text}x{self.expert}"

    @property
    def devices(self) -> int:
        """All of them."""
        return self.data * self.sharers

    @property
    def sharers(self) -> int:
        """Devices that share one copy of the model."""
        return self.model * self.expert

    def along(self, axes: tuple[str, ...]) -> int:
        """Parts that a dimension is cut into if it is cut along all of these axes."""
        return math.prod(getattr(self, axis) for axis in axes)


def parse_mesh(text: str) -> MeshShape:
    """Reads ``"DxM"`` or ``"DxMxE"``: data by model by expert; ``E`` is 1 where it is left out.

    Raises:
        DeviceError: The text is not two or three numbers from 1 to 9999 with an ``x`` between.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise DeviceError(
            f"mesh is {shown!r}; expected DxM, DxMxE (data by model by expert devices) or {AUTO}",
            hint="for example --mesh 1x8 splits the model over 8 devices",
        )
    return MeshShape(
        data=int(match["data"]), model=int(match["model"]), expert=int(match["expert"] or 1)
    )


def undivided(config: ModelConfig, shape: MeshShape) -> str:
    """Which sizes of the model do not divide over the mesh, as a phrase; empty if all do."""
    along_model = (
        ("num_q_heads", config.num_q_heads),
        ("ffn_size / 2" if config.expert_int4_group else "ffn_size", config.ffn_pieces),
        ("vocab_size", config.vocab_size),
    )
    bad = [f"{what} {size}" for what, size in along_model if size % shape.model]
    phrases = []
    if bad:
        verb = "do" if len(bad) > 1 else "does"
        phrases.append(f"{' and '.join(bad)} {verb} not divide over {shape.model} model devices")
    if config.num_experts % shape.expert:
        phrases.append(
            f"num_experts {config.num_experts} does not divide over {shape.expert} expert devices"
        )
    return "; ".join(phrases)


def auto_mesh(config: ModelConfig, devices: int, *, batch: int = 1) -> MeshShape:
    """The mesh for so many devices.

    1. One copy goes over as many devices as can share it: each then holds and reads least, but for
       key and value weights, which are copied where their heads do not divide.
    2. Of two ways to share a copy over these, the one with more tensor parallelism: with few tokens
       most experts rest, and a device that holds whole experts rests with them. Experts are dealt
       out only where heads, hidden columns or vocabulary divide no further.
    3. Devices left over carry further copies, as far as the batch divides over these.
    """
    for count in range(devices, 1, -1):
        for shape in _ways_to_share(config, count):
            most = devices // count
            copies = max(data for data in range(1, most + 1) if batch % data == 0)
            return dataclasses.replace(shape, data=copies)
    return MeshShape(data=max(data for data in range(1, devices + 1) if batch % data == 0))


def sharer_counts(config: ModelConfig) -> list[int]:
    """How many devices can share one copy of the model, ascending."""
    by_model = _divisors(math.gcd(config.num_q_heads, config.ffn_pieces, config.vocab_size))
    by_expert = _divisors(config.num_experts)
    return sorted({model * expert for model in by_model for expert in by_expert})


def _ways_to_share(config: ModelConfig, count: int) -> Iterator[MeshShape]:
    """Meshes of so many devices with one copy of the model; most tensor parallelism first."""
    for expert in _divisors(math.gcd(config.num_experts, count)):
        shape = MeshShape(model=count // expert, expert=expert)
        if not undivided(config, shape):
            yield shape


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]
