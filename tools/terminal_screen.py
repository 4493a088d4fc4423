"""What a terminal shows after what a program wrote to it: enough of one for progress displays.

It knows text, carriage return, newline, cursor moves, erasing and colours, which is what the
display of ``grokdist fetch`` uses. Anything else is an error rather than a guess, so that a test
that reads the screen cannot be fooled by a sequence that was skipped.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """A screen of ``columns`` by ``rows``; what scrolls off the top is kept in ``history``."""

    def __init__(self, *, columns: int, rows: int) -> None:
        """Start with an empty screen and the cursor at its top left."""
        self.columns = columns
        self.rows = rows
        self.history: list[str] = []
        self.cursor_shown = True
        self.styled: list[list[str]] = [[""] * columns for _ in range(rows)]
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._style = ""
        self._wraps = False
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take in what was written; a sequence may be split over two calls.

        Raises:
            ValueError: a control character or sequence that it does not know.
        """
        text = self._rest + text
        self._rest = ""
        place = 0
        while place < len(text):
            if text[place] != "\x1b":
                self._put(text[place])
                place += 1
                continue
            found = _SEQUENCE.match(text, place)
            if found is None:
                if len(text) - place < 16:
                    self._rest = text[place:]
                    return
                raise ValueError(f"unknown sequence {text[place : place + 16]!r}")
            self._control(found[1] == "?", found[2], found[3])
            place = found.end()

    def lines(self) -> list[str]:
        """The rows, without the spaces at their ends and the empty rows at the bottom."""
        lines = ["".join(row).rstrip() for row in self._cells]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column, self._wraps = 0, False
        elif character == "\n":
            self._down()
        elif not character.isprintable():
            raise ValueError(f"unknown control character {character!r}")
        else:
            if self._wraps:
                self._column, self._wraps = 0, False
                self._down()
            self._cells[self._row][self._column] = character
            self.styled[self._row][self._column] = self._style
            if self._column == self.columns - 1:
                self._wraps = True
            else:
                self._column += 1

    def _down(self) -> None:
        self._wraps = False
        if self._row < self.rows - 1:
            self._row += 1
            return
        self.history.append("".join(self._cells.pop(0)).rstrip())
        self.styled.pop(0)
        self._cells.append([" "] * self.columns)
        self.styled.append([""] * self.columns)

    def _control(self, private: bool, numbers: str, letter: str) -> None:
        count = int(numbers) if numbers.isdigit() else 1
        match letter:
            case "m":
                self._style = "" if numbers in ("", "0") else numbers
            case "A":
                self._row, self._wraps = max(0, self._row - count), False
            case "K" if numbers == "2":
                self._cells[self._row] = [" "] * self.columns
                self.styled[self._row] = [""] * self.columns
            case "h" | "l" if private and numbers == "25":
                self.cursor_shown = letter == "h"
            case _:
                raise ValueError(f"unknown sequence ESC [ {numbers} {letter}")
