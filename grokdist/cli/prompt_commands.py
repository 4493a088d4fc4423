"""The ``/`` commands of the prompt loop: a fixed table, and the session that they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from grokdist.cli.generation_settings import GenerationSettings, new_seed
from grokdist.errors import UsageError
from grokdist.whole_file import write_whole


@dataclass(kw_only=True)
class Session:
    """What a prompt loop remembers.

    Attributes:
        model: what to say of the model, a line.
        settings: of the next answer.
        stats: whether to say how fast each answer was.
        keep: whether the next line goes on from the text so far.
        text: the text so far, where it is kept.
        exchanges: every prompt with its continuation, for ``/save``.
        over: set to end the session.
    """

    model: str
    settings: GenerationSettings
    stats: bool = False
    keep: bool = False
    text: str = ""
    exchanges: list[str] = field(default_factory=list)
    over: bool = False

    def prompt(self, line: str) -> str:
        """The text to continue after a line was typed."""
        if not self.keep or not self.text:
            return line
        return f"{self.text}\n{line}" if line else self.text

    def answered(self, prompt: str, text: str) -> None:
        """Remember an answer, also one that was cut short."""
        self.exchanges.append(prompt + text)
        self.text = prompt + text if self.keep else ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        argument: what it takes, for people; empty for nothing, in brackets where it may lack.
        does: what it does, for people.
        run: takes the session and the argument; returns what to say.
    """

    argument: str
    does: str
    run: Callable[[Session, str], str]

    def __call__(self, session: Session, argument: str, name: str) -> str:
        """Run it, unless its argument is one too few or too many."""
        optional = self.argument.startswith("[")
        if bool(argument) != bool(self.argument) and not optional:
            raise UsageError(
                f"/{name} was given {argument!r}; expected {self.argument or 'nothing after it'}"
            )
        return self.run(session, argument)


def run_command(session: Session, line: str) -> str:
    """Run one line that begins with a slash; returns what to say.

    Raises:
        UsageError: there is no such command, or its argument makes no sense.
        PromptError: a setting is out of bounds.
    """
    name, _, argument = line.removeprefix("/").partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(
            f"/{name} is no command; expected one of {', '.join(f'/{each}' for each in COMMANDS)}",
            hint="/help; a text that begins with a slash is typed with two",
        )
    return command(session, argument.strip(), name)


def _help(session: Session, argument: str) -> str:
    rows = [(f"/{name} {each.argument}".rstrip(), each.does) for name, each in COMMANDS.items()]
    width = max(len(row[0]) for row in rows)
    lines = [f"{usage:<{width}}  {does}" for usage, does in rows]
    lines += [
        "Anything else is the start of a text, which the model goes on with; //text begins with /.",
        "Ctrl-C ends the answer, Ctrl-D the session.",
    ]
    return "\n".join(lines)


def _number(name: str, kind: type[int] | type[float]) -> Callable[[Session, str], str]:
    def run(session: Session, argument: str) -> str:
        try:
            value = kind(argument)
        except ValueError:
            article = "an integer" if kind is int else "a number"
            raise UsageError(f"{argument!r} is no {kind.__name__}; expected {article}") from None
        session.settings = session.settings.changed({name: value})
        return f"{name.replace('_', '-')} {value}"

    return run


def _seed(session: Session, argument: str) -> str:
    return _number("seed", int)(session, argument or str(new_seed()))


def _stop(session: Session, argument: str) -> str:
    stop = [*session.settings.stop, argument] if argument else []
    session.settings = session.settings.changed({"stop": stop})
    return f"stop at {', '.join(map(repr, stop))}" if stop else "no stop texts"


def _logprobs(session: Session, argument: str) -> str:
    if not argument or argument == "off":
        session.settings = session.settings.changed({"logprobs": None})
        return "no log-probabilities"
    return _number("logprobs", int)(session, argument)


def _switch(argument: str, now: bool) -> bool:
    """``on`` or ``off``; nothing turns it round."""
    if argument not in ("", "on", "off"):
        raise UsageError(f"{argument!r} is no switch; expected on or off")
    return argument == "on" if argument else not now


def _keep(session: Session, argument: str) -> str:
    session.keep = _switch(argument, session.keep)
    session.text = ""
    if session.keep:
        return "each line goes on from the text so far; an empty one lets the model go on"
    return "each line begins a new text"


def _reset(session: Session, argument: str) -> str:
    session.text = ""
    return "the next line begins a new text"


def _stats(session: Session, argument: str) -> str:
    session.stats = _switch(argument, session.stats)
    return f"stats {'on' if session.stats else 'off'}"


def _settings(session: Session, argument: str) -> str:
    found = session.settings.document() | {"keep": session.keep, "stats": session.stats}
    return "\n".join(f"{name.replace('_', '-')} {value}" for name, value in found.items())


def _save(session: Session, argument: str) -> str:
    if not session.exchanges:
        raise UsageError("nothing has been answered yet; expected a text to save")
    path = Path(argument).expanduser()
    if path.exists():
        raise UsageError(f"{path} is there already; expected a new name")
    text = "\n\n".join(session.exchanges) + "\n"
    write_whole(path, text.encode("utf-8", "replace"))
    return f"{len(session.exchanges)} texts in {path}"


def _model(session: Session, argument: str) -> str:
    return session.model


def _quit(session: Session, argument: str) -> str:
    session.over = True
    return ""


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "help": Command(argument="", does="this list", run=_help),
        "keep": Command(
            argument="[on|off]", does="go on from the text so far, or begin anew", run=_keep
        ),
        "reset": Command(argument="", does="forget the text so far", run=_reset),
        "temperature": Command(argument="X", does="0 is greedy", run=_number("temperature", float)),
        "top-p": Command(
            argument="X", does="keep tokens up to this probability", run=_number("top_p", float)
        ),
        "top-k": Command(
            argument="N", does="keep the N most likely tokens; 0: all", run=_number("top_k", int)
        ),
        "min-p": Command(
            argument="X",
            does="drop tokens less likely than this share of the best",
            run=_number("min_p", float),
        ),
        "seed": Command(argument="[N]", does="same seed, same text; none: a new one", run=_seed),
        "max-tokens": Command(
            argument="N", does="generate at most so many tokens", run=_number("max_tokens", int)
        ),
        "stop": Command(
            argument="[TEXT]", does="end before this text as well; none: no stop texts", run=_stop
        ),
        "logprobs": Command(
            argument="[N]",
            does="show each token's probability and the N most likely; none: no more",
            run=_logprobs,
        ),
        "stats": Command(argument="[on|off]", does="say how fast each answer was", run=_stats),
        "settings": Command(argument="", does="show all of these", run=_settings),
        "save": Command(argument="FILE", does="write the texts of this session", run=_save),
        "model": Command(argument="", does="which model this is, and its licence", run=_model),
        "quit": Command(argument="", does="end the session, as Ctrl-D does", run=_quit),
    }
)
"""Every command by its name, in the order of ``/help``."""
