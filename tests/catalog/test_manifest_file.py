"""A manifest given as a file, and files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from grokdist.catalog import parsing
from grokdist.catalog.manifest_file import manifest_from_file
from grokdist.errors import ManifestError
from tests.catalog.conftest import manifest_tree


def test_a_manifest_given_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    raw = json.dumps(manifest_tree()).encode()
    path.write_bytes(raw)
    trusted = manifest_from_file(path)
    assert trusted.manifest.name == "tiny"
    assert trusted.raw == raw
    assert trusted.signed_by.registry == "unsigned"
    assert not trusted.signed_by.signed


@pytest.mark.parametrize("what", ["missing", "directory", "pipe", "too-large", "malformed", "nul"])
def test_a_file_that_is_no_manifest(tmp_path: Path, what: str) -> None:
    path = tmp_path / "mine.json"
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "too-large":
        with path.open("wb") as file:
            file.truncate(parsing.MAX_BYTES + 1)
    elif what == "malformed":
        path.write_bytes(b"\xff")
    elif what == "nul":
        path = tmp_path / "a\x00b"
    with pytest.raises(ManifestError, match=r"^manifest ") as caught:
        manifest_from_file(path)
    assert str(caught.value).isprintable()
