"""Nothing that must not be in a repository is in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_INDEX_HOST = re.compile(rb"python" + rb"hosted\.org|//py" + rb"pi\.org")


@pytest.fixture(scope="module")
def files(repository: Path) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True
    ).stdout.decode()
    return [repository / name for name in listing.split("\0") if name]


def test_no_private_key_and_no_index_address(files: list[Path]) -> None:
    for path in files:
        if path.is_file():
            data = path.read_bytes()
            assert not _PRIVATE_KEY.search(data), path
            assert not _INDEX_HOST.search(data), path


def test_nothing_unpickles(files: list[Path], repository: Path) -> None:
    """Only two child processes may: one shows what an attack would do, one is timed.

    The latter is the original's way to load, on files that the benchmark wrote itself.
    """
    load = re.compile(r"pickle\.(load|loads|Unpickler)\b|allow_pickle\s*=\s*True")
    found = {
        path.relative_to(repository).as_posix()
        for path in files
        if path.suffix == ".py" and path.is_file() and load.search(path.read_text("utf-8"))
    }
    assert found <= {
        "benchmarks/load_original_child.py",
        "tests/architecture/test_repository.py",
        "tests/checkpoint/test_attacks.py",
    }


def test_lock_file_has_hashes_and_no_index(repository: Path) -> None:
    text = (repository / "requirements.lock").read_text("utf-8")
    pins = re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)
    assert len(pins) > 20
    assert text.count("--hash=sha256:") >= len(pins)
    assert "http" not in text.lower().replace("httpcore", "").replace("httpx", "")
