"""Processes that publish or update are killed at any moment: the old or the new state is there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grokdist.catalog import registry_switch
from grokdist.catalog.registry_draft import draft_manifests
from grokdist.catalog.registry_folder import RegistryFolder
from tests.catalog.team import Follower, RegistryServer, Team, drafted_rotation, manifest, seen

ROUNDS = 12
PUBLISHER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grokdist.catalog.registry_publisher import publish
from grokdist.catalog.tuf_roles import signer_of
signer = signer_of(load_pem_private_key(Path(sys.argv[2]).read_bytes(), None))
print("ready", flush=True)
while True:
    publish(Path(sys.argv[1]), [signer], to=Path(sys.argv[3]), now=datetime.now(UTC))
"""
FOLLOWER = """
import sys
from pathlib import Path
from typing import Any
from grokdist.catalog.followed_registries import FollowedRegistries
from grokdist.transfer.registry_fetcher import RegistryFetcher
registries = FollowedRegistries(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    registries.update("acme", RegistryFetcher("acme"))
"""


def killed(repository: Path, code: str, *argv: Path, after: float) -> None:
    """Run Python code and kill it without a warning, so long after it began its work."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_a_publication_killed_at_any_moment(tmp_path: Path, repository: Path) -> None:
    team = Team(tmp_path / "registry")
    team.begin("tiny")
    web = tmp_path / "web"
    team.publish(to=web)
    key = tmp_path / "online.pem"
    key.write_bytes(team.keys["online"][0].private_bytes)
    draw = random.Random(4)
    before = seen(web, tmp_path / "client")
    for round_ in range(ROUNDS):
        if round_ % 3 == 0:
            team.publish(to=web)  # what the last ones may not have come to
            before = seen(web, tmp_path / "client")
            drafted_rotation(team)
        killed(repository, PUBLISHER, team.folder, key, web, after=draw.uniform(0, 0.06))
        for folder in (team.folder, web):
            now = seen(folder, tmp_path / "client")
            assert now >= before
        before = now
    assert team.publish(to=web).versions["root"] == 1 + ROUNDS // 3
    assert not list(web.glob(".*"))
    assert not [path for path in web.rglob("*") if path.is_symlink()]


def test_an_update_killed_at_any_moment(tmp_path: Path, repository: Path) -> None:
    team = Team(tmp_path / "registry")
    team.begin("tiny")
    with RegistryServer(team.folder) as server:
        follower = Follower(tmp_path / "home", server)
        follower.add()
        draw = random.Random(4)
        for round_ in range(ROUNDS // 3):
            before = set(follower.models())
            team.add(manifest(f"new-{round_}"))
            killed(repository, FOLLOWER, tmp_path / "home", after=draw.uniform(0, 0.1))
            assert set(follower.models()) in (before, before | {f"new-{round_}"})
            follower.update()
            assert f"new-{round_}" in follower.models()
        generations = follower.registries.get("acme").folder / "generations"
        assert len(list(generations.iterdir())) <= 2


class Stopped(BaseException):
    """The process ends here."""


STEPS = (
    *((Path, name) for name in ("replace", "rename", "symlink_to", "unlink", "mkdir")),
    (os, "replace"),
    (shutil, "copyfile"),
    (shutil, "rmtree"),
)
"""What changes a disk, here or in python-tuf."""


@pytest.fixture
def steps_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts the steps that are taken on the disk; the process ends before the last of them."""
    left = [10**9]

    def stepping(original: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            return original(*args, **kwargs)

        return step

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, stepping(getattr(owner, name)))
    yield left
    left[0] = 10**9


def test_an_update_that_ends_before_any_of_its_steps(tmp_path: Path, steps_left: list[int]) -> None:
    team = Team(tmp_path / "registry")
    team.begin("tiny")
    home, before = tmp_path / "home", tmp_path / "before"
    with RegistryServer(team.folder) as server:
        follower = Follower(home, server)
        follower.add()
        follower.update()
        team.rotate("root")
        team.add(manifest("second"))
        follower.update()
        team.add(manifest("third"))
        shutil.copytree(home, before, symlinks=True)
        steps, ended, states = 0, True, set()
        while ended:
            shutil.rmtree(home)
            shutil.copytree(before, home, symlinks=True)
            steps_left[0] = steps
            try:
                follower.update()
                ended = False
            except Stopped:
                steps += 1
            steps_left[0] = 10**9
            states.add(follower.models())
            follower.update()
            assert follower.models() == ("second", "third", "tiny")
    assert steps > 15
    assert states == {("second", "tiny"), ("second", "third", "tiny")}


def test_a_publication_that_ends_before_any_of_its_steps(
    tmp_path: Path, steps_left: list[int]
) -> None:
    """Every single step of a publication with a new root and listing, and of its tidying up."""
    team = Team(tmp_path / "registry")
    team.begin("tiny")
    drafted_rotation(team)
    draft_manifests(team.folder, [manifest("second")], now=datetime.now(UTC))
    team.sign("targets")
    shutil.copytree(team.folder, tmp_path / "before", symlinks=True)
    states = set()
    steps = 0
    while True:
        shutil.rmtree(team.folder)
        shutil.copytree(tmp_path / "before", team.folder, symlinks=True)
        steps_left[0] = steps
        try:
            team.publish()
            ended = False
        except Stopped:
            ended = True
        steps_left[0] = 10**9
        states.add(seen(team.folder, tmp_path / "client"))
        # Whoever comes next can go on, and reads nothing but the old or the new.
        RegistryFolder(team.folder).read()
        registry_switch.settle(team.folder)
        states.add(seen(team.folder, tmp_path / "client"))
        if not ended:
            break
        steps += 1
    assert steps > 15
    assert states == {(1, 1), (2, 2)}
