"""What the disk refuses becomes a sentence and the right exit code, whoever met it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from grokdist import __main__ as entry
from grokdist.cli.exit_codes import ExitCode, exit_code_for
from grokdist.errors import StoreError, TrustError
from grokdist_runtime.errors import CheckpointError, OutputError
from tests.cli.conftest import Cli


def _refusing(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/somewhere/file")


@pytest.mark.parametrize("kind", [StoreError, CheckpointError, TrustError])
def test_a_full_disk_has_one_code_whatever_found_it_out(kind: type[Exception]) -> None:
    error = kind("cannot write it")
    error.__cause__ = _refusing(errno.ENOSPC)
    assert exit_code_for(error) is ExitCode.RESOURCES
    error.__cause__ = _refusing(errno.EIO)
    assert exit_code_for(error) is exit_code_for(kind("cannot write it"))
    assert exit_code_for(OutputError("cannot write it")) is ExitCode.FAILURE
    assert exit_code_for(_refusing(errno.EDQUOT)) is ExitCode.RESOURCES
    assert exit_code_for(_refusing(errno.EACCES)) is ExitCode.FAILURE


@pytest.mark.parametrize(
    ("number", "code", "hint"),
    [
        (errno.ENOSPC, 15, "hint: free some space and run the same command again\n"),
        (errno.EIO, 1, ""),
    ],
)
def test_an_error_of_the_system_is_worded(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, code: int, hint: str
) -> None:
    from grokdist.transfer.tree import ModelTree

    model, key = tmp_path / "model", tmp_path / "key"
    model.mkdir()
    (model / "a").write_bytes(b"a")
    assert cli("keys", "new", "k", "--type", "p256", "--out", key, "--no-password").code == 0

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ModelTree, "_open_new", refuse)
    ended = cli("sign", model, "--key", key)
    assert ended.code == code
    assert ended.err.endswith(f"error: {model}/model.sig: {os.strerror(number)}\n{hint}")


def test_an_interrupt_while_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    fake = types.SimpleNamespace(main=interrupted)
    monkeypatch.setitem(sys.modules, "grokdist.cli.main", fake)  # type: ignore[arg-type]
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    try:
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == ExitCode.INTERRUPTED
    said = capsys.readouterr().err
    assert said == "error: interrupted\nhint: run the same command again to go on\n"


def test_an_interrupt_that_python_ignores_comes_again(repository: Path) -> None:
    """In a process of its own, in the callback of a weak reference, as imports have many."""
    code = """
import signal, sys, time, types, weakref
from grokdist import __main__ as entry
class Thing: pass
def work():
    thing = Thing()
    held = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    time.sleep(30)
sys.modules["grokdist.cli.main"] = types.SimpleNamespace(main=work)
entry.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=25
    )
    assert ended.returncode == ExitCode.INTERRUPTED
    assert ended.stderr == "error: interrupted\nhint: run the same command again to go on\n"


def test_an_interrupt_while_the_arguments_are_read(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grokdist.cli import main

    def ended(**_: object) -> None:
        raise SystemExit(130)  # as Typer does, without a word

    monkeypatch.setattr(main, "command_line", lambda: ended)
    monkeypatch.setattr(main, "_begun", [])
    said = cli("list", "--json")
    assert said.code == 130
    assert said.err.startswith("error: interrupted\n")
    assert said.json["error"]["exit_code"] == 130


LATE = """
import os, signal, sys
from grokdist.__main__ import main
class Late:
    def __del__(self):
        for each in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), each)
sys.argv = ["grokdist", "show", "nobody-has-this"]
late = Late()
late.itself = late  # for the collection that comes last
main()
"""


def test_an_interrupt_when_all_is_said_leaves_the_exit_code(repository: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LATE], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, "error: " in ended.stderr) == (ExitCode.UNKNOWN_MODEL, True)
