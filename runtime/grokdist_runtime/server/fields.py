"""Taking a request apart, field by field; what nobody asked for by its name is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from grokdist_runtime.server.api_error import ApiError


class Fields:
    """The fields of one object; ``null`` counts as absent."""

    def __init__(self, body: Mapping[str, Any], *, under: str = "") -> None:
        """Starts with all of them.

        Args:
            body: The object.
            under: Its own name, for a nested one.
        """
        self._left = {name: value for name, value in body.items() if value is not None}
        self._known: list[str] = []
        self._under = under and f"{under}."

    def take(self, name: str) -> Any:
        """The value as it came; ``None`` if there is none."""
        self._known.append(name)
        return self._left.pop(name, None)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """An integer within bounds."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON knows no difference
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, value, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number within bounds."""
        value = self.take(name)
        if value is None:
            return default
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or not math.isfinite(value):
            raise self._wrong(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def boolean(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or several."""
        value = self.take(name)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
            raise self._wrong(name, value, "a text or a list of texts")
        return tuple(values)

    def refuse(self, name: str, reason: str, *, unless: Iterable[Any] = ()) -> None:
        """Refuses a field that asks for what is not offered, unless it asks for nothing."""
        value = self.take(name)
        if value is not None and not any(value == idle for idle in unless):
            raise ApiError(
                f"{self._under}{name} is not supported: {reason}",
                param=f"{self._under}{name}",
                code="unsupported_parameter",
            )

    def done(self) -> None:
        """Refuses what is left."""
        if self._left:
            name = next(iter(self._left))
            raise ApiError(
                f"unknown parameter {self._under}{name:.80}; "
                f"expected {', '.join(sorted(self._known))}",
                param=f"{self._under}{name:.80}",
                code="unknown_parameter",
            )

    def _wrong(self, name: str, value: object, expected: str) -> ApiError:
        shown = f"{value!r:.60}" if isinstance(value, (str, int, float)) else type(value).__name__
        return ApiError(
            f"{self._under}{name} is {shown}; expected {expected}", param=f"{self._under}{name}"
        )
