"""``grokdist.verify``: prove again, offline, that a model is what its manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokdist.transfer.findings import Mismatch
    from grokdist.transfer.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What a verification found.

    Attributes:
        model: name of the model.
        revision: which release of it.
        directory: where the files are.
        ok: True where nothing is missing, wrong or extra, and at least one file was checked.
        files: files that are right.
        bytes: their bytes.
        seconds: wall time.
        missing: expected paths with nothing there.
        mismatched: files that are not what the manifest names: path, expected, got, ranges.
        extra: paths that the manifest does not list.
    """

    model: str
    revision: str
    directory: Path
    ok: bool
    files: int
    bytes: int
    seconds: float
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    extra: tuple[str, ...]


def verify(
    model: str | Path,
    *,
    manifest: str | Path | None = None,
    include: Sequence[str] = (),
    quick: bool = False,
    jobs: int | None = None,
    strict_freshness: bool = False,
    progress: Progress | None = None,
) -> Verified:
    """Hash a model again and compare it with its signed manifest. Uses no network.

    Damage does not raise: look at ``ok``. That there is nothing to compare with does.

    Args:
        model: name of a fetched model, or its directory.
        manifest: compare with this manifest file, which nobody signed: its signer is you.
        include: glob patterns that restrict the check.
        quick: trust files unchanged (size, times, inode) since they were last hashed.
        jobs: files hashed at once; by default what suits the cores.
        strict_freshness: refuse a signed catalog whose time has expired, rather than warn.
        progress: who listens; by default nobody. Called from several threads.

    Raises:
        UnknownModelError: no such model, or nothing says what the directory should hold.
        NotFetchedError: the model is known, but not here.
        TrustError: signatures do not hold, or the kept manifest was changed.
        StoreError: the directory cannot be opened.
        UsageError: a pattern matches no file.
    """
    from grokdist.api.lookup import manifest_of, stored_model
    from grokdist.api.voice import Logged
    from grokdist.transfer.verify import verify as verify_all

    stored = stored_model(str(model))
    trusted = manifest_of(
        stored,
        None if manifest is None else Path(manifest),
        Logged(),
        strict_freshness=strict_freshness,
    )
    report = verify_all(
        stored.directory,
        trusted.manifest,
        # With a manifest of the user's own, a receipt does not say what may be absent.
        receipt=None if manifest is not None else stored.receipt,
        include=tuple(include),
        quick=quick,
        jobs=jobs,
        progress=progress,
    )
    return Verified(
        model=trusted.manifest.name,
        revision=trusted.manifest.revision,
        directory=stored.directory,
        ok=report.ok,
        files=report.files,
        bytes=report.bytes,
        seconds=report.seconds,
        missing=report.missing,
        mismatched=report.mismatched,
        extra=report.extra,
    )
