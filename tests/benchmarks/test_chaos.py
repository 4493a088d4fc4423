"""A short run of the chaos harness, from fixed seeds, and what it must count as lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos import shim
from benchmarks.chaos.arena import FINISHED, Arena
from benchmarks.chaos.commands import commands
from benchmarks.chaos.fetch_run import Outcome, fetch_run
from benchmarks.chaos.mix import BEFORE, DISKS, ENDS, HARMLESS, WRONG, draw
from benchmarks.chaos.names import names, strays
from benchmarks.chaos.page import page
from benchmarks.chaos.product import Ended, misspoken, unbegun
from benchmarks.chaos.steps import FULL, KILLED, at_steps, end_at, stage
from benchmarks.chaos.truth import Between, sha256sum
from benchmarks.chaos.watch import Watch

SEEDS = (7, 63)
"""A small disk that a killed fetch left bytes on, and a full one; liars in both."""
pytestmark = pytest.mark.skipif(bool(shim.missing()), reason=shim.missing() or "it can run here")


def test_fetches_under_faults_lose_nothing(tmp_path: Path) -> None:
    with Arena(tmp_path) as arena, ThreadPoolExecutor(len(SEEDS)) as pool:
        outcomes = list(pool.map(lambda seed: fetch_run(draw(seed), arena), SEEDS))
    assert [each.losses for each in outcomes] == [[], []]
    text = page("it", outcomes, {}, seconds=1.0, without="")
    assert "2 fetches, each a process of its own" in text
    assert "Losses: 0." in text
    for fault in {fault for each in outcomes for fault in each.mix.faults}:
        assert f"\n| {fault}" in text


def test_a_signing_killed_at_some_of_its_steps(tmp_path: Path) -> None:
    library = shim.build(tmp_path)
    command = next(each for each in commands() if each.name == "sign, over a signature")
    made = stage(command, tmp_path / "s", library)
    assert made.steps == 9
    ends = [(KILLED, 5), (FULL, 4)]
    tallies = dict(at_steps(made, ends, tmp_path / "s", library, workers=2))
    assert all(tally.losses == [] for tally in tallies.values())
    assert tallies[KILLED].ends == Counter({"killed, old": 1})
    assert tallies[FULL].ends == Counter({"exit 15, old": 1})

    def neither(folder: Path, before: Path, after: Path) -> str:
        raise Between("half of it")

    torn = replace(made, command=replace(command, state=neither), expected=frozenset())
    how, losses = end_at(torn, KILLED, 1, tmp_path / "torn", library)
    assert how == "killed, between"
    assert "SIGKILL at step 1 of 9: between old and new: half of it" in losses
    assert any("was left behind" in each for each in losses)


def test_a_seed_is_a_mix_and_many_are_all_of_them() -> None:
    mixes = [draw(seed) for seed in range(1, 301)]
    assert mixes == [draw(seed) for seed in range(1, 301)]
    assert {each for mix in mixes for each in mix.servers} == {*WRONG, *HARMLESS}
    assert {mix.disk for mix in mixes} == {"", *DISKS}
    assert {mix.before for mix in mixes} == {"", *BEFORE}
    assert {mix.end for mix in mixes} == {"", *ENDS}
    assert {peer for mix in mixes for peer in mix.peers} == {"honest", "lies", "dead"}
    assert sum(len(mix.faults) > 1 for mix in mixes) > 250
    # A swarm without a right byte is waited for, for minutes, unless somebody ends it.
    alone = [mix for mix in mixes if mix.peers and "honest" not in mix.peers]
    assert all(mix.end or set(mix.servers) & set(HARMLESS) for mix in alone)


def test_a_name_is_watched_from_the_first_moment(tmp_path: Path) -> None:
    files = {"a": b"right", "sub/b": b"right", "sub/c": b"right"}
    (tmp_path / "sub").mkdir()
    (tmp_path / "c").write_bytes(b"right")
    (tmp_path / "b").write_bytes(b"wrong")
    with Watch(tmp_path, files) as watch:
        (tmp_path / "c").rename(tmp_path / "sub/c")
        (tmp_path / "b").rename(tmp_path / "sub/b")
        (tmp_path / "sub/b").rename(tmp_path / "gone")
        (tmp_path / "a").write_bytes(b"right")
        (tmp_path / "other").write_bytes(b"anything")
    assert watch.named == 2
    assert set(watch.losses) >= {
        "sub/b lost its name",
        "a was made under its name",
        "a was written to under its name",
    }
    assert not [each for each in watch.losses if "sub/c" in each]


def test_what_is_left_behind_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.root.json").write_bytes(b"")
    expected = names(tmp_path)
    (tmp_path / "a/1.root.json").rename(tmp_path / "a/2.root.json")
    assert strays(tmp_path, expected) == []
    (tmp_path / "a/lease.0123456789abcdef").write_bytes(b"")
    shutil.move(tmp_path / "a/2.root.json", tmp_path / "a/root.new")
    assert strays(tmp_path, expected) == [
        "a/lease.# was left behind",
        "a/root.new was left behind",
        "a/N.root.json is not there",
    ]
    (tmp_path / "f").write_bytes(b"wrong")
    assert sha256sum(tmp_path, {"f": b"wrong"}) == []
    assert sha256sum(tmp_path, {"f": b"right"}) == ["sha256sum: f: FAILED"]


SAYS = {0: FINISHED, 14: "no source", -signal.SIGKILL: ""}


@pytest.mark.parametrize(
    ("code", "out", "err", "wrong"),
    [
        (0, '{"verified": true}', "", ""),
        (14, "", "error: no source\nhint: try\n", ""),
        (-9, "", "half", ""),
        (0, "", "", "it printed ''"),
        (0, '{"verified": true}', "error: no\n", "exit code 0 with"),
        (11, "", "error: no\n", "exit code 11, expected"),
        (14, "", "error: another\n", "it said 'error: another'"),
        (14, "", "", "0 sentences of error"),
        (14, "", "error: no source\nerror: and more\n", "2 sentences of error"),
        (14, "", "Traceback (most recent call last)\nerror: no source\n", "a traceback"),
        (14, "", "error: no source: [Errno 28] x\n", "an error of the system as it came"),
        (14, '{"error": {"exit_code": 1}}', "error: no source\n", "another exit code on stdout"),
    ],
)
def test_what_is_said(code: int, out: str, err: str, wrong: str) -> None:
    told = misspoken(Ended(code=code, out=out, err=err), SAYS)
    assert [each.startswith(wrong) for each in told] == ([True] if wrong else [])


def test_an_interrupt_before_any_line_of_ours() -> None:
    line = f'  File "{shim.SOURCE.parents[2]}/grokdist/%s", line 7, in %s\n'
    ours = "Traceback\n" + line % ("__main__.py", "main") + "KeyboardInterrupt\n"
    python = "Traceback\n" + line % ("__main__.py", "<module>") + "KeyboardInterrupt\n"
    assert unbegun(Ended(code=-signal.SIGINT, out="", err=python))
    assert unbegun(Ended(code=1, out="", err=python))
    assert not unbegun(Ended(code=-signal.SIGINT, out="", err=ours))
    assert not unbegun(Ended(code=1, out="", err="error: something\n"))
    assert not unbegun(Ended(code=0, out="", err=""))


def test_a_loss_is_on_the_page_with_all_that_befell_it() -> None:
    mix = draw(7)
    lost = Outcome(mix=mix, how="exit 0", losses=["a byte"], skipped="disk: small (needs root)")
    text = page("it", [lost], {}, seconds=1.0, without="small disks")
    assert "Losses: 1." in text
    assert f"Lost: {mix}\n\n- a byte" in text
    assert "Left out in 1 runs, which met their other faults: disk: small (needs root)." in text
    assert "\n| disk: small, left out: (needs root) | 0 |" in text


def test_the_shim_kills_tears_fails_and_jumps(tmp_path: Path) -> None:
    library = shim.build(tmp_path)

    def run(code: str, settings: shim.Shim) -> int:
        environment = {**os.environ, **settings.environment(library, tmp_path / "count")}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
        argv = [sys.executable, "-S", "-E", "-c", code]
        return subprocess.run(argv, env=environment).returncode

    write = f"open({str(tmp_path / 'f')!r}, 'wb', 0).write(b'x' * 10)"
    assert run(write, shim.Shim()) == 0
    assert (tmp_path / "count").read_text().split() == ["2"]
    assert run(write, shim.Shim(kill_at=2)) == -signal.SIGKILL
    assert (tmp_path / "f").stat().st_size == 0
    assert run(write, shim.Shim(kill_at=2, torn=True)) == -signal.SIGKILL
    assert (tmp_path / "f").stat().st_size == 5
    full = f"try: {write}\nexcept OSError as e: import sys; sys.exit(e.errno)"
    assert run(full, shim.Shim(fail_at=2)) == 28
    clock = (
        "import time; a = time.monotonic(); t = [(time.sleep(0.05), time.time())[1]"
        " for _ in range(20)]; raise SystemExit(max(t) - min(t) < 3000)"
    )
    assert run(clock, shim.Shim(clock=3)) == 0
    assert run(clock, shim.Shim()) == 1
