"""What goes into a model's torrent, and that the Hub's resolve URL is its web seed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from grokdist.catalog.manifest import Manifest, Source, SourceKind
from grokdist.errors import UnsafePathError, UsageError
from grokdist.transfer.sources.torrent_session import end_session, open_session
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import TorrentVersion, create_torrent
from grokdist.transfer.torrent_payload import payload_of
from tests.servers.hub_server import COMMIT, HubServer, wait_until
from tests.transfer.models import manifest_of
from tests.transfer.torrent.swarms import SmallModel

REPOSITORY = "xai-org/grok-1"


def _listed(model: SmallModel, *, files: tuple[str, ...] = (), commit: str = COMMIT) -> Manifest:
    hub = Source(kind=SourceKind.HUB, location=REPOSITORY, revision=commit, files=files)
    return manifest_of(model.entries, sources=[hub])


def _here(folder: Path, files: Mapping[str, bytes]) -> bool:
    """True where every file is on disk, which is later than libtorrent says."""
    with contextlib.suppress(FileNotFoundError):
        return all((folder / path).read_bytes() == data for path, data in files.items())
    return False


@pytest.mark.parametrize(
    ("version", "redirected"),
    [
        (TorrentVersion.V1, False),
        (TorrentVersion.V2, False),
        (TorrentVersion.HYBRID, False),
        # libtorrent loses its way where a piece spans files that were redirected; ours never do.
        (TorrentVersion.HYBRID, True),
    ],
)
def test_the_hub_is_a_web_seed(
    model: SmallModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: TorrentVersion,
    redirected: bool,
) -> None:
    files = {entry.path: (model.directory / entry.path).read_bytes() for entry in model.entries}
    with HubServer(files) as cdn, HubServer(files) as hub:
        if redirected:
            hub.faults.redirect_to = cdn.mirror
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        payload = payload_of(model.directory, _listed(model))
        assert payload.name == COMMIT
        made = create_torrent(
            model.directory,
            payload.paths,
            name=payload.name,
            version=version,
            web_seeds=payload.web_seeds,
        )
        session = open_session(SwarmSettings.on_loopback())
        try:
            params = lt.load_torrent_buffer(made.data)
            params.save_path = str(tmp_path)
            handle = session.add_torrent(params)
            wait_until(lambda: handle.status(0).is_seeding, seconds=20)
            handle.flush_cache()
            wait_until(lambda: _here(tmp_path / COMMIT, files))
        finally:
            end_session(session)


def test_what_the_hub_lacks_is_left_out(model: SmallModel) -> None:
    manifest = _listed(model, files=("ckpt-0/*",))
    payload = payload_of(model.directory, manifest)
    assert payload.left_out == ("tokenizer.model",)
    assert payload.web_seeds == (f"https://huggingface.co/{REPOSITORY}/resolve/",)
    assert payload_of(model.directory, manifest, include=("*",)).web_seeds == ()
    some = payload_of(model.directory, manifest, include=("*_000",))
    assert len(some.paths) == 4
    assert some.web_seeds
    assert some.left_out == ()
    with pytest.raises(UsageError, match="matches none"):
        payload_of(model.directory, manifest, include=("nothing",))


def test_a_model_that_no_hub_has(model: SmallModel) -> None:
    payload = payload_of(model.directory, manifest_of(model.entries))
    assert (payload.name, payload.web_seeds) == ("tiny", ())
    elsewhere = replace(
        manifest_of(model.entries),
        sources=(Source(kind=SourceKind.HUB, location=REPOSITORY),),
    )
    assert payload_of(model.directory, elsewhere).name == "tiny"


def test_a_folder_that_nothing_describes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no files"):
        payload_of(tmp_path, None)
    (tmp_path / "a").write_bytes(b"a")
    assert payload_of(tmp_path, None).paths == ("a",)
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnsafePathError):
        payload_of(tmp_path, None)
