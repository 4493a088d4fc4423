"""The ``grokdist`` command: one app, one place where errors become a sentence and an exit code."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import grokdist
from grokdist.cli import cluster, completion
from grokdist.cli.commands import Commands
from grokdist.cli.exit_codes import MEANINGS, ExitCode, exit_code_for, out_of_room
from grokdist.cli.output import Output, begin
from grokdist.errors import GrokdistError, ResourceError
from grokdist.settings import config_path, load_config

_begun: list[str] = []
"""The command that was begun: from then on it says itself how it ends."""


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a command raises into one sentence, a hint and an exit code."""

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        out = Output(json=bool(kwargs.get("json")))
        try:
            _begun.append(command.__name__)
            command(*args, **kwargs)
        except GrokdistError as error:
            _fail(out, error, error.hint)
        except BrokenPipeError:
            # The reader of our output went away; there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(ExitCode.FAILURE) from None
        except KeyboardInterrupt:
            _say_interrupted(out)
            raise SystemExit(ExitCode.INTERRUPTED) from None
        except OSError as error:
            _fail(out, _worded(error), None)
        except Exception as error:
            if type(error).__name__ == "JaxRuntimeError" and not kwargs.get("verbose"):
                # Also what a process meets whose partner in a sum over machines has ended.
                _fail(out, GrokdistError(f"JAX failed: {_first_line(error)}"), "-v shows where")
            if not type(error).__module__.startswith("grokdist_runtime."):
                raise
            _fail(out, error, getattr(error, "hint", None))

    return run_command


def _say_interrupted(out: Output) -> None:
    out.error("interrupted", "run the same command again to go on", ExitCode.INTERRUPTED)


def _worded(error: OSError) -> Exception:
    """An error of the system in words, without its number."""
    if error.strerror is None:
        return error
    where = "" if error.filename is None else f"{error.filename}: "
    told = GrokdistError(f"{where}{error.strerror}")
    told.__cause__ = error
    return told


def _fail(out: Output, error: Exception, hint: str | None) -> NoReturn:
    code = exit_code_for(error)
    if out_of_room(error) and not isinstance(error, ResourceError):
        hint = "free some space and run the same command again"
    out.error(str(error), hint, code)
    raise SystemExit(code) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _version(value: bool) -> None:
    if value:
        Output().result({}, f"grokdist {grokdist.__version__}")
        raise typer.Exit


def _show_completion(shell: completion.Shell | None) -> None:
    if shell is not None:
        Output().result({}, completion.script(shell))
        raise typer.Exit


class CommandGroup(TyperGroup):
    """All commands, each made when it is asked for."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.commands = Commands(_reported)  # type: ignore[assignment]  # never added to


app = typer.Typer(
    cls=CommandGroup,
    name="grokdist",
    help="Get open-weight models, provably, from publisher to running.",
    epilog="Exit codes: " + "; ".join(f"{int(c)} {text}" for c, text in MEANINGS.items()) + ".",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"auto_envvar_prefix": "GROKDIST", "help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_version,
        is_eager=True,
        show_envvar=False,
        help="Print the version.",
    ),
    show_completion: Annotated[
        completion.Shell | None,
        typer.Option(
            callback=_show_completion,
            is_eager=True,
            show_envvar=False,
            help="Print the completions for a shell, for it to source.",
        ),
    ] = None,
) -> None:
    pass


@functools.cache
def command_line() -> Callable[..., Any]:
    """The command line as Typer makes it."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line; ends the process with one of ``ExitCode``."""
    # Imports make many objects and no garbage: by default the collector takes a fifth of the start.
    gc.set_threshold(50_000, 20, 20)
    begin()
    asked = completion.ASKED in os.environ
    if asked:
        completion.prepare()
    try:
        config = {} if asked else load_config(config_path())
    except GrokdistError as error:
        # The command that says what is wrong with this machine says this as well.
        if sys.argv[1:2] != ["doctor"]:
            _fail(Output(json="--json" in sys.argv), error, error.hint or "grokdist doctor")
        config = {}
    try:
        command_line()(
            prog_name=completion.PROGRAM, complete_var=completion.ASKED, default_map=config
        )
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED and not _begun:
            # While the arguments were read, where Typer ends without a word.
            _say_interrupted(Output(json="--json" in sys.argv))
        cluster.leave(end.code)
        raise
