"""Finding stop strings in text that arrives in pieces.

Text that may turn out to be the start of a stop string is held back until it is known not to be.
"""

from __future__ import annotations

from collections.abc import Sequence

from grokdist_runtime.errors import PromptError

MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1024


class StopStrings:
    """Watches one text; ``found`` says whether a stop string has come."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Starts with an empty text.

        Raises:
            PromptError: A stop string is empty or too long, or there are too many.
        """
        if isinstance(stops, str):
            stops = (stops,)
        if len(stops) > MAX_STOPS:
            raise PromptError(f"{len(stops)} stop strings given; expected at most {MAX_STOPS}")
        for stop in stops:
            if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARACTERS:
                raise PromptError(
                    f"stop string {stop!r:.60} given; "
                    f"expected 1 to {MAX_STOP_CHARACTERS} characters"
                )
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Adds text; returns what may be shown of it and of the text held back before."""
        if self.found:
            return ""
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.found = True
            self._held = ""
            return held[: min(places)]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` starts with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[len(text) - length :]):
            return length
    return 0
