"""``grokdist.fetch``: a model from every source at once, verified, with a receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokdist.transfer.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What a fetch did; all files that were wanted are there and right.

    Attributes:
        model: name of the model.
        revision: which release of it.
        directory: where the files are.
        files: number of wanted files.
        bytes: their bytes.
        fetched_bytes: bytes that sources delivered in this run, also those thrown away.
        seconds: wall time until every file was found right and named.
        sources: bytes by source in this run.
        verified: True: a fetch that could not verify raises.
    """

    model: str
    revision: str
    directory: Path
    files: int
    bytes: int
    fetched_bytes: int
    seconds: float
    sources: Mapping[str, int]
    verified: bool


def fetch(
    model: str,
    *,
    directory: str | Path | None = None,
    sources: Sequence[str] = (),
    include: Sequence[str] = (),
    accept_license: str | None = None,
    manifest: str | Path | None = None,
    max_rate: int | None = None,
    offline: bool = False,
    repair: bool = False,
    wait: bool = False,
    strict_freshness: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch a model, verify every byte against its signed manifest, and write a receipt.

    Files that are here and right are not fetched again; a fetch that ended early goes on at the
    byte. Does what ``grokdist fetch`` does, policies and licence included, and never asks. Only
    attestations are not made; ``grokdist attest`` makes them.

    Args:
        model: its name in the catalog, or ``REGISTRY:NAME``.
        directory: where the files go; by default the store.
        sources: ``hub``, ``torrent``, ``https`` or ``local`` to use only these; or one more as
            ``hub:ORG/NAME[@REVISION]``, ``https://URL/`` or ``local:FOLDER``.
        include: glob patterns of the paths wanted; by default all.
        accept_license: ``ID`` or ``ID@sha256:HEX``, for a licence that must be accepted.
        manifest: fetch by this manifest file, which nobody signed: its signer is you.
        max_rate: bytes a second over all sources; by default no limit.
        offline: use folders of this machine only.
        repair: hash what is here again, and fetch what is bad.
        wait: wait for another fetch that uses the directory, rather than fail.
        strict_freshness: refuse a signed catalog whose time has expired, rather than warn.
        progress: who listens; by default nobody. Called from several threads.

    Raises:
        UnknownModelError: no such model, or its manifest cannot be read.
        NoWeightsError: the publisher released no weights of it.
        TrustError: signatures do not hold.
        PolicyError: a policy refuses, or the licence was not accepted.
        NoSourceError: no source could be reached for a file.
        DigestMismatchError: no source delivered the right bytes of a file.
        ResourceError: the disk has no room.
        StoreError: the directory is in use or cannot be written.
        UsageError: an argument makes no sense.
    """
    from grokdist.api.consent import consent
    from grokdist.api.lookup import require_weights, trusted_manifest, with_files
    from grokdist.api.obey import binding_policies, obey
    from grokdist.api.request import asked_for, make_request
    from grokdist.api.voice import Logged
    from grokdist.transfer.engine import fetch as run_plan
    from grokdist.transfer.plan import make_plan
    from grokdist.transfer.sources.resolve import build_sources
    from grokdist.transfer.store import Store

    voice = Logged()
    trusted = trusted_manifest(
        model,
        None if manifest is None else Path(manifest),
        voice,
        strict_freshness=strict_freshness,
    )
    require_weights(trusted.manifest)
    trusted = with_files(trusted, voice, online=not offline)
    wanted = trusted.manifest
    policies = binding_policies()
    decided = obey(
        policies, trusted, voice, action=f"fetch {wanted.name}", sources=asked_for(sources)
    )
    request = make_request(
        trusted,
        directory=None if directory is None else Path(directory),
        policies=policies,
        policy=decided,
        source=tuple(sources),
        include=tuple(include),
        max_rate=max_rate,
        offline=offline,
        repair=repair,
        wait=wait,
        accepted_by=consent(wanted, accept_license, voice, how="grokdist.fetch(accept_license=)"),
    )
    store = Store()
    store.prepare()
    result = run_plan(make_plan(request, build_sources(request)), progress)
    store.note_elsewhere(result.directory, wanted.name, wanted.revision)
    return Fetched(
        model=wanted.name,
        revision=wanted.revision,
        directory=result.directory,
        files=result.files,
        bytes=result.size,
        fetched_bytes=result.fetched_bytes,
        seconds=result.seconds,
        sources=dict(result.sources),
        verified=True,
    )
