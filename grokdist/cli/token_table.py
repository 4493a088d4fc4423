"""The tokens of a completion with their log-probabilities, as JSON and as lines for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist_runtime.events import TokenEvent
    from grokdist_runtime.tokenizer import Tokenizer

_WIDTH = 16


def token_rows(events: Sequence[TokenEvent], tokenizer: Tokenizer | None) -> list[dict[str, Any]]:
    r"""One object a token: id, text, log-probability, and the most likely ones likewise.

    ``text`` is what the token alone stands for; bytes of it that are no whole character are shown
    as ``\xNN``. It is null without a tokenizer.
    """
    return [
        _row(event.token_id, event.logprob, tokenizer)
        | {"top": [_row(token, logprob, tokenizer) for token, logprob in event.top_logprobs]}
        for event in events
    ]


def token_lines(rows: Sequence[dict[str, Any]]) -> str:
    """A line a token: its text, its probability, and the most likely ones with theirs."""
    lines = []
    for row in rows:
        logprob = -math.inf if row["logprob"] is None else row["logprob"]
        line = f"{_shown(row):<{_WIDTH}} {logprob:8.3f} {_percent(row)}"
        top = "  ".join(f"{_shown(each)} {_percent(each).strip()}" for each in row["top"])
        lines.append(f"{line}  | {top}" if top else line)
    return "\n".join(lines)


def _row(token: int, logprob: float, tokenizer: Tokenizer | None) -> dict[str, Any]:
    text = None
    if tokenizer is not None:
        # A model may have more rows than its tokenizer has pieces; such a token has no text.
        known = token < tokenizer.vocab_size
        data = tokenizer.piece_bytes(token) if known else b""
        text = data.decode("utf-8", "backslashreplace")
    # A token that the model rules out has no finite logarithm, and JSON no infinity.
    finite = logprob if math.isfinite(logprob) else None
    return {"token_id": token, "text": text, "logprob": finite}


def _shown(row: dict[str, Any]) -> str:
    return str(row["token_id"]) if row["text"] is None else repr(row["text"])


def _percent(row: dict[str, Any]) -> str:
    chance = 0.0 if row["logprob"] is None else math.exp(row["logprob"])
    return f"{chance:6.1%}"
