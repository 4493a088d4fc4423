"""``path``, ``rm`` and ``gc``: where a model is, off the machine with it, and with what is left."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from grokdist import settings
from grokdist.errors import StoreError
from grokdist.transfer.lock import exclusive
from grokdist.transfer.removal import REMOVED
from grokdist.transfer.store import Store
from grokdist.transfer.tree import ModelTree
from grokdist.trust.sha256_build import library_path
from tests.cli.conftest import Cli
from tests.cli.test_seed import manifest_document

FILES = {"weights": b"bytes of weights", "sub/config.json": b"{}"}
NAME = "tiny"


def _fetch(cli: Cli, folder: Path, *extra: str | Path, revision: str = "a" * 40) -> Path:
    """Fetch the model out of a folder; where it is then."""
    source = folder / "source"
    for name, data in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    listed = [
        {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in FILES.items()
    ]
    document = manifest_document(files=listed, revision=revision)
    (folder / "m.json").write_text(json.dumps(document))
    argv = ("--manifest", folder / "m.json", "--source", f"local:{source}", "--source", "local")
    ended = cli("fetch", NAME, *argv, *extra, "--json")
    assert ended.code == 0, ended.err
    return Path(ended.json["dir"])


def test_path_prints_the_folder_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    missing = cli("path", NAME)
    assert (missing.code, missing.out) == (13, "")
    directory = _fetch(cli, tmp_path)
    assert cli("path", NAME).out == f"{directory}\n"
    found = cli("path", f"{NAME}@aaaa", "--json").json
    assert found == {
        "model": NAME,
        "revision": "a" * 40,
        "dir": str(directory),
        "complete": True,
    }
    assert cli("path", "grok-1").code == 13


def test_rm_asks_then_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    directory = _fetch(cli, tmp_path)
    asked = cli("rm", NAME)
    assert asked.code == 2
    assert "expected --yes" in asked.err
    assert directory.is_dir()
    document = cli("rm", NAME, "--yes", "--json").json
    assert document["deleted"] is True
    assert (document["files"], document["bytes"]) == (2, sum(map(len, FILES.values())))
    assert list(Store().models.iterdir()) == []
    assert cli("rm", NAME, "--yes").code == 13
    assert cli("path", NAME).code == 13


def test_rm_of_several_releases_asks_for_one(cli: Cli, tmp_path: Path) -> None:
    old, new = _fetch(cli, tmp_path), _fetch(cli, tmp_path, revision="b" * 40)
    ended = cli("rm", NAME, "--yes")
    assert ended.code == 2
    assert "tiny@aaaaaaaaaaaa" in ended.err
    assert cli("rm", f"{NAME}@bbb", "--yes").code == 0
    assert (old.exists(), new.exists()) == (True, False)


def test_rm_of_one_release_in_two_folders_asks_for_a_folder(cli: Cli, tmp_path: Path) -> None:
    inside, outside = _fetch(cli, tmp_path), _fetch(cli, tmp_path, "--dir", tmp_path / "mine")
    ended = cli("rm", NAME, "--yes")
    assert ended.code == 2
    hinted = shlex.split(ended.err.partition("hint: grokdist ")[2])
    assert hinted[0] == "rm"
    assert cli(*hinted, "--yes").code == 0
    assert [each.exists() for each in (inside, outside)] == [hinted[1] != str(inside), True]
    assert cli("rm", NAME, "--yes").code == 0


def test_rm_forgets_a_folder_outside_and_deletes_it_only_when_told(
    cli: Cli, tmp_path: Path
) -> None:
    directory = _fetch(cli, tmp_path, "--dir", tmp_path / "mine")
    (directory / "notes.txt").write_text("mine")
    (directory / "link").symlink_to(tmp_path / "m.json")
    forgotten = cli("rm", NAME, "--json").json
    assert (forgotten["deleted"], forgotten["files"], forgotten["kept"]) == (False, 0, 4)
    assert (directory / "weights").read_bytes() == FILES["weights"]
    assert cli("path", NAME).code == 13
    # By its directory it is still known for what it is.
    assert cli("rm", directory, "--yes").code == 2
    gone = cli("rm", directory, "--files", "--yes", "--json").json
    assert (gone["deleted"], gone["files"], gone["kept"]) == (True, 2, 2)
    assert sorted(each.name for each in directory.iterdir()) == ["link", "notes.txt"]
    assert (tmp_path / "m.json").exists()


def test_rm_and_gc_wait_for_nobody_and_take_nothing_in_use(cli: Cli, tmp_path: Path) -> None:
    directory = _fetch(cli, tmp_path)
    left = directory / ".grokdist/lease.abc"
    left.write_text("")
    with ModelTree(directory) as tree, exclusive(tree):
        refused = cli("rm", NAME, "--yes")
        assert refused.code == 1
        assert f"in use by process {os.getpid()}" in refused.err
        stays = cli("gc")
        assert stays.code == 1
        assert "in use" in stays.err
    assert (directory / "weights").exists()
    assert left.exists()


def test_who_waited_for_a_removed_model_is_told(cli: Cli, tmp_path: Path) -> None:
    directory = _fetch(cli, tmp_path)
    with ModelTree(directory) as tree:
        assert cli("rm", NAME, "--yes").code == 0
        directory.mkdir(parents=True)
        # The folder is there again, but it is not the one that is held open.
        with pytest.raises((OSError, StoreError), match=r"removed meanwhile|No such file"):
            exclusive(tree).__enter__()
    assert list(directory.iterdir()) == []


KILLED = """
import os, sys
from grokdist.transfer import removal
removal.clear = lambda *_: os.kill(os.getpid(), 9)
sys.argv = ["grokdist", "rm", "tiny", "--yes"]
from grokdist.cli.main import main
main()
"""


def test_a_removal_that_is_killed_is_finished_by_gc(
    cli: Cli, tmp_path: Path, repository: Path
) -> None:
    directory = _fetch(cli, tmp_path)
    child = subprocess.run([sys.executable, "-c", KILLED], cwd=repository, env=_env(repository))
    assert child.returncode == -9
    assert cli("path", NAME).code == 13
    (left,) = directory.parent.iterdir()
    assert left.name.startswith(REMOVED)
    dry = cli("gc", "--dry-run", "--json").json
    assert [(item["kind"], item["removed"]) for item in dry["items"]] == [("removed", False)]
    assert dry["freed_bytes"] > 0
    assert left.exists()
    assert cli("gc").out.endswith(f"{left}\nfreed {_text(dry['freed_bytes'])}\n")
    assert not left.exists()


def test_gc_takes_what_is_of_no_use_and_keeps_what_a_fetch_goes_on_from(
    cli: Cli, tmp_path: Path
) -> None:
    directory = _fetch(cli, tmp_path)
    parts = directory / ".grokdist/parts"
    parts.mkdir(exist_ok=True)
    done, state, begun = (
        parts / name for name in ("weights.part", "weights.state", "model-2.part")
    )
    for each in (done, state, begun):
        each.write_bytes(bytes(5000))
    lease = directory / ".grokdist/lease"
    lease.write_text(json.dumps(_dead_holder()))
    other = settings.compile_caches() / "0.0.1"
    other.mkdir(parents=True)
    (other / "program").write_bytes(bytes(5000))
    settings.compile_cache().mkdir()
    library_path().parent.mkdir()
    library_path().touch()
    old_library = library_path().with_name("sha256-0.so")
    old_library.write_bytes(bytes(5000))
    outside = _fetch(cli, tmp_path, "--dir", tmp_path / "mine", revision="c" * 40)
    (note,) = Store().models.glob("*/*.elsewhere")
    for each in sorted(outside.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    outside.rmdir()

    found = cli("gc", "--json").json
    assert {(item["kind"], item["path"]) for item in found["items"]} == {
        ("part", str(done)),
        ("part", str(state)),
        ("lease", str(lease)),
        ("gone", str(note)),
        ("compiled", str(other)),
        ("compiled", str(old_library)),
    }
    assert all(item["removed"] for item in found["items"])
    assert not any(each.exists() for each in (done, state, lease, other, note, old_library))
    assert library_path().exists()
    assert begun.exists()
    assert settings.compile_cache().is_dir()
    assert cli("verify", NAME).code == 0
    again = cli("gc", "--unfinished", "--json").json
    assert [item["path"] for item in again["items"]] == [str(begun)]
    assert cli("gc", "--unfinished", "--json").json["items"] == []


def test_a_folder_whose_disk_may_not_be_mounted_is_not_forgotten(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    directory = _fetch(cli, tmp_path, "--dir", tmp_path / "disk/mine")
    directory.rename(tmp_path / "away")
    assert cli("gc", "--json").json["items"] == []
    (tmp_path / "away").rename(directory)
    assert cli("path", NAME).out == f"{directory}\n"


def test_what_cannot_be_removed_is_a_sentence(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fetch(cli, tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "weights")

    monkeypatch.setattr("grokdist.transfer.removal.os.unlink", refuse)
    ended = cli("rm", NAME, "--yes")
    assert ended.code == 1
    assert "cannot remove weights: Permission denied" in ended.err


def _dead_holder() -> dict[str, object]:
    child = subprocess.Popen(["true"])
    child.wait()
    from grokdist.transfer.lease import Holder

    here = Holder.this_process()
    return {"host": here.host, "pid": child.pid, "boot": here.boot, "token": "ab" * 16}


def _env(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'runtime'}"}


def _text(count: int) -> str:
    from grokdist.cli.format import bytes_text

    return bytes_text(count)
