"""Updating a followed registry: python-tuf judges what comes, a new generation is made of it.

python-tuf's client applies the rules of the specification (section 5), with its memory in
``tuf/``. Then a whole generation is gathered and verified once more, as it will be read offline,
and the state is pointed to it. Until that last step the old generation is in force.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from grokdist.bounded_file import read_bounded
from grokdist.catalog import parsing
from grokdist.catalog.followed_registry import Followed, time_text, write_settings
from grokdist.catalog.trusted_metadata import MAX_METADATA_BYTES
from grokdist.errors import GrokdistError, ManifestError, StoreError, TrustError
from grokdist.private_folder import make_private

if TYPE_CHECKING:
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

MAX_MODELS = 5000
_MODEL = re.compile(r"models/([a-z0-9][a-z0-9._-]{0,63})\.json")
_CLOCK_SLACK = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What an update brought.

    Attributes:
        followed: the registry as it stands now.
        added, changed, removed: names of models.
        notes: what its user should know, in sentences.
    """

    followed: Followed
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def update_one(followed: Followed, fetcher: FetcherInterface) -> Update:
    """Fetch what is new of a registry, and make it the generation that counts.

    Raises:
        NoSourceError: the server cannot be reached.
        TrustError: what it answers must not be trusted.
        StoreError: the state cannot be written.
    """
    now = datetime.now(UTC)
    notes = []
    if now < followed.checked_at - _CLOCK_SLACK:
        notes.append(
            f"this machine's clock shows {time_text(now)}, before the last update at"
            f" {followed.checked}: expiry dates are held against the later of the two"
        )
    fresh = followed.folder / "generations" / ".new"
    try:
        _fetch(followed, fetcher, fresh)
        verified = followed.read_in(fresh).verify(strict_freshness=True)
        if verified.delegates:
            notes.append("it delegates to other roles; what these list is not read")
        notes += _malformed(fresh)
        before, after = _models(followed.cached), _models(fresh)
        current = _commit(followed, fresh, stamp=time_text(max(now, followed.checked_at)))
    except OSError as error:
        raise StoreError(
            f"registry {followed.name}: {error.filename or followed.folder}: {error.strerror}"
        ) from error
    return Update(
        followed=current,
        added=tuple(sorted(set(after) - set(before))),
        changed=tuple(sorted(n for n in set(after) & set(before) if after[n] != before[n])),
        removed=tuple(sorted(set(before) - set(after))),
        notes=tuple(notes),
    )


def _fetch(followed: Followed, fetcher: FetcherInterface, fresh: Path) -> None:
    """Have python-tuf update its memory, and gather a generation from it."""
    from grokdist.catalog.registry_failure import explain

    shutil.rmtree(fresh, ignore_errors=True)
    make_private(fresh)
    try:
        updater = _updater(followed, fetcher)
        updater.refresh()
        _gather(followed, updater, fresh)
    except (GrokdistError, OSError):
        raise
    except Exception as error:
        # Hostile metadata may provoke anything in a parser; for a user all of it means "no".
        last_url = str(getattr(fetcher, "last", ""))
        raise explain(
            error, name=followed.name, last_url=last_url, cached=followed.generation > 0
        ) from error


def _commit(followed: Followed, fresh: Path, *, stamp: str) -> Followed:
    """Make a gathered generation the one that counts, unless it is the same as that one."""
    if followed.generation and _same(followed.cached, fresh):
        shutil.rmtree(fresh)
        current = replace(followed, checked=stamp)
    else:
        current = replace(
            followed, generation=followed.generation + 1, updated=stamp, checked=stamp
        )
        shutil.rmtree(current.cached, ignore_errors=True)  # of an update that was cut off
        fresh.rename(current.cached)
    write_settings(current)  # the step
    for old in fresh.parent.iterdir():
        # The one before stays, for whoever is reading it now.
        if old.name.isdecimal() and int(old.name) < current.generation - 1:
            shutil.rmtree(old, ignore_errors=True)
    return current


def _updater(followed: Followed, fetcher: FetcherInterface) -> Updater:
    from tuf.ngclient.config import UpdaterConfig
    from tuf.ngclient.updater import Updater

    memory = followed.folder / "tuf"
    memory.mkdir(mode=0o700, exist_ok=True)
    root = read_bounded(followed.folder / "root.json", MAX_METADATA_BYTES)
    if hashlib.sha256(root).hexdigest() != followed.root_sha256:
        raise TrustError(
            f"the pinned root of the registry {followed.name} was changed on this machine;"
            f" expected fingerprint {followed.root_sha256}",
            hint=f"grokdist registry remove {followed.name}, and add it again",
        )
    return Updater(
        str(memory),
        followed.url,
        target_base_url=followed.targets_url,
        fetcher=fetcher,
        config=UpdaterConfig(
            root_max_length=MAX_METADATA_BYTES,
            snapshot_max_length=MAX_METADATA_BYTES,
            targets_max_length=MAX_METADATA_BYTES,
        ),
        bootstrap=root,
    )


def _gather(followed: Followed, updater: Updater, folder: Path) -> None:
    """Put the verified metadata and all manifests into a folder as ``Registry`` reads them."""
    from tuf.api.metadata import (  # type: ignore[attr-defined]  # its documented names
        Metadata,
        Targets,
    )

    memory = followed.folder / "tuf"
    newest = Metadata.from_file(str(memory / "root.json")).signed.version
    for number in range(followed.first_root, newest + 1):
        name = f"{number}.root.json"
        shutil.copyfile(memory / "root_history" / name, folder / name)
    for name in ("timestamp.json", "snapshot.json", "targets.json"):
        shutil.copyfile(memory / name, folder / name)
    (folder / "models").mkdir()
    listing = Metadata[Targets].from_file(str(folder / "targets.json")).signed
    paths = [path for path in listing.targets if _MODEL.fullmatch(path)]
    if len(paths) > MAX_MODELS:
        raise TrustError(
            f"registry {followed.name} lists {len(paths)} models; expected at most {MAX_MODELS}"
        )
    for path in sorted(paths):
        listed = updater.get_targetinfo(path)
        if listed is None:
            raise TrustError(f"registry {followed.name} lists {path} and then does not")
        if listed.length > parsing.MAX_BYTES:
            raise TrustError(
                f"registry {followed.name}: {path} has {listed.length} bytes; expected at most"
                f" {parsing.MAX_BYTES}"
            )
        if updater.find_cached_target(listed, str(followed.cached / path)) is not None:
            shutil.copyfile(followed.cached / path, folder / path)
        else:
            updater.download_target(listed, str(folder / path))


def _malformed(folder: Path) -> list[str]:
    """What to say of signed manifests that cannot be read; they are no reason to take nothing."""
    notes = []
    for file in sorted((folder / "models").iterdir()):
        try:
            name = parsing.parse_manifest(file.read_bytes()).name
            if name != file.stem:
                notes.append(f"models/{file.name} is signed, but the manifest of {name}")
        except ManifestError as error:
            notes.append(f"models/{file.name} is signed, but malformed: {error}")
    return notes


def _models(folder: Path) -> dict[str, str]:
    """Digest by model of the manifests in a generation."""
    try:
        files = sorted((folder / "models").iterdir())
    except FileNotFoundError:
        return {}
    return {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _same(one: Path, other: Path) -> bool:
    """True where two generations are the same, file by file."""

    def contents(folder: Path) -> dict[str, bytes]:
        files = (each for each in folder.rglob("*") if each.is_file())
        return {str(each.relative_to(folder)): each.read_bytes() for each in files}

    return contents(one) == contents(other)
