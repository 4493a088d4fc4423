"""The prompt loop as a person meets it: on a terminal, with a model, interrupted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import sys
import termios
from pathlib import Path

import pytest

from grokdist.cli import prompt_loop
from grokdist.cli.generation_settings import GenerationSettings
from grokdist.cli.output import Output
from grokdist.cli.prompt_commands import Session
from grokdist_runtime.sampling import SamplingParams
from tests.cli.terminal import Terminal


def test_a_session(tmp_path: Path, repository: Path) -> None:
    """One session for all of it, since each loads and compiles a model anew."""
    home = Path(os.environ["GROKDIST_HOME"])
    env = {
        **os.environ,
        "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'runtime'}",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    argv = [sys.executable, "-m", "grokdist", "run", "--temperature", "0", "--max-tokens", "6"]
    with Terminal(argv, cwd=repository, env=env) as terminal:
        terminal.expect(r"/help lists commands; Ctrl-D ends.*\n> ")
        terminal.type("To be, or\n")
        first = terminal.expect(r"To be, or\r\n((?:.|\n)+?)\r\n> ").group(1)

        # The same line gives the same text; a setting changes the next answer and not the session.
        terminal.type("/max-tokens 3\n")
        terminal.expect("max-tokens 3\r\n> ")
        terminal.type("To be, or\n")
        shorter = terminal.expect(r"To be, or\r\n((?:.|\n)+?)\r\n> ").group(1)
        assert first.startswith(shorter)
        assert len(shorter) < len(first)

        # Mistakes end nothing.
        terminal.type("/nonsense\n")
        terminal.expect("error: /nonsense is no command.*\n(.*\n)*> ")
        terminal.type("word " * 400 + "\n")
        terminal.expect("error: .*context of 256.*\n(.*\n)*> ")

        # What was pasted is there to be read when Ctrl-C is pressed: see the loop's reason.
        assert terminal.local_modes() & termios.NOFLSH

        # Ctrl-C at the prompt gives a new prompt.
        # CPython misses one of the moment before it waits for keys; people press it again.
        terminal.type("half a li")
        terminal.type_until("\x03", r"\n> ")

        # An interrupt ends an answer that is being written, and keeps the session.
        for line in ("/max-tokens 250", "/temperature 1", "/stats on"):
            terminal.type(f"{line}\n")
            terminal.expect(r"\n> ")
        for _ in range(5):  # on a busy machine it may have ended before it could be interrupted
            terminal.type("Friends, Romans\n")
            terminal.expect(r"Romans\r\n(?:.|\n){12}")
            terminal.type("\x03")
            told = terminal.expect(r"load .* s, compile .* (\d+) tokens \((\w+)\).*\n> ")
            if told.group(2) == "cancel":
                break
        assert told.group(2) == "cancel"
        assert 0 < int(told.group(1)) < 250

        # What was kept is gone on from, without reading it again.
        for line in ("/max-tokens 40", "/keep on"):
            terminal.type(f"{line}\n")
            terminal.expect(r"\n> ")
        terminal.type("My lord, the king is at the gate with all his men. " * 8 + "\n")
        terminal.expect(r"\d+ tokens \((length|eos)\).*\n> ")
        terminal.type("\n")
        terminal.expect(r"(\d+) of (\d+) prompt tokens known.*\n> ")

        # Completion of commands, then the end: by Ctrl-D, and without an error.
        terminal.type("/setti\t\n")
        terminal.expect(r"keep True\r\nstats True\r\n> ")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown
        assert not terminal.local_modes() & termios.NOFLSH

    history = home / "prompt-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    kept = history.read_text().splitlines()
    assert kept[0] == "To be, or"
    assert "/max-tokens 3" in kept
    assert not [line for line in kept if re.match("half a li", line)]


def test_a_second_interrupt_while_the_first_is_answered_keeps_the_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """People press Ctrl-C twice."""
    typed = iter([KeyboardInterrupt, "/settings", EOFError])
    written: list[str] = []

    def keys(prompt: str) -> str:
        key = next(typed)
        if isinstance(key, str):
            return key
        raise key

    class Disturbed(Output):
        def stream(self, text: str) -> None:
            written.append(text)
            if len(written) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", keys)
    monkeypatch.setattr(prompt_loop, "Scheduler", lambda *_, **__: contextlib.nullcontext())
    settings = GenerationSettings(sampling=SamplingParams(seed=1), max_tokens=8)
    session = Session(model="tiny", settings=settings)
    prompt_loop.converse(None, session, None, Disturbed())  # type: ignore[arg-type]
    assert "temperature" in capsys.readouterr().err
    assert written == ["\n", "\n", "\n"]


def test_to_be_terminated_ends_the_session(tmp_path: Path, repository: Path) -> None:
    """The loop alone, since the signal is all that matters."""
    code = """
import signal, sys
from grokdist.cli import prompt_loop
with prompt_loop._terminated_ends():
    print("ready", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("taken for an interrupt")
"""
    env = {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'runtime'}"}
    with Terminal([sys.executable, "-c", code], cwd=repository, env=env) as terminal:
        terminal.expect("ready")
        terminal.child.send_signal(signal.SIGTERM)
        assert terminal.end() == 128 + signal.SIGTERM
        assert "taken" not in terminal.shown
