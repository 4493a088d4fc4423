"""The wheel and the sdist hold exactly what a user needs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
"""The moment that builders agree on, https://reproducible-builds.org/specs/source-date-epoch/."""


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=repository,
        check=True,
        capture_output=True,
        env={**os.environ, **EPOCH},
    )
    return out


def _tracked(repository: Path, *folders: str) -> set[str]:
    return {
        path.relative_to(repository).as_posix()
        for folder in folders
        for path in (repository / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_the_package_the_runtime_and_the_manifests(
    built: Path, repository: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = _tracked(repository, "grokdist")
    expected |= {
        name.removeprefix("runtime/") for name in _tracked(repository, "runtime/grokdist_runtime")
    }
    expected |= {
        "grokdist/_manifests/" + name.removeprefix("manifests/")
        for name in _tracked(repository, "manifests")
    }
    assert names == expected


def test_the_same_source_gives_the_same_wheel(
    built: Path, repository: Path, tmp_path: Path
) -> None:
    """Built again, later and by somebody with other settings, it is the same to the last byte."""
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=repository,
        check=True,
        capture_output=True,
        env={**os.environ, **EPOCH, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"},
        umask=0o077,
    )
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, tmp_path / wheel.name)
    ]
    assert digests[0] == digests[1]


def test_wheel_ships_the_licence_and_stays_small(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert wheel.stat().st_size < 16_000_000


def test_sdist_builds_what_the_checkout_builds(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for needed in ("LICENSE", "README.md", "pyproject.toml", "manifests/targets.json"):
        assert needed in names
