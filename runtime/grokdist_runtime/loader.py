"""From files to sharded device arrays: each host reads its own part, once and to where it stays.

On a CPU the arrays are main memory: files that were converted for this mesh are mapped and used in
place, all else is read by several threads straight into the memory that JAX then uses. For an
accelerator layers are read ahead, at most two at once, and put into stacks that were allocated on
the devices. Reading files safely is left to ``grokdist_runtime.checkpoint``.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import DTypeLike

from grokdist_runtime.checkpoint.checkpoint_directory import Checkpoint
from grokdist_runtime.checkpoint.file_map import map_ranges
from grokdist_runtime.checkpoint.parts import Box
from grokdist_runtime.checkpoint.stored_tensor import FileRange, StoredTensor
from grokdist_runtime.errors import DeviceError
from grokdist_runtime.host_buffer import empty
from grokdist_runtime.parallel_read import Fill, read_all
from grokdist_runtime.params import ParamInfo, Weights, abstract_weights, bytes_per_device
from grokdist_runtime.requantised import bytes_to_read, is_to_be_rounded, load_rounded
from grokdist_runtime.spec import ModelSpec

Array = np.ndarray[Any, Any]
Corner = tuple[tuple[int, int], ...]
"""A box that can be a key: start and stop along each dimension."""

Source = tuple[StoredTensor, Box, np.ndarray[Any, np.dtype[np.intp]] | None]
"""A tensor, what of it is wanted, and which rows repeat; see ``Fill``."""

OnBytes = Callable[[int, int], None]
"""Told of bytes read since it was last called, and of how many will be read in all."""


def ignore(count: int, total: int) -> None:
    """Listens to nothing."""


def load_weights(
    checkpoint: Checkpoint, spec: ModelSpec, *, on_bytes: OnBytes = ignore
) -> Weights[jax.Array]:
    """Puts every tensor of the model onto the mesh's devices.

    The arrays may share memory with files, which must not be truncated meanwhile, and with each
    other: never donate them.

    Args:
        checkpoint: Where the tensors are.
        spec: The model and its mesh.
        on_bytes: Told of bytes as they are read; what is used in place is not read.

    Raises:
        DeviceError: The model does not fit into the memory of its devices.
        CheckpointError: A file is not the one that was opened, or a part that is needed is in no
            file.
    """
    check_memory(spec)
    tree = abstract_weights(spec)
    if is_to_be_rounded(checkpoint, tree.layers.gate):
        return _load_rounding_experts(checkpoint, tree, spec, on_bytes)
    return _load(checkpoint, tree, spec, on_bytes)


def _load_rounding_experts(
    checkpoint: Checkpoint, tree: Weights[ParamInfo], spec: ModelSpec, on_bytes: OnBytes
) -> Weights[jax.Array]:
    """All but the experts as it is, and then these, which take as long as rounding takes."""
    experts = {name: getattr(tree.layers, name) for name in ("gate", "up", "down")}
    # An empty tuple is a tree without leaves: nothing is loaded for it.
    nothing: dict[str, Any] = dict.fromkeys(experts, ())
    rest = dataclasses.replace(tree.layers, **nothing)
    more = sum(bytes_to_read(held, spec) for held in experts.values())
    total = more

    def of_rest(count: int, known: int) -> None:
        nonlocal total
        total = known + more
        on_bytes(count, total)

    weights = _load(checkpoint, dataclasses.replace(tree, layers=rest), spec, of_rest)
    rounded: dict[str, Any] = {
        name: load_rounded(checkpoint, held, spec, lambda count: on_bytes(count, total))
        for name, held in experts.items()
    }
    return dataclasses.replace(weights, layers=dataclasses.replace(weights.layers, **rounded))


def _load(
    checkpoint: Checkpoint, tree: Weights[ParamInfo], spec: ModelSpec, on_bytes: OnBytes
) -> Weights[jax.Array]:
    if spec.on_cpu:
        leaves, shape = jax.tree.flatten(tree)
        held = _hold(checkpoint, leaves, spec, in_place=True)
        total = _bytes(held)
        read_all(_fills(held), on_bytes=lambda count: on_bytes(count, total))
        weights: Weights[jax.Array] = jax.tree.unflatten(shape, _on_devices(held))
        return weights
    return _load_by_layer(checkpoint, tree, spec, on_bytes)


def _load_by_layer(
    checkpoint: Checkpoint, tree: Weights[ParamInfo], spec: ModelSpec, on_bytes: OnBytes
) -> Weights[jax.Array]:
    leaves, shape = jax.tree.flatten(tree.layers)
    shardings = [info.sharding(spec) for info in leaves]
    single = [tree.embedding, tree.final_norm]

    def allocate() -> Any:
        return [jnp.zeros(info.shape, info.dtype) for info in leaves]

    def fill(stack: Any, part: Any, layer: jax.Array) -> Any:
        return [
            lax.dynamic_update_index_in_dim(whole, one, layer, 0)
            for whole, one in zip(stack, part, strict=True)
        ]

    def hold(infos: Sequence[ParamInfo]) -> list[_Held]:
        return _hold(checkpoint, infos, spec, in_place=False)

    def read(infos: Sequence[ParamInfo]) -> list[_Held]:
        parts = hold(infos)
        read_all(_fills(parts), on_bytes=lambda count: on_bytes(count, total))
        return parts

    depth = spec.config.num_layers
    layers = [[_of_layer(info, layer) for info in leaves] for layer in range(depth)]
    total = sum(_bytes(hold(infos)) for infos in (single, *layers))
    stack = jax.jit(allocate, out_shardings=shardings)()
    fill_jit = jax.jit(fill, donate_argnums=0, out_shardings=shardings)
    with ThreadPoolExecutor(1, thread_name_prefix="layer") as ahead:
        coming = ahead.submit(read, layers[0])
        for layer in range(depth):
            part = _on_devices(coming.result())
            coming = ahead.submit(read, layers[layer + 1] if layer + 1 < depth else single)
            # Waiting keeps at most this layer and the one that is being read in main memory.
            stack = jax.block_until_ready(fill_jit(stack, part, np.int32(layer)))
            del part
        embedding, final_norm = _on_devices(coming.result())
    return Weights(
        embedding=embedding, final_norm=final_norm, layers=jax.tree.unflatten(shape, stack)
    )


def check_memory(spec: ModelSpec) -> None:
    """Compares the weights with the memory there is; leaves cache and activations out.

    Raises:
        DeviceError: The weights alone are larger than a device's memory.
    """
    needed = bytes_per_device(spec)
    local = spec.mesh.local_devices
    stats = local[0].memory_stats()
    if stats and "bytes_limit" in stats:
        room, where = int(stats["bytes_limit"]), f"each {local[0].device_kind} has"
    elif spec.on_cpu and hasattr(os, "sysconf"):
        needed *= len(local)  # simulated devices share the machine's memory
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        where = "this machine has"
    else:
        return
    if needed > room:
        raise DeviceError(
            f"the weights need {needed / 1e9:.1f} GB of memory; {where} {room / 1e9:.1f} GB",
            hint="split the model over more devices with --mesh 1xN",
        )


class _Held:
    """One array of the model, as far as this host's devices hold it.

    Attributes:
        fills: What is to be read, once there is memory for it.
    """

    def __init__(
        self, checkpoint: Checkpoint, info: ParamInfo, spec: ModelSpec, *, in_place: bool
    ) -> None:
        self._info = info
        self._sharding = info.sharding(spec)
        self._corners: Mapping[jax.Device, Corner] = {
            device: _corner(index, info.shape)
            for device, index in self._sharding.addressable_devices_indices_map(info.shape).items()
            if index is not None
        }
        self._arrays: dict[Corner, Array] = {}
        self._to_read: dict[Corner, list[Source]] = {}
        self.fills: list[Fill] = []
        for corner in dict.fromkeys(self._corners.values()):  # copies share one part
            sources = list(_sources(checkpoint, info, corner))
            array = _mapped(sources, info, corner) if in_place else None
            if array is None:
                self._to_read[corner] = sources
            else:
                self._arrays[corner] = array

    @property
    def wanted(self) -> list[tuple[tuple[int, ...], DTypeLike]]:
        """Shape and dtype of each part that is to be read; none of what is used in place."""
        return [(_extent(corner), self._info.dtype) for corner in self._to_read]

    def fill(self, memory: Iterator[Array]) -> None:
        """Take an array for each part that is wanted, in their order."""
        for corner, sources in self._to_read.items():
            array = self._arrays[corner] = next(memory)
            outs = array if self._info.stacked else (array,)
            self.fills += [
                Fill(stored=stored, box=box, out=out, groups=groups)
                for (stored, box, groups), out in zip(sources, outs, strict=True)
            ]

    @property
    def shards(self) -> list[tuple[Array, jax.Device]]:
        """What each device is to hold, once all is read."""
        return [(self._arrays[corner], device) for device, corner in self._corners.items()]

    def of_shards(self, shards: Sequence[jax.Array]) -> jax.Array:
        """The array whose shards are on their devices."""
        return jax.make_array_from_single_device_arrays(self._info.shape, self._sharding, shards)


def _hold(
    checkpoint: Checkpoint, infos: Iterable[ParamInfo], spec: ModelSpec, *, in_place: bool
) -> list[_Held]:
    """The arrays, those that are to be read with memory for it, in one piece."""
    held = [_Held(checkpoint, info, spec, in_place=in_place) for info in infos]
    memory = iter(empty(itertools.chain.from_iterable(each.wanted for each in held)))
    for each in held:
        each.fill(memory)
    return held


def _on_devices(held: Sequence[_Held]) -> list[jax.Array]:
    """The arrays, once all is read, in one call; a CPU's devices use the memory as it is."""
    parts = [each.shards for each in held]
    arrays, devices = zip(*itertools.chain.from_iterable(parts), strict=True)
    shards = iter(jax.device_put(list(arrays), list(devices)))
    return [
        each.of_shards(list(itertools.islice(shards, len(part))))
        for each, part in zip(held, parts, strict=True)
    ]


def _sources(checkpoint: Checkpoint, info: ParamInfo, corner: Corner) -> Iterator[Source]:
    """For each layer that an array is stacked of, what of which tensor is wanted."""
    rows = info.shape[-2] if len(info.shape) > 1 else 1
    first, last = corner[0] if info.stacked else (0, 1)
    box = tuple(slice(*side) for side in (corner[1:] if info.stacked else corner))
    for name in info.names[first:last]:
        values, scales = checkpoint.stored(name)
        if info.part != "scales" or scales is None:
            yield values, box, None
            continue
        # Where scales are cut finer than their groups, several rows repeat one.
        groups = np.arange(rows)[box[-2]] // (rows // scales.shape[-2])
        needed = slice(int(groups[0]), int(groups[-1]) + 1)
        repeated = None if rows == scales.shape[-2] else groups - groups[0]
        yield scales, (*box[:-2], needed, box[-1]), repeated


def _mapped(sources: Sequence[Source], info: ParamInfo, corner: Corner) -> Array | None:
    """The array in place, if its bytes follow each other in files as they do in memory."""
    ranges: list[Iterator[FileRange]] = []
    for stored, box, groups in sources:
        pieces = list(stored.pieces(box))
        if groups is not None or len(pieces) > 1 or stored.dtype != info.dtype:
            return None
        ranges.append(pieces[0].ranges())
    mapped = map_ranges(itertools.chain.from_iterable(ranges))
    if mapped is None:
        return None
    array: Array = mapped.view(info.dtype).reshape(_extent(corner))
    return array


def _fills(held: Iterable[_Held]) -> Iterator[Fill]:
    for each in held:
        yield from each.fills


def _bytes(held: Iterable[_Held]) -> int:
    return sum(fill.nbytes for fill in _fills(held))


def _of_layer(info: ParamInfo, layer: int) -> ParamInfo:
    """One layer of a stacked array, without the layer's dimension."""
    return dataclasses.replace(
        info, shape=info.shape[1:], axes=info.axes[1:], names=(info.names[layer],), stacked=False
    )


def _extent(corner: Corner) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(stop - start for start, stop in corner)


def _corner(index: tuple[slice, ...], shape: tuple[int, ...]) -> Corner:
    return tuple(side.indices(size)[:2] for side, size in zip(index, shape, strict=True))
