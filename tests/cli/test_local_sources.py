"""Folders that other tools left, a target in use, a wish to link: through the command line."""

from __future__ import annotations

import os
from pathlib import Path

import grokdist
from grokdist.catalog.registry import Registry
from grokdist.transfer.lock import exclusive
from grokdist.transfer.tree import ModelTree
from tests.cli.conftest import Cli

BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"
PATHS = [entry.path for entry in Registry.embedded().load("grok-mini").manifest.files]


def _hub_cache(cache: Path) -> Path:
    """The release in a cache as the Hub's client makes it."""
    repository = cache / "models--someone--grok-mini"
    for place, path in enumerate(PATHS):
        blob = repository / "blobs" / f"{place:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes((BUNDLED / path).read_bytes())
        link = repository / "snapshots" / "abc" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return cache


def test_a_hub_cache_is_taken_over(cli: Cli, tmp_path: Path) -> None:
    cache = _hub_cache(tmp_path / "hub")
    argv = ("fetch", "grok-mini", "--source", f"local={cache}", "--source", "https")
    document = cli(*argv, "--dir", tmp_path / "d", "--json").json
    assert list(document["sources"]) == [f"local:{cache}"]
    assert cli("verify", tmp_path / "d").code == 0


def test_a_link_is_made_only_when_asked_for(cli: Cli, tmp_path: Path) -> None:
    cache = _hub_cache(tmp_path / "hub")
    big = max(PATHS, key=lambda path: (BUNDLED / path).stat().st_size)
    blob = (cache / "models--someone--grok-mini/snapshots/abc" / big).resolve()
    argv = ("fetch", "grok-mini", "--source", f"local={cache}", "--source", "https")
    argv = (*argv, "--include", big)
    assert cli(*argv, "--dir", tmp_path / "one").code == 0
    assert not (tmp_path / "one" / big).samefile(blob)
    linked = cli(*argv, "--dir", tmp_path / "two", "--link", "--json").json
    assert linked["fetched_bytes"] == 0
    assert (tmp_path / "two" / big).samefile(blob)
    assert cli("verify", tmp_path / "two").code == 0


def test_a_directory_in_use_is_exit_1_with_its_holder(cli: Cli, tmp_path: Path) -> None:
    with ModelTree(tmp_path) as tree, exclusive(tree):
        ended = cli("fetch", "grok-mini", "--dir", tmp_path)
    assert ended.code == 1
    assert f"is in use by process {os.getpid()}" in ended.err
    assert "hint: wait for it to end (--wait), or choose another --dir" in ended.err
