"""A disk that refuses a piece is told as such, also where libtorrent tells of its hash first."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import libtorrent as lt
import pytest

from grokdist.errors import SourceError
from grokdist.transfer.sources.torrent_swarm import Swarm


def _told(folder: Path) -> Swarm:
    """A swarm in a folder that libtorrent told of hashes that contradict each other."""
    swarm = Swarm.__new__(Swarm)
    swarm._folder = folder
    swarm._error = None
    error = SimpleNamespace(
        category=lt.libtorrent_category, value=lambda: 1, message=lambda: "hashes do not match"
    )
    swarm._on_disk_error(error, "")
    return swarm


def test_the_disk_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="libtorrent stopped: hashes do not match"):
        _told(tmp_path).raise_error()
    assert list(tmp_path.iterdir()) == []

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _told(tmp_path).raise_error()
