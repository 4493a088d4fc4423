"""Giving back: which file of the torrent is which file of the model, and what is refused."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from grokdist.errors import SourceError
from grokdist.transfer.plan import FetchRequest
from grokdist.transfer.seeding import SeedStatus
from grokdist.transfer.sharing import share
from grokdist.transfer.sources.torrent_settings import SwarmSettings
from grokdist.transfer.torrent_create import create_torrent
from tests.transfer.models import manifest_of, trusted
from tests.transfer.torrent.swarms import SmallModel, make_model

LOOPBACK = SwarmSettings.on_loopback()


def _nested(model: SmallModel, folder: Path) -> Path:
    """A torrent whose author kept the model one folder further down."""
    shutil.copytree(model.directory, folder / "release")
    paths = [f"release/{entry.path}" for entry in model.entries]
    torrent = folder / "nested.torrent"
    torrent.write_bytes(create_torrent(folder, paths, name="root").data)
    return torrent


def _request(model: SmallModel, torrent: str, entries: int = 99) -> FetchRequest:
    manifest = manifest_of(model.entries[:entries])
    return FetchRequest(trusted=trusted(manifest), directory=model.directory, torrent=torrent)


def _share(request: FetchRequest) -> SeedStatus:
    return share(request, ratio=0.0, settings=LOOPBACK, stop=threading.Event())


def test_files_are_found_by_the_manifests_paths(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    torrent = _nested(model, tmp_path / "author")
    status = _share(_request(model, str(torrent)))
    assert status.size == sum(entry.size for entry in model.entries)


def test_a_torrent_with_other_files_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    torrent = _nested(model, tmp_path / "author")
    with pytest.raises(SourceError, match="files that the manifest does not list"):
        _share(_request(model, str(torrent), entries=2))


def test_a_link_whose_metadata_never_came_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    with pytest.raises(SourceError, match="metadata is not here"):
        _share(_request(model, model.torrent().magnet))


def test_a_model_without_a_torrent_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    request = FetchRequest(trusted=trusted(manifest_of(model.entries)), directory=model.directory)
    with pytest.raises(SourceError, match="has no torrent to share by"):
        _share(request)
