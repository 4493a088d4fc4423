"""The one place that prints: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TextIO

_answered: list[bool] = []
"""Not empty once stdout has its JSON document; see ``begin``."""

_DUMB = ("dumb", "unknown")
"""Values of ``TERM`` for terminals that cannot move the cursor."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a command's words go.

    Attributes:
        json: stdout holds exactly one JSON document, and nothing else.
        quiet: no notes on stderr; warnings and errors stay.
        verbose: details on stderr too.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Print a command's result: the document as JSON, or the text for people."""
        if self.json:
            _answered.append(True)
            _write(sys.stdout, json.dumps(document, indent=2) + "\n")
        elif text:
            _write(sys.stdout, text if text.endswith("\n") else text + "\n")

    def stream(self, text: str) -> None:
        """Print a piece of text to stdout as it comes; nothing in JSON mode.

        It is a model's text, which may hold anything: on a terminal control characters other than
        line ends and tabs are shown escaped, elsewhere it goes out as it is.
        """
        if not self.json:
            _write(sys.stdout, _tame(text) if sys.stdout.isatty() else text)

    def note(self, text: str) -> None:
        """Say something useful on stderr, unless quiet."""
        if not self.quiet:
            _write(sys.stderr, text + "\n")

    def live(self, text: str) -> None:
        """Show a line on the terminal in place of the last one shown so."""
        _write(sys.stderr, f"\r\x1b[K{text}")

    def asked(self, text: str) -> None:
        """Say on stderr what the user asked for by a flag, also when quiet."""
        _write(sys.stderr, text + "\n")

    def detail(self, text: str) -> None:
        """Say something on stderr only when verbose."""
        if self.verbose and not self.quiet:
            _write(sys.stderr, text + "\n")

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show on a terminal that something goes on of which nobody knows how long it takes."""
        from grokdist.cli.waiting import waiting

        return waiting(self, what)

    def warning(self, text: str) -> None:
        """Warn on stderr, also when quiet."""
        _write(sys.stderr, f"{_styled('warning:', '33', sys.stderr)} {text}\n")

    def error(self, message: str, hint: str | None, code: int) -> None:
        """Report a failure: two lines on stderr, and in JSON mode a document on stdout.

        Where the result was printed before, it stays the one document.
        """
        _write(sys.stderr, f"{_styled('error:', '31', sys.stderr)} {message}\n")
        if hint:
            _write(sys.stderr, f"{_styled('hint:', '36', sys.stderr)} {hint}\n")
        if self.json and not _answered:
            _answered.append(True)
            body = {"error": {"message": message, "hint": hint, "exit_code": code}}
            _write(sys.stdout, json.dumps(body, indent=2) + "\n")

    @property
    def interactive(self) -> bool:
        """True where a live progress display makes sense."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") not in _DUMB


def begin() -> None:
    """A command begins, which has said nothing yet."""
    _answered.clear()


def _tame(text: str) -> str:
    """Text without what would steer a terminal; format characters of scripts stay."""
    return "".join(
        repr(each)[1:-1] if unicodedata.category(each) == "Cc" and each not in "\n\t" else each
        for each in text
    )


def _styled(text: str, colour: str, stream: TextIO) -> str:
    """Colour a word on a terminal that has colours, honouring ``NO_COLOR``."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in _DUMB
    if plain or not stream.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def _write(stream: TextIO, text: str) -> None:
    """Write and flush; text the terminal's encoding lacks is shown escaped, never an error."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
