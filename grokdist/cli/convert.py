"""``grokdist convert``: a verified model as safetensors, its licence and provenance beside it."""

from __future__ import annotations

import json as json_module
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import grokdist
from grokdist.cli import completion, options
from grokdist.cli.format import bytes_text, count_text
from grokdist.cli.output import Output
from grokdist.errors import ResourceError, StoreError, UsageError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import FileEntry, TrustedManifest
    from grokdist.transfer.progress import Progress
    from grokdist_runtime.checkpoint.converter import Conversion, WrittenFile
    from grokdist_runtime.mesh_shape import MeshShape

_FILE_SIZE = "5G"
_NEVER_CARRIED = (".gitattributes", ".gitignore")
"""Files that speak of the original's repository and not of the model."""


def convert(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.fetched_names,
            help="Name of a fetched model, or its directory.",
        ),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Where the converted model goes.")],
    file_size: Annotated[
        str, typer.Option(help="Largest file, but for a tensor that is larger: 500M, 5G.")
    ] = _FILE_SIZE,
    mesh: Annotated[
        str | None,
        typer.Option(
            help="Cut tensors for these devices, DxM or DxMxE; default: leave them whole."
        ),
    ] = None,
    requantise: options.Requantise = None,
    group: Annotated[
        int | None,
        typer.Option(help="With --requantise: rows that share a scale, at most; default: 128."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Sign the statement of the conversion with it."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert a verified model to safetensors, with its licence, a manifest and a statement."""
    from grokdist.catalog.alteration import alteration_of
    from grokdist.catalog.converted import CONVERTED_FORMATS
    from grokdist.cli.attesting import keep_beside, signing_keys
    from grokdist.cli.format import parse_rate
    from grokdist.cli.progress import showing
    from grokdist.cli.verified import open_verified
    from grokdist.policy.redistribution import carry_licence
    from grokdist.transfer.attestations import model_subject
    from grokdist.trust.attestations.conversion import conversion_statement
    from grokdist_runtime.mesh_shape import MeshShape, parse_mesh

    out = Output(json=json, quiet=quiet, verbose=verbose)
    largest = parse_rate(file_size)
    shape = MeshShape() if mesh is None else parse_mesh(mesh)
    keys = signing_keys(key)
    rows = _group(requantise, group)
    started = datetime.now(UTC)
    opened = open_verified(model, memory=1 << 62, unsafe_unverified=False, out=out, act="convert")
    trusted = opened.trusted
    if trusted is None or opened.manifest is None:
        raise UsageError(f"{model} has no manifest; expected a fetched model")
    if rows is not None and alteration_of(trusted.manifest) is not None:
        raise UsageError(
            f"the experts of {trusted.manifest.name} are int4 already;"
            " expected int8, since rounding twice loses twice"
        )
    if trusted.manifest.format not in CONVERTED_FORMATS:
        raise UsageError(
            f"{trusted.manifest.name} has format {trusted.manifest.format};"
            f" expected {' or '.join(CONVERTED_FORMATS)}"
        )
    if out_dir.resolve() == opened.directory.resolve():
        raise UsageError(f"--out {out_dir} is the model itself; expected another folder")
    original = model_subject(trusted.manifest, opened.directory)
    conversion = _plan(opened.directory, trusted, original.sha256, largest, rows, shape)
    _require_room(out_dir, conversion.size)
    _make(out_dir)
    with showing(out) as progress:
        written = _write(conversion, out_dir, progress)
    carried = carry_licence(
        trusted.manifest,
        opened.directory,
        out_dir,
        change=_change(rows),
    )
    for sentence in carried.missing:
        out.warning(sentence)
    entries = [*_entries(written), *_carried(carried.files, out_dir)]
    taken = {entry.path for entry in entries}
    entries += _others(trusted, opened.directory, out_dir, taken, rows)
    converted = _record(trusted, original.sha256, entries, out_dir, started, rows, shape, out)
    subject = model_subject(converted.manifest, out_dir)
    parameters: dict[str, str | int] = {
        "format": converted.manifest.format,
        "file_size": largest,
        "mesh": str(shape),
    }
    altered = alteration_of(converted.manifest)
    if rows is not None and altered is not None:
        parameters |= {"requantise": "int4", "group": rows, "altered": altered}
        out.warning(f"altered: {altered}")
    statement = conversion_statement(
        subject,
        original,
        manifest_sha256=trusted.sha256,
        parameters=parameters,
        tool=grokdist.__version__,
        started=started,
        finished=datetime.now(UTC),
    )
    attested = keep_beside(out_dir, statement, keys, stem="conversion")
    manifest = converted.manifest
    out.result(
        {
            "model": manifest.name,
            "revision": manifest.revision,
            "dir": str(out_dir),
            "files": len(manifest.files),
            "bytes": manifest.size,
            "root_sha256": subject.sha256,
            "converted_from": manifest.extra["converted_from"],
            "altered": altered,
            "license_files": list(carried.files),
            "license_missing": list(carried.missing),
            "attestation": attested.document(),
        },
        f"{manifest.name}: {count_text(len(manifest.files), 'file')},"
        f" {bytes_text(manifest.size)} in {out_dir}\n"
        f"from {original.name}, root {original.sha256[:16]}; to root {subject.sha256[:16]}\n"
        f"licence and notices carried along: {', '.join(carried.files) or 'none'}\n"
        f"{attested.text()}",
    )


def _group(requantise: str | None, group: int | None) -> int | None:
    """Rows that are to share a scale, at most; None where nothing is requantised."""
    from grokdist_runtime.checkpoint.expert_int4 import DEFAULT_GROUP

    if requantise is None and group is not None:
        raise UsageError("--group was given alone; expected --requantise int4 beside it")
    return None if requantise is None else group if group is not None else DEFAULT_GROUP


def _change(rows: int | None) -> str:
    """What the licence's change notice says was done."""
    from grokdist_runtime.checkpoint.expert_int4 import alteration

    if rows is None:
        return "the shards were converted to safetensors, the bytes of every tensor unchanged"
    return (
        f"{alteration(rows)}; the shards were converted to safetensors, the bytes of all tensors"
        " but the experts' unchanged"
    )


def _plan(
    directory: Path,
    trusted: TrustedManifest,
    root: str,
    largest: int,
    rows: int | None,
    shape: MeshShape,
) -> Conversion:
    from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
    from grokdist_runtime.checkpoint.converter import Conversion
    from grokdist_runtime.checkpoint.parts import axis_pieces
    from grokdist_runtime.config import ModelConfig

    config_file = directory / "config.json"
    if config_file.exists():
        config = ModelConfig.from_json(config_file)
    elif trusted.manifest.config is not None:
        config = ModelConfig.from_mapping(trusted.manifest.config)
    else:
        raise UsageError(f"{directory} has no config.json; expected one, or a manifest with one")
    altered = None if rows is None else config.requantised(rows)
    more = {} if altered is None else {"altered": str(altered.altered)}
    return Conversion(
        open_checkpoint(directory, config),
        file_size=largest,
        metadata={
            "format": "np",
            "converted_from": f"{trusted.manifest.name}@{trusted.manifest.revision}",
            "converted_from_root_sha256": root,
            "mesh": str(shape),
            **more,
        },
        altered=altered,
        pieces=axis_pieces(altered or config, model=shape.model, experts=shape.expert),
    )


def _require_room(out_dir: Path, size: int) -> None:
    """Refuse before the first byte; what an earlier run wrote counts."""
    above = next(folder for folder in (out_dir, *out_dir.absolute().parents) if folder.is_dir())
    here = sum(file.stat().st_size for file in out_dir.glob("*.safetensors"))
    free = shutil.disk_usage(above).free
    if size - here > free:
        raise ResourceError(
            f"the converted model needs {bytes_text(size - here)} in {out_dir};"
            f" got {bytes_text(free)} free",
            needed=size - here,
            free=free,
        )


def _make(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {out_dir}: {error.strerror}") from error


def _write(conversion: Conversion, out_dir: Path, progress: Progress) -> tuple[WrittenFile, ...]:
    sizes = {file.name: file.size for file in conversion.files}
    progress.begin("convert", files=len(sizes), size=conversion.size, have=0)
    done = dict.fromkeys(sizes, 0)

    def on_bytes(name: str, count: int) -> None:
        if done[name] == 0:
            progress.file_begun(name, size=sizes[name], have=0)
        done[name] += count
        progress.advance("disk", name, count)
        if done[name] == sizes[name]:
            progress.file_done(name, sizes[name], "disk")

    written = conversion.write(out_dir, on_bytes=on_bytes)
    progress.end()
    return written


def _entries(written: tuple[WrittenFile, ...]) -> list[FileEntry]:
    from grokdist.catalog.manifest import FileEntry

    return [FileEntry(path=file.name, size=file.size, sha256=file.sha256) for file in written]


def _carried(names: tuple[str, ...], out_dir: Path) -> list[FileEntry]:
    return [_entry(name, (out_dir / name).read_bytes()) for name in names]


def _others(
    trusted: TrustedManifest, directory: Path, out_dir: Path, taken: set[str], rows: int | None
) -> list[FileEntry]:
    """Copy what belongs to the model beside its shards: tokenizer, configuration, cards."""
    from grokdist.catalog.alteration import INT4_GROUP

    entries = []
    for entry in trusted.manifest.files:
        path = entry.path
        if path.startswith("ckpt-0/") or path in taken or path in _NEVER_CARRIED:
            continue
        data = (directory / path).read_bytes()
        if path == "config.json" and rows is not None:
            data = _config_text({**json_module.loads(data), INT4_GROUP: rows})
        _put(out_dir / path, data)
        entries.append(_entry(path, data))
    if "config.json" not in taken | {entry.path for entry in entries}:
        more = {} if rows is None else {INT4_GROUP: rows}
        data = _config_text({**(trusted.manifest.config or {}), **more})
        _put(out_dir / "config.json", data)
        entries.append(_entry("config.json", data))
    return entries


def _config_text(config: dict[str, Any]) -> bytes:
    return json_module.dumps(config, indent=2).encode() + b"\n"


def _entry(path: str, data: bytes) -> FileEntry:
    import hashlib

    from grokdist.catalog.manifest import FileEntry

    return FileEntry(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _put(path: Path, data: bytes) -> None:
    """Write a small file, in a folder of the model that may not be there yet."""
    from grokdist.whole_file import write_whole

    _make(path.parent)
    write_whole(path, data)


def _record(
    trusted: TrustedManifest,
    root: str,
    entries: list[FileEntry],
    out_dir: Path,
    when: datetime,
    rows: int | None,
    shape: MeshShape,
    out: Output,
) -> TrustedManifest:
    """Have the folder taken over as a model: every file hashed again, receipt and trees written."""
    import hashlib

    from grokdist.api.request import make_request
    from grokdist.catalog.converted import converted_manifest
    from grokdist.catalog.manifest import SignedBy, TrustedManifest
    from grokdist.catalog.serialise import serialise_manifest
    from grokdist.cli.progress import showing
    from grokdist.transfer.engine import fetch
    from grokdist.transfer.plan import make_plan
    from grokdist.transfer.store import Store

    text = next((entry.path for entry in entries if entry.path.startswith("LICENSE")), None)
    manifest = converted_manifest(
        trusted, root, entries, license_path=text, when=when, mesh=str(shape), int4_group=rows
    )
    raw = serialise_manifest(manifest)
    converted = TrustedManifest(
        manifest=manifest,
        raw=raw,
        sha256=hashlib.sha256(raw).hexdigest(),
        signed_by=SignedBy(registry="unsigned"),
    )
    with showing(out) as progress:
        result = fetch(make_plan(make_request(converted, directory=out_dir), ()), progress)
    Store().note_elsewhere(result.directory, manifest.name, manifest.revision)
    return converted
