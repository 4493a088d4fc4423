"""The prompt loop of ``grokdist run``: a line is typed, the model goes on with it, and again.

Answers come from the scheduler with room for one text, for two things that it does: a text can be
cut short between two tokens, and one that begins like an earlier one is not read again from its
start, so that a long text goes on at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from grokdist.cli.answer import write
from grokdist.cli.output import Output
from grokdist.cli.prompt_commands import COMMANDS, Session, run_command
from grokdist.cli.prompt_history import PromptHistory
from grokdist.cli.speed import stats_line
from grokdist.cli.token_table import token_lines
from grokdist.errors import GrokdistError, StoreError
from grokdist_runtime.errors import RuntimeModelError
from grokdist_runtime.scheduler import Scheduler

if TYPE_CHECKING:
    from grokdist_runtime.engine import Engine

PROMPT = "> "


def converse(engine: Engine, session: Session, history: Path | None, out: Output) -> None:
    """Ask, answer, and so on, until the user ends it.

    Args:
        engine: the model.
        session: how to begin.
        history: the file that keeps what is typed; None to keep nothing.
        out: where answers and words go.
    """
    out.note("Type the start of a text. /help lists commands; Ctrl-D ends.")
    with (
        _terminated_ends(),
        _interrupts_flush_nothing(),
        _editing(history, out) as kept,
        Scheduler(engine, max_rows=1) as scheduler,
    ):
        interrupted = False
        while not session.over:
            try:
                if interrupted:  # said here, where a second one is met like the first
                    interrupted = False
                    _forget_keys()
                    out.stream("\n")
                line = input(PROMPT if sys.stdout.isatty() else "")
                if kept is not None and line.strip():
                    kept.add(line)
                _take(line, engine, scheduler, session, out)
            except EOFError:
                out.stream("\n")
                return
            except KeyboardInterrupt:
                # At the prompt; or the second of an answer, whose end is then not waited for.
                interrupted = True


def _take(line: str, engine: Engine, scheduler: Scheduler, session: Session, out: Output) -> None:
    """One line: a command, or the start of a text. What goes wrong ends the answer alone."""
    try:
        if line.startswith("/") and not line.startswith("//"):
            if said := run_command(session, line):
                out.asked(said)
            return
        prompt = session.prompt(line.removeprefix("/") if line.startswith("//") else line)
        if prompt:
            _answer(prompt, engine, scheduler, session, out)
    except (GrokdistError, RuntimeModelError) as error:
        hint = error.hint
        if session.text and isinstance(error, RuntimeModelError) and hint is None:
            hint = "/reset begins a new text"
        out.error(str(error), hint, 1)


def _answer(
    prompt: str, engine: Engine, scheduler: Scheduler, session: Session, out: Output
) -> None:
    settings = session.settings
    events = scheduler.submit(
        engine.encode(prompt),
        settings.asked,
        max_tokens=settings.max_tokens,
        stop=settings.stop,
        ignore_eos=settings.ignore_eos,
    )
    try:
        answer = write(events, settings, engine.tokenizer, out)
    except KeyboardInterrupt:
        _forget_keys()
        events.cancel()
        answer = write(events, settings, engine.tokenizer, out)
    session.answered(prompt, answer.completion.text or "")
    if answer.logprobs and answer.completion.stop_reason != "cancel":
        out.asked(token_lines(answer.logprobs))
    if session.stats:
        out.asked(stats_line(engine, answer.completion))


@contextlib.contextmanager
def _editing(path: Path | None, out: Output) -> Iterator[PromptHistory | None]:
    """The line editor, with what was typed before and commands to complete."""
    try:
        import readline
    except ImportError:  # a Python without it: lines are typed, and not edited
        yield None
        return
    kept = None
    try:
        kept = None if path is None else PromptHistory(path)
    except StoreError as error:
        out.warning(str(error))
    readline.clear_history()
    for line in kept.lines if kept is not None else ():
        readline.add_history(line)
    _complete_commands(readline)
    try:
        yield kept
    finally:
        readline.set_completer(None)
        readline.clear_history()


def _complete_commands(readline: ModuleType) -> None:
    names = [f"/{name}" for name in COMMANDS]

    def complete(text: str, state: int) -> str | None:
        found = [name for name in names if text.startswith("/") and name.startswith(text)]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")


@contextlib.contextmanager
def _interrupts_flush_nothing() -> Iterator[None]:
    """Keep a terminal from throwing typed keys away when Ctrl-C is pressed.

    Of keys that come fast, as from a paste, readline sees that there is one more, and then reads
    it. Were it gone by then, it would wait for another, and no Ctrl-C would end that.
    """
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    kept = [*before]
    kept[3] |= termios.NOFLSH
    termios.tcsetattr(sys.stdin, termios.TCSANOW, kept)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _forget_keys() -> None:
    """What was typed before Ctrl-C and not yet read: it belonged to the line that was given up."""
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


@contextlib.contextmanager
def _terminated_ends() -> Iterator[None]:
    """An interrupt ends an answer; to be terminated ends the session."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
