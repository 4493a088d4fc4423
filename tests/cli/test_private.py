"""What grokdist keeps is this user's alone, whichever command was the first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokdist import settings
from grokdist.private_folder import make_private
from grokdist_runtime.private_directory import private_directory
from tests.catalog.registry_simulator import RegistrySimulator
from tests.cli.conftest import Cli


@pytest.fixture(autouse=True)
def _generous() -> Iterator[None]:
    """As most people have it: others may read what is made."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_missing_folder_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for make in (make_private, private_directory):
        top = tmp_path / "there" / make.__name__
        make(top / "a" / "b")
        make(top / "a" / "b")
        assert [_mode(each) for each in (top, top / "a", top / "a/b")] == [0o700] * 3
    assert _mode(tmp_path / "there") == 0o755
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        make_private(tmp_path / "file" / "a")


@pytest.mark.parametrize(
    "argv",
    [
        ("fetch", "grok-mini", "--source", "local"),
        ("keys", "new", "mine"),
        ("doctor",),
        ("license", "accept", "grok-2"),
    ],
    ids=lambda argv: argv[0],
)
def test_the_store_is_private_after_any_first_command(cli: Cli, argv: tuple[str, ...]) -> None:
    ended = cli(*argv)
    home = settings.home()
    assert home.is_dir(), ended
    assert _mode(home) == 0o700
    # Below it others cannot reach anything; keys are private by themselves as well.
    for path in home.glob("keys/*"):
        assert _mode(path) == (0o644 if path.name.endswith(".pub.pem") else 0o600)


def test_the_store_is_private_after_a_registry_came_first(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(RegistrySimulator().files().roots[0])
    # Nobody listens there; the folder is made before anybody is asked.
    ended = cli("registry", "add", "team", "http://127.0.0.1:9/", "--root", root)
    assert ended.code == 14, ended
    assert _mode(settings.home()) == 0o700


def test_the_store_is_private_after_compiled_programs_came_first() -> None:
    private_directory(settings.compile_cache())
    cache, home = settings.compile_cache(), settings.home()
    folders = [each for each in (cache, *cache.parents) if each.is_relative_to(home)]
    assert folders[-1] == home
    assert {_mode(each) for each in folders} == {0o700}
