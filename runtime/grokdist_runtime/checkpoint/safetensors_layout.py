"""How a model's tensors are laid out in safetensors files: which file, at which offset.

Worked out from shapes and dtypes alone, so that equal models give equal bytes. The format
(https://github.com/huggingface/safetensors, "Format") has an 8-byte little-endian header length, a
JSON header, and the tensors one after the other without gaps.

A *run* is the same tensor of layer 0, 1, 2 and so on: the runtime uses it as one stacked array, so
its tensors follow each other, and where a file is full the run goes on in the next. The header is
padded with spaces so that the data begins on a page. Runs whose tensors are whole pages come first:
these can be mapped into one array even across files. Runs of a multiple of 64 bytes are next: each
can be used in place where it lies in one file. The few others follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from grokdist_runtime.checkpoint.parts import part_name
from grokdist_runtime.errors import CheckpointError

ALIGNMENT = 64
"""Bytes; what XLA:CPU needs to use an array where it is."""
PAGE = 4096
"""Bytes; what most operating systems map files by."""
SUFFIX = ".safetensors"
"""How the files' names end."""
INDEX_FILE = "model.safetensors.index.json"
"""Which file holds which tensor; the name that the Hub's libraries use."""
SCALES_SUFFIX = ".scales"
"""A quantised weight's scales are the tensor of its name with this appended."""
CODES = {"uint8": "U8", "int8": "I8", "bfloat16": "BF16", "float32": "F32"}
"""The format's names of the dtypes that a checkpoint may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedTensor:
    """One tensor of a file.

    Attributes:
        name, dtype, shape: of the tensor; dtype as NumPy names it.
        nbytes: length of its data.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayout:
    """One safetensors file.

    Attributes:
        name: its name.
        header: its first bytes, up to the first tensor; whole pages of them.
        tensors: what follows, in order and without gaps.
    """

    name: str
    header: bytes
    tensors: tuple[PlacedTensor, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + sum(tensor.nbytes for tensor in self.tensors)


def lay_out(
    runs: Iterable[tuple[int, tuple[PlacedTensor, ...]]],
    *,
    file_size: int,
    metadata: Mapping[str, str],
) -> tuple[tuple[FileLayout, ...], ...]:
    """Divide runs into files.

    Args:
        runs: of each run, how many parts its tensors are cut into, and one part of each tensor, of
            layer 0 first. Their order is kept among runs that are aligned alike.
        file_size: bytes that a file should not exceed; a tensor that is larger gets its own.
        metadata: strings for the ``__metadata__`` of every file.

    Returns:
        Files that are alike but for the part they hold, together: one for each part.

    Raises:
        CheckpointError: the file size is not positive, or there is no tensor.
    """
    if file_size < 1:
        raise CheckpointError(f"file size is {file_size} bytes; expected at least 1")
    by_count: dict[int, list[tuple[PlacedTensor, ...]]] = {}
    for count, run in runs:
        by_count.setdefault(count, []).append(run)
    if not by_count:
        raise CheckpointError("there is no tensor to write; expected at least one")
    planned = [
        (count, tensors)
        for count in sorted(by_count)
        for tensors in _divide(by_count[count], file_size)
    ]
    total = sum(count for count, _ in planned)
    numbers = iter(range(1, total + 1))
    return tuple(
        tuple(
            _file(
                part_name(f"model-{next(numbers):05d}-of-{total:05d}", index, count) + SUFFIX,
                [replace(tensor, name=part_name(tensor.name, index, count)) for tensor in tensors],
                metadata,
            )
            for index in range(count)
        )
        for count, tensors in planned
    )


def index_document(files: Iterable[FileLayout]) -> bytes:
    """The index of a model's files, as JSON."""
    files = tuple(files)
    total = sum(tensor.nbytes for file in files for tensor in file.tensors)
    places = {tensor.name: file.name for file in files for tensor in file.tensors}
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    return (json.dumps(document, indent=2) + "\n").encode("utf-8")


def _divide(
    runs: Iterable[tuple[PlacedTensor, ...]], file_size: int
) -> Iterator[list[PlacedTensor]]:
    """The tensors of each file, in order."""
    file: list[PlacedTensor] = []
    left = file_size
    for run in sorted(runs, key=lambda run: _roughness(run, file_size)):
        size = sum(tensor.nbytes for tensor in run)
        if _roughness(run, file_size) and left < size <= file_size:
            left = 0  # it can be used in place in one file only
        for tensor in run:
            if file and tensor.nbytes > left:
                yield file
                file, left = [], file_size
            file.append(tensor)
            left -= tensor.nbytes
    yield file


def _roughness(run: tuple[PlacedTensor, ...], file_size: int) -> int:
    """0 if its tensors are whole pages, 1 if what follows it is aligned too, else 2."""
    size = sum(tensor.nbytes for tensor in run)
    if all(tensor.nbytes % PAGE == 0 for tensor in run):
        return 0
    if all(tensor.nbytes % ALIGNMENT == 0 for tensor in run):
        return 1
    return 1 if size % ALIGNMENT == 0 and size <= file_size else 2


def _file(name: str, tensors: list[PlacedTensor], metadata: Mapping[str, str]) -> FileLayout:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(8 + len(text)) % PAGE)
    return FileLayout(
        name=name, header=len(text).to_bytes(8, "little") + text, tensors=tuple(tensors)
    )
