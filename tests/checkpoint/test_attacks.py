"""Every attack is refused, for what it does, without running or importing anything."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from grokdist_runtime.checkpoint.opcode_machine import MAX_OPCODES
from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.checkpoint.shard_file import MAX_STRUCTURE_BYTES
from grokdist_runtime.errors import UnsafeShardError
from tests.checkpoint.attacks import Attack, all_attacks
from tests.checkpoint.pickle_assembler import array, call, named, quantised, shard, text

ATTACKS = all_attacks()


def test_the_controls_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "tensor00000_000"
    path.write_bytes(shard(array()))
    assert read_shard(path).weight.shape == (2, 3)
    path.write_bytes(shard(quantised()))
    read = read_shard(path)
    assert read.scales is not None
    assert (read.weight.shape, read.scales.shape) == ((8, 3), (4, 3))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_refused_within_budget(attack: Attack, tmp_path: Path, taken: list[int]) -> None:
    path = tmp_path / "tensor00000_000"
    path.write_bytes(attack.data)
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeShardError) as caught:
            read_shard(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert any(reason in message for reason in attack.reason.split(" | ")), message
    assert message.isprintable()
    assert len(message) < 800
    assert caught.value.file == str(path)
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.offset is not None
    assert 0 <= caught.value.offset <= len(attack.data)
    # An opcode, its argument's length and its argument are three reads at most.
    assert len(taken) <= 3 * MAX_OPCODES + 1
    assert sum(taken[:-1]) <= MAX_STRUCTURE_BYTES
    assert peak < 300_000


_WATCHED = """
import json, sys
from pathlib import Path
from grokdist_runtime.checkpoint.shard import read_shard
from grokdist_runtime.errors import UnsafeShardError

folder = Path(sys.argv[1])
paths = sorted(folder.iterdir())
events, watching, allowed = [], False, ""

def hook(event, arguments):
    if watching and not (event == "open" and str(arguments[0]) == allowed):
        events.append([allowed, event, repr(arguments)[:200]])

sys.addaudithook(hook)
refused = {}
for path in paths:
    allowed, before, watching = str(path), set(sys.modules), True
    try:
        read_shard(path)
        outcome = "accepted"
    except UnsafeShardError:
        outcome = "refused"
    finally:
        watching = False
    assert set(sys.modules) == before, path
    refused[path.name] = outcome
quiet = list(events)
# The same hook hears an import, an execution and the opening of another file.
allowed, watching = "", True
eval("1")
import this
open(sys.executable).close()
watching = False
heard = sorted({event for _, event, _ in events[len(quiet):]})
print(json.dumps({"outcomes": refused, "events": quiet, "heard": heard}), file=sys.stderr)
"""


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = json.dumps([path for path in sys.path if path])
    start = f"import sys; sys.path[:0] = {paths}\n"
    return subprocess.run(
        [sys.executable, "-c", start + code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_reading_attacks_imports_opens_and_executes_nothing(tmp_path: Path) -> None:
    names = {}
    for index, attack in enumerate(ATTACKS):
        path = tmp_path / f"tensor{index:05d}_000"
        path.write_bytes(attack.data)
        names[path.name] = attack.name
    done = _run(_WATCHED, str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["events"] == []
    accepted = [names[name] for name, outcome in report["outcomes"].items() if outcome != "refused"]
    assert accepted == []
    assert len(report["outcomes"]) == len(ATTACKS)
    assert {"compile", "exec", "import", "open"} <= set(report["heard"])


# The one place where something is unpickled, in a child: it shows that the canary would sing.
_UNPICKLE = "import pickle; pickle.loads(open(sys.argv[1], 'rb').read())"


@pytest.mark.parametrize("place", ["root", "dtype", "dimension", "before-a-valid-array"])
def test_a_live_attack_runs_when_unpickled_and_not_when_read(tmp_path: Path, place: str) -> None:
    canary = tmp_path / "canary"
    make = call(named("posix", "mkdir"), text(str(canary)))
    value = {
        "root": make,
        "dtype": array(kind=make),
        "dimension": array(dims=make),
        "before-a-valid-array": make + array(),
    }[place]
    path = tmp_path / "tensor00000_000"
    path.write_bytes(shard(value))
    with pytest.raises(UnsafeShardError, match="global 'posix' 'mkdir'"):
        read_shard(path)
    assert not canary.exists()
    _run(_UNPICKLE, str(path))
    assert canary.exists()


@pytest.mark.parametrize("name", ["model.bin", "data.pkl", "weights.npy", "x.pt", ".hidden", "a b"])
def test_a_name_changes_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(shard(call(named("os", "system"), text("x"))))
    with pytest.raises(UnsafeShardError, match="global 'os' 'system'"):
        read_shard(path)
    path.write_bytes(shard(array()))
    assert read_shard(path).weight.shape == (2, 3)


def test_the_path_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;owned\x07"
    path.write_bytes(b"")
    with pytest.raises(UnsafeShardError) as caught:
        read_shard(path)
    assert str(caught.value).isprintable()
