"""Open a model for use: its bytes proven first, or the refusal said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokdist.api.voice import Voice, Watching
from grokdist.document import shorten
from grokdist.errors import (
    DigestMismatchError,
    NotFetchedError,
    ResourceError,
    TrustError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokdist.catalog.manifest import Manifest, TrustedManifest
    from grokdist.transfer.store import StoredModel
    from grokdist.transfer.use import Use
    from grokdist.trust.receipt import Receipt
    from grokdist_runtime.host_files import HostPart

BUNDLED = "grok-mini"
RUNNABLE = ("grok-1-pickle", "grok-1-safetensors", "grok-1-safetensors-int4")
"""The manifest formats that the runtime loads."""

_ALWAYS_HASHED = 1 << 30
"""Models up to this size are hashed in full each time: it costs a second at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """What is rounded so that a model takes less memory; by default nothing.

    Attributes:
        kv_cache: ``int8`` for cached keys and values.
        requantise: ``int4`` for experts that are stored as int8.
    """

    kv_cache: str | None = None
    requantise: str | None = None

    @property
    def group(self) -> int | None:
        """Rows of an expert's matrix that share a scale, at most; None where they stay int8."""
        from grokdist_runtime.checkpoint.expert_int4 import DEFAULT_GROUP

        return DEFAULT_GROUP if self.requantise else None


NO_ROUNDING = Rounding()


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedModel:
    """A model directory that may be loaded.

    Attributes:
        directory: where it is.
        name: what to call it.
        trusted: what it was proven to equal; None where the user waived the proof.
        receipt: what was fetched, from where and when; None where there is no record of it.
        use: keeps others from removing it for as long as it is held; None where nothing does.
    """

    directory: Path
    name: str
    trusted: TrustedManifest | None
    receipt: Receipt | None = None
    use: Use | None = None

    def close(self) -> None:
        """Let others remove it; what is loaded stays loaded."""
        if self.use is not None:
            self.use.close()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, where there is one."""
        return self.trusted.manifest if self.trusted is not None else None

    @property
    def identity(self) -> str:
        """What tells one model from another: its manifest's digest, or its ``config.json``."""
        if self.trusted is not None:
            return self.trusted.sha256
        try:
            return (self.directory / "config.json").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""  # said when it is loaded

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The manifest's architecture, for a release that has no ``config.json`` of its own."""
        return self.manifest.config if self.manifest is not None else None

    @property
    def hashed(self) -> bool:
        """True where every file was hashed just now; else what changed since it last was."""
        return self.manifest is not None and self.manifest.size <= _ALWAYS_HASHED


def open_verified(
    target: str | None,
    *,
    memory: int,
    unsafe_unverified: bool,
    voice: Voice,
    watching: Watching,
    act: str = "run",
    tokens: int = 1,
    rows: int = 1,
    rounding: Rounding = NO_ROUNDING,
    part: HostPart | None = None,
) -> VerifiedModel:
    """The model to use, after its files were checked against the signed manifest.

    Args:
        target: name or directory; None for the largest verified model that fits ``memory``, else
            the bundled one.
        memory: bytes that the model may take.
        unsafe_unverified: load what nothing vouches for, with a warning.
        voice: where to say things.
        watching: gives who listens to the progress of each stage.
        act: what is to be done with it, a verb for the words of a refusal.
        tokens: how many there must be room for beside the weights, in each of
        rows: so many texts.
        rounding: what is to be rounded as it is loaded.
        part: of a run on several hosts this one's, whose files are enough; None for all files.

    Raises:
        TrustError: nothing vouches for the directory.
        DigestMismatchError: a file is missing or altered, or one was added that would be read.
        NotFetchedError: the model is not here, or only a part of it is.
        ResourceError: the model does not fit, by the same plan as ``grokdist plan`` makes.
    """
    from grokdist.api.lookup import manifest_of, refuse_while_fetched, stored_model
    from grokdist.api.obey import binding_policies, obey, refuse_unverified
    from grokdist.transfer.store import Store

    policies = binding_policies()
    if unsafe_unverified and target is not None and Path(target).is_dir():
        refuse_unverified(policies, target)
        voice.warning(f"UNVERIFIED: nothing vouches for the bytes in {target}; you asked for it")
        return VerifiedModel(
            directory=Path(target), name=Path(target).name, trusted=None, use=hold(Path(target))
        )
    if target is None:
        stored = _largest_that_fits(memory, tokens, rows, rounding) or _bundled(voice, watching)
    else:
        stored = _bundled(voice, watching) if target == BUNDLED else stored_model(target)
    if stored.receipt is None and stored.damage is None:
        refuse_while_fetched(stored.directory, "a model")
        raise TrustError(
            f"nothing vouches for the bytes in {stored.directory};"
            " expected the receipt of a fetch, got a directory without one",
            hint=_unverified_hint(act, stored.directory),
        )
    trusted = manifest_of(stored, None, voice)
    manifest = trusted.manifest
    if not trusted.signed_by.signed and not Store().knows(stored.directory):
        # A directory from elsewhere may bring a manifest and a receipt that fit its bytes.
        raise TrustError(
            f"nothing vouches for the bytes in {stored.directory}: its manifest is not signed,"
            " and it was not fetched on this machine",
            hint=_unverified_hint(act, stored.directory),
        )
    sources = stored.receipt.source_bytes if stored.receipt is not None else ()
    obey(
        policies,
        trusted,
        voice,
        action=f"{act} {manifest.name}",
        sources=sources,
        directory=stored.directory,
    )
    _require_files(manifest, stored, part)
    _require(manifest, memory, tokens, rows, rounding)
    use = hold(stored.directory)
    try:
        _check(stored, manifest, watching)
    except BaseException:
        use.close()
        raise
    return VerifiedModel(
        directory=stored.directory,
        name=manifest.name,
        trusted=trusted,
        receipt=stored.receipt,
        use=use,
    )


def hold(directory: Path) -> Use:
    """Keep others from removing a directory until what is returned is closed."""
    from grokdist.transfer.tree import ModelTree
    from grokdist.transfer.use import Use

    with ModelTree(directory) as tree:
        return Use(tree)


def _unverified_hint(act: str, directory: Path) -> str:
    """What to do about a directory that nothing vouches for; not everything is done with such."""
    if act == "convert":
        return f"grokdist fetch MODEL --dir {directory}, which keeps the files that are right"
    return f"grokdist {act} --model {directory} --unsafe-unverified"


def _largest_that_fits(
    memory: int, tokens: int, rows: int, rounding: Rounding
) -> StoredModel | None:
    """The largest complete model of the catalog in the store that fits."""
    from grokdist.catalog.followed_registries import FollowedRegistries
    from grokdist.catalog.registry import Registry
    from grokdist.transfer.store import Store

    registry = Registry.embedded()
    names = set(registry.names())
    followed = FollowedRegistries().names()
    best: StoredModel | None = None
    best_size = 0
    for stored in Store().list():
        if stored.receipt is None or not stored.complete or stored.receipt.model not in names:
            continue
        if stored.receipt.signed_by.registry in followed:
            continue  # of the same name, but another's word: only when it is asked for
        manifest = registry.load(stored.receipt.model).manifest
        if manifest.format not in RUNNABLE or manifest.size <= best_size:
            continue
        if _needed(manifest, tokens, rows, rounding) <= memory:
            best, best_size = stored, manifest.size
    return best


def _bundled(voice: Voice, watching: Watching) -> StoredModel:
    """The bundled model, fetched out of the package into the store if it is not there yet."""
    from grokdist.api.lookup import say_trust
    from grokdist.api.request import make_request
    from grokdist.catalog.registry import Registry
    from grokdist.transfer.engine import fetch
    from grokdist.transfer.plan import make_plan
    from grokdist.transfer.sources.resolve import build_sources
    from grokdist.transfer.store import Store

    store = Store()
    store.prepare()
    trusted = Registry.embedded().load(BUNDLED)
    directory = store.directory(BUNDLED, trusted.manifest.revision)
    try:
        stored = store.find(BUNDLED)
        if stored.receipt is not None and stored.receipt.manifest_sha256 == trusted.sha256:
            return stored
    except NotFetchedError:
        pass
    say_trust(trusted, voice)
    # Of processes that start at once on one machine the first fetches, and the others find it.
    request = make_request(trusted, source=("local",), directory=directory, wait=True)
    with watching() as progress:
        fetch(make_plan(request, build_sources(request)), progress)
    return store.find(str(directory))


def _require_files(manifest: Manifest, stored: StoredModel, part: HostPart | None) -> None:
    """Refuse a directory in which files are missing that would be loaded."""
    if stored.complete:
        return
    here = {file.path for file in stored.receipt.files} if stored.receipt is not None else set()
    if part is None:
        raise NotFetchedError(
            f"only a part of {manifest.name} is in {stored.directory}; expected all of it",
            hint=f"grokdist fetch {manifest.name} --dir {stored.directory}",
        )
    from grokdist.api.own_files import own_files

    if missing := [entry.path for entry in own_files(manifest, part) if entry.path not in here]:
        raise NotFetchedError(
            f"{stored.directory} lacks {len(missing)} files of {manifest.name} that {part} loads,"
            f" the first of them {missing[0]}; expected all of them",
            hint=f"grokdist fetch {manifest.name} --dir {stored.directory} --for-mesh {part.mesh}"
            f" --processes {part.processes} --process {part.process}",
        )


def _require(manifest: Manifest, memory: int, tokens: int, rows: int, rounding: Rounding) -> None:
    """Refuse what cannot work before anything is loaded."""
    if manifest.format not in RUNNABLE:
        raise NotFetchedError(
            f"{manifest.name} has format {manifest.format}; expected {' or '.join(RUNNABLE)},"
            " which the runtime loads"
        )
    if (needed := _needed(manifest, tokens, rows, rounding)) > memory:
        raise ResourceError(
            f"{manifest.name} needs {needed:,} bytes of memory for weights, cache and activations;"
            f" got {memory:,}",
            hint=f"grokdist plan {manifest.name} says what would hold it;"
            " grokdist run without --model takes the largest model that fits",
        )


def _needed(manifest: Manifest, tokens: int, rows: int, rounding: Rounding) -> int:
    """Bytes of main memory for so many texts, as planned; never less than files held as they are.

    Raises:
        RequantisationError: the experts cannot be requantised.
    """
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.device_table import host
    from grokdist_runtime.plan import make_plan

    if manifest.config is None:
        return manifest.size
    config = ModelConfig.from_mapping(manifest.config)
    least = manifest.size
    if rounding.group is not None:
        config, least = config.requantised(rounding.group), 0
    machine = host("this machine", memory_bytes=0, usable_bytes=0, evidence="")
    context = min(max(tokens, 1), config.sequence_len)
    made = make_plan(config, machine, context=context, batch=rows, kv_cache=rounding.kv_cache)
    return max(least, made.needed)


def _check(stored: StoredModel, manifest: Manifest, watching: Watching) -> None:
    from grokdist.api.lookup import fetching
    from grokdist.transfer.verify import verify

    with watching() as progress:
        report = verify(
            stored.directory,
            manifest,
            # Of a part it was asked before that no file is absent which is needed here.
            receipt=None if stored.complete else stored.receipt,
            quick=manifest.size > _ALWAYS_HASHED,
            progress=progress,
        )
    read = [path for path in report.extra if _would_be_read(path)]
    found = [(path, f"missing: {path}") for path in report.missing]
    found += [
        (each.path, f"mismatched: {each.path}: expected {each.expected}, got {each.got}")
        for each in report.mismatched
    ]
    # The folder's own names, which nobody checked.
    found += [(path, f"extra: {path if path.isprintable() else shorten(path)}") for path in read]
    if found:
        path, fault = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        if (holder := fetching(stored.directory)) is not None:
            more += f", and {holder} is fetching into it"
        raise DigestMismatchError(
            f"{stored.directory} is not the {manifest.name} that its manifest names: {fault}{more}",
            path=path,
            expected="the bytes of the signed manifest",
            got=fault,
            hint=f"grokdist fetch {manifest.name} --repair --dir {stored.directory}",
        )


def _would_be_read(path: str) -> bool:
    """True for files that the runtime would load although no manifest lists them."""
    return (
        path.startswith("ckpt-0/")
        or path.endswith(".safetensors")
        or path in ("config.json", "tokenizer.model", "chat_template.jinja")
    )
