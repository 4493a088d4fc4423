"""One choice of an answer: its events become pieces of text with their tokens' probabilities.

A token is shown together with its text: one whose text is held back, since it may begin a stop
string or is half a character, waits; one that turns out to belong to a stop string is never shown.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from grokdist_runtime.events import EndEvent, TokenEvent
from grokdist_runtime.scoring import ScoredToken
from grokdist_runtime.tokenizer import TextStream, Tokenizer

_LEAST = -9999.0
"""Stands for minus infinity, which JSON lacks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownToken:
    """One token as clients see it.

    Attributes:
        text: What it stands for; see ``token_text``.
        raw: The same as bytes.
        logprob: ``None`` for the first of a prompt.
        top: The most likely in its place, the likeliest first.
        offset: Where its text starts, in characters of the choice's text.
    """

    text: str
    raw: bytes
    logprob: float | None
    top: tuple[tuple[str, bytes, float], ...]
    offset: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """What can be shown now.

    Attributes:
        text: Possibly empty.
        tokens: Those whose text has been shown.
        finish_reason: ``stop`` or ``length``; ``None`` if there is more to come.
    """

    text: str
    tokens: tuple[ShownToken, ...] = ()
    finish_reason: str | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.tokens or self.finish_reason)

    def __add__(self, other: Piece) -> Piece:
        return Piece(
            text=self.text + other.text,
            tokens=self.tokens + other.tokens,
            finish_reason=other.finish_reason,
        )


class Choice:
    """Makes pieces of events."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream: TextStream = tokenizer.stream()
        self._decoded = 0
        self._shown = 0
        self._held: list[ShownToken] = []

    def echo(self, text: str, scored: Sequence[ScoredToken]) -> Piece:
        """The prompt, before anything else.

        Args:
            text: As the client gave it, or decoded from its token ids.
            scored: Its tokens, if their log-probabilities are asked for.
        """
        stream = self._tokenizer.stream()
        starts, decoded = [], 0
        for token in scored:
            starts.append(decoded)
            decoded += len(self._decode(stream, token.token_id))
        added = decoded - len(text)  # the tokenizer may set a space before a text
        tokens = [
            self._token(token, min(max(start - added, 0), len(text)))
            for token, start in zip(scored, starts, strict=True)
        ]
        self._decoded = self._shown = len(text)
        return Piece(text=text, tokens=tuple(tokens))

    def push(self, event: TokenEvent) -> Piece:
        """One more token."""
        self._held.append(self._token(event, self._decoded))
        self._decoded += len(self._decode(self._stream, event.token_id))
        self._shown += len(event.text)
        count = sum(token.offset < self._shown for token in self._held)
        shown, self._held = self._held[:count], self._held[count:]
        return Piece(text=event.text, tokens=tuple(shown))

    def end(self, event: EndEvent) -> Piece:
        """The rest."""
        self._shown += len(event.text)
        reason = event.completion.stop_reason
        tokens = [t for t in self._held if reason != "stop" or t.offset < self._shown]
        return Piece(
            text=event.text,
            tokens=tuple(tokens),
            finish_reason="stop" if reason in {"eos", "stop"} else "length",
        )

    def _decode(self, stream: TextStream, token: int) -> str:
        return stream.push(token) if token < self._tokenizer.vocab_size else ""

    def _token(self, token: TokenEvent | ScoredToken, offset: int) -> ShownToken:
        raw = self._bytes(token.token_id)
        top = [(self._bytes(number), value) for number, value in token.top_logprobs]
        return ShownToken(
            text=token_text(raw),
            raw=raw,
            logprob=None if token.logprob is None else _finite(token.logprob),
            top=tuple((token_text(name), name, _finite(value)) for name, value in top),
            offset=offset,
        )

    def _bytes(self, token: int) -> bytes:
        known = token < self._tokenizer.vocab_size
        return self._tokenizer.piece_bytes(token) if known else b""


def token_text(raw: bytes) -> str:
    r"""A token's text; ``bytes:\xe2\x80`` for one that is a part of a character, as OpenAI does."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def completion_logprobs(tokens: Sequence[ShownToken], top: int) -> dict[str, Any]:
    """The ``logprobs`` of a completion's choice."""
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_top(token) for token in tokens] if top else None,
        "text_offset": [token.offset for token in tokens],
    }


def chat_logprobs(tokens: Sequence[ShownToken]) -> dict[str, Any]:
    """The ``logprobs`` of a chat's choice."""
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "bytes": list(token.raw),
                "top_logprobs": [
                    {"token": text, "logprob": value, "bytes": list(raw)}
                    for text, raw, value in token.top
                ],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _top(token: ShownToken) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, _, value in token.top:
        found.setdefault(text, value)  # of tokens with one text the likeliest counts
    found.setdefault(token.text, token.logprob)
    return found


def _finite(value: float) -> float:
    return value if math.isfinite(value) else _LEAST
