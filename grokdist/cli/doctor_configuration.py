"""What ``doctor`` says of the configuration file: read whole, and every flag in it tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from grokdist.cli.finding import Finding
from grokdist.cli.format import plain_text
from grokdist.errors import GrokdistError
from grokdist.settings import config_path, load_config


def look_at_configuration() -> Iterator[Finding]:
    """A fault for a file that cannot be read, and for each flag in it that nobody takes."""
    path = config_path()
    try:
        tables = load_config(path)
    except GrokdistError as error:
        yield _fault(plain_text(str(error)))
        return
    from grokdist.cli.main import command_line

    faults = list(_of_group(tables, command_line(), ""))
    for fault in faults:
        yield _fault(f"{path}: {fault}")
    if not faults:
        commands = ", ".join(sorted(tables)) or "nothing"
        found = f"{path}, for {commands}" if path.exists() else "none"
        yield Finding(about="configuration", state="ok", found=found)


def _fault(found: str) -> Finding:
    fix = f"mend or remove {config_path()}"
    return Finding(about="configuration", state="fault", found=found, fix=fix)


def _of_group(tables: Mapping[str, Any], group: Any, above: str) -> Iterator[str]:
    """What is wrong with tables of commands; ``group`` is one of the command line's."""
    for name, flags in tables.items():
        command = group.commands.get(name)
        where = f"[{plain_text(f'{above}{name}')}]"
        if command is None:
            yield f"{where} is no command; expected one of {', '.join(group.commands)}"
        elif not isinstance(flags, dict):
            yield f"{where} is no table; expected flags under the name of a command"
        elif hasattr(command, "commands"):
            yield from _of_group(flags, command, f"{above}{name}.")
        else:
            yield from _of_command(flags, command, where)


def _of_command(flags: Mapping[str, Any], command: Any, where: str) -> Iterator[str]:
    known = {param.name: param for param in command.params}
    context = command.context_class(command, info_name=command.name)
    for flag, value in flags.items():
        param = known.get(flag.replace("-", "_"))
        if param is None:
            yield f"{where} has no flag {plain_text(flag)!r}; expected one that --help lists"
            continue
        try:
            param.process_value(context, value)
        except typer.BadParameter as error:
            yield f"{where} {flag}: {plain_text(error.message)}"
        except (TypeError, ValueError):
            yield f"{where} {flag} is {plain_text(repr(value))}, which the flag does not take"
