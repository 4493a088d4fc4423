"""A file of prompts, and the file of their answers: one JSON object a line, in both.

An answer is written the moment it is whole, by one call that appends it, so that a process killed
at any time loses what was not whole and nothing else. A last line that a full disk or a power cut
left torn is taken off again. Once every prompt has its answer the lines are put into the order of
the prompts, in one step.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grokdist.errors import StoreError, UsageError

MAX_LINE = 16 << 20
"""Longest line that is read of either file, bytes."""
_MAX_ANSWER = 256 << 20
_BEGINNING = b'{"line": '
"""How every answer begins; a torn line that does not is somebody else's."""
_KEYS = {"prompt", "tokens", "id"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLine:
    """One line of a file of prompts.

    Attributes:
        number: which line, from 1.
        digest: SHA-256 of its bytes without the line's end, 64 hex digits.
        prompt: the text to continue; None where token ids are given, or with a fault.
        tokens: the token ids to continue.
        id: what the asker calls it; None for nothing.
        changes: settings that it asks for, by their names; not checked yet.
        fault: why it cannot be answered; empty where it can.
    """

    number: int
    digest: str
    prompt: str | None = None
    tokens: tuple[int, ...] | None = None
    id: str | int | None = None
    changes: Mapping[str, Any] | None = None
    fault: str = ""


def read_prompts(path: Path) -> Iterator[PromptLine]:
    """The lines of a file of prompts, one at a time; empty ones are left out.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                if len(raw) > MAX_LINE:
                    raise UsageError(
                        f"line {number} of {path} has more than {MAX_LINE} bytes;"
                        " expected one prompt a line"
                    )
                if line := raw.strip():
                    yield _prompt(number, line)
    except OSError as error:
        raise UsageError(f"--prompts {path} cannot be read: {error.strerror}") from error


def _prompt(number: int, line: bytes) -> PromptLine:
    digest = hashlib.sha256(line).hexdigest()

    def refused(why: str, identifier: str | int | None = None) -> PromptLine:
        return PromptLine(number=number, digest=digest, id=identifier, fault=why)

    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        return refused(f"not JSON: {error}")
    if not isinstance(document, dict):
        return refused(f"a {type(document).__name__}; expected an object with a prompt")
    identifier = document.get("id")
    if type(identifier) not in (str, int, type(None)):
        return refused(f"id is {identifier!r}; expected a text or an integer")
    prompt, tokens = document.get("prompt"), document.get("tokens")
    if (prompt is None) == (tokens is None):
        return refused("expected prompt or tokens, one of them", identifier)
    if prompt is not None and (not isinstance(prompt, str) or not prompt):
        return refused("prompt is no text; expected one that is not empty", identifier)
    if tokens is not None and (
        not isinstance(tokens, list) or any(type(token) is not int for token in tokens)
    ):
        return refused("tokens is no list of integers; expected token ids", identifier)
    return PromptLine(
        number=number,
        digest=digest,
        prompt=prompt,
        tokens=None if tokens is None else tuple(tokens),
        id=identifier,
        changes={name: value for name, value in document.items() if name not in _KEYS},
    )


class AnswerFile:
    """The file of answers, held by this process alone.

    Attributes:
        settled: for each line of the prompts that has a whole answer, that answer's ``request``.
        torn: bytes of a torn last line that were taken off.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, and reads what it holds.

        Raises:
            StoreError: it cannot be written, or another process writes it.
            UsageError: it holds something else than answers.
        """
        self._path = path
        self.settled: dict[int, str] = {}
        self.torn = 0
        self._places: dict[int, tuple[int, int]] = {}
        self._sorted = True
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"--output {path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            os.close(self._fd)
            raise StoreError(
                f"--output {path} is being written by another process",
                hint="wait for it to end, or choose another --output",
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise StoreError(f"--output {path} cannot be read: {error.strerror}") from error
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def add(self, line: int, answer: Mapping[str, Any]) -> None:
        """Append one whole answer.

        Raises:
            StoreError: it cannot be written; what was written of it is taken off again.
        """
        data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        start = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                # A disk with little room takes a part; the next call says why.
                os.write(self._fd, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, start)
            raise StoreError(
                f"cannot write to {self._path}: {error.strerror}",
                hint="run the same command again: it goes on where it stopped",
            ) from error
        self._know(line, answer, start, len(data))

    def finish(self) -> None:
        """Put the answers into the order of the prompts, each of them once, in one step.

        Raises:
            StoreError: it cannot be written; the answers stay as they are.
        """
        if self._sorted:
            return
        partial = self._path.with_name(f".{self._path.name[:80]}.{secrets.token_hex(4)}.part")
        try:
            try:
                with partial.open("xb") as file:
                    for line in sorted(self._places):
                        start, size = self._places[line]
                        file.write(os.pread(self._fd, size, start))
                    file.flush()
                    os.fsync(file.fileno())
                partial.chmod(os.fstat(self._fd).st_mode & 0o777)
                partial.replace(self._path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {partial}: {error.strerror}") from error

    def _read(self) -> None:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            start = number = 0
            while raw := file.readline(_MAX_ANSWER):
                number += 1
                if not raw.endswith(b"\n") and raw[: len(_BEGINNING)] == _BEGINNING[: len(raw)]:
                    self.torn = len(raw)
                    os.ftruncate(self._fd, start)
                    return
                line, answer = self._parsed(raw, number)
                self._know(line, answer, start, len(raw))
                start += len(raw)

    def _parsed(self, raw: bytes, number: int) -> tuple[int, Mapping[str, Any]]:
        try:
            answer = json.loads(raw)
            line = answer["line"]
            if type(line) is int and isinstance(answer["request"], str):
                return line, answer
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise UsageError(
            f"line {number} of {self._path} is no answer of this command;"
            " expected its own file, or a new one",
            hint="choose another --output",
        )

    def _know(self, line: int, answer: Mapping[str, Any], start: int, size: int) -> None:
        self._sorted = self._sorted and line > max(self._places, default=0)
        self._places[line] = (start, size)
        # What went wrong is tried again: its reason may be gone by then.
        if "error" not in answer:
            self.settled[line] = answer["request"]
        else:
            self.settled.pop(line, None)
