"""``grokdist inspect``: which tensors a file or directory holds, read without executing it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import options
from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output

if TYPE_CHECKING:
    from grokdist_runtime.checkpoint.inspection import InspectedTensor


def inspect(
    path: Annotated[
        Path, typer.Argument(help="A shard, a directory of shards, a model or a safetensors file.")
    ],
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the tensors of a shard or directory: file, name, dtype, shape and place.

    Reads the structure only, never executes any of it, and refuses whatever is not a plain tensor.
    It does not compare files with a manifest: `grokdist verify` does.
    """
    # Imported here, so that `grokdist --help` does not load NumPy.
    from grokdist_runtime.checkpoint.inspection import inspect_path

    out = Output(json=json, quiet=quiet, verbose=verbose)
    tensors = inspect_path(path)
    document = {"tensors": [dataclasses.asdict(tensor) for tensor in tensors]}
    out.result(document, "\n".join(_line(tensor) for tensor in tensors))
    total = sum(t.nbytes + (t.scales.nbytes if t.scales else 0) for t in tensors)
    out.note(f"{count_text(len(tensors), 'tensor')}, {bytes_text(total)}; nothing was executed")


def _line(tensor: InspectedTensor) -> str:
    """One tensor as a line; names come from the file, so they are escaped where needed."""
    words = [
        _shown(tensor.file),
        _shown(tensor.name) if tensor.name is not None else "-",
        f"{tensor.dtype}[{_dims(tensor.shape)}]",
        f"at {tensor.offset}",
        f"{tensor.nbytes} bytes",
    ]
    if tensor.scales is not None:
        words.append(
            f"scales {tensor.scales.dtype}[{_dims(tensor.scales.shape)}] at {tensor.scales.offset}"
        )
    return "  ".join(words)


def _dims(shape: tuple[int, ...]) -> str:
    return ",".join(str(dim) for dim in shape)


def _shown(text: str) -> str:
    return text if text.isprintable() else ascii(text)
