"""``grokdist.open_model``: a verified model, loaded and ready to write."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from grokdist.settings import compile_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokdist.api.verified import Rounding, VerifiedModel
    from grokdist.api.voice import Voice
    from grokdist.transfer.progress import Progress
    from grokdist_runtime.cluster import Cluster
    from grokdist_runtime.engine import Engine


def open_model(
    model: str | Path | None = None,
    *,
    mesh: str | None = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
    kv_cache: Literal["int8"] | None = None,
    requantise: Literal["int4"] | None = None,
    kernels: Literal["plain", "native", "pallas"] | None = None,
    tokens: int = 128,
    unsafe_unverified: bool = False,
    progress: Progress | None = None,
) -> Engine:
    """Prove a model's files, then load it. Does what ``grokdist run`` does before the first token.

    The model must have been fetched; ``grok-mini`` comes out of the package by itself. Policies
    decide before anything is read. Where processes share a run, use ``grokdist run``.

    Args:
        model: name or directory; by default the largest verified model that fits, else
            ``grok-mini``.
        mesh: devices as ``DxM`` or ``DxMxE`` (data, model, expert); by default what divides.
        dtype: what is computed in; by default the model's own.
        kv_cache: ``int8`` rounds cached keys and values; by default they stay as computed.
        requantise: ``int4`` rounds the experts; by default they stay as stored.
        kernels: who multiplies; by default the fastest that works here.
        tokens: how many there must be room for beside the weights.
        unsafe_unverified: load a directory that nothing vouches for, with a warning.
        progress: who listens while files are hashed; by default nobody.

    Raises:
        UnknownModelError: no such model.
        NotFetchedError: the model is not here, or only a part of it is.
        TrustError: nothing vouches for the directory.
        PolicyError: a policy refuses.
        DigestMismatchError: a file is missing or altered, or one was added that would be read.
        ResourceError: the model does not fit.
        grokdist_runtime.errors.RuntimeModelError: what the runtime refuses: a malformed shard,
            a mesh that does not divide, a configuration.
    """
    from grokdist.api.memory import host_memory
    from grokdist.api.verified import Rounding, open_verified
    from grokdist.api.voice import Logged, watched_by

    voice = Logged()
    rounding = Rounding(kv_cache=kv_cache, requantise=requantise)
    opened = open_verified(
        None if model is None else str(model),
        memory=host_memory(),
        unsafe_unverified=unsafe_unverified,
        voice=voice,
        watching=watched_by(progress),
        tokens=tokens,
        rounding=rounding,
    )
    try:
        engine = load_engine(
            opened, mesh=mesh, dtype=dtype, rounding=rounding, kernels=kernels, voice=voice
        )
    except BaseException:
        opened.close()
        raise
    weakref.finalize(engine, opened.close)
    return engine


def load_engine(
    opened: VerifiedModel,
    *,
    mesh: str | None,
    dtype: str | None,
    rounding: Rounding,
    kernels: str | None = None,
    voice: Voice,
    on_bytes: Callable[[int, int], None] | None = None,
    shared: Cluster | None = None,
) -> Engine:
    """Load a model on the devices at hand; the CPU plays as many as ``mesh`` asks for.

    Where the run is ``shared`` the devices are those of all its processes. ``on_bytes`` is told of
    bytes read since it was last told, and of how many will be read in all.
    """
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.devices import simulate_for_mesh

    simulate_for_mesh(mesh, 1 if shared is None else shared.processes)
    if shared is not None:
        from grokdist_runtime.distributed import require_same, start

        start(shared)
        require_same("model", opened.identity)

    from grokdist_runtime.engine import CONFIG_FILE, Engine
    from grokdist_runtime.loader import ignore

    config = None
    if opened.config is not None and not (opened.directory / CONFIG_FILE).exists():
        config = ModelConfig.from_mapping(opened.config)
    engine = Engine.load(
        opened.directory,
        config=config,
        mesh=mesh,
        dtype=dtype,
        kv_cache=rounding.kv_cache,
        requantise=rounding.group,
        kernels=kernels,
        compile_cache=compile_cache(),
        on_bytes=on_bytes or ignore,
    )
    if engine.config.altered is not None:
        voice.warning(f"altered: {engine.config.altered}")
    if dtype is not None and engine.runner.spec.dtype != dtype:
        computed = engine.runner.spec.dtype
        voice.note(f"the CPU computes in {computed} and rounds to {dtype} the embedding alone")
    return engine
