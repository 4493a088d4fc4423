"""Tokens are shown with their text: never half a character, never what belongs to a stop string."""

from __future__ import annotations

import pytest

from grokdist_runtime.config import ModelConfig
from grokdist_runtime.engine import Engine
from grokdist_runtime.events import TokenEvent
from grokdist_runtime.generation import Generation
from grokdist_runtime.prefill import IntArray
from grokdist_runtime.sampling import Sampled, SamplingParams
from grokdist_runtime.server.choice import Choice, Piece, token_text


def pieces(engine: Engine, tokens: list[int], stop: tuple[str, ...] = ()) -> list[Piece]:
    """What a text of these tokens is shown as."""
    import numpy as np

    config: ModelConfig = engine.config
    prompt: IntArray = np.array([5], np.int32)
    generation = Generation(
        prompt,
        SamplingParams.greedy(),
        config=config,
        tokenizer=engine.tokenizer,
        max_tokens=len(tokens),
        stop=stop,
        compiled_s=lambda: 0.0,
    )
    assert engine.tokenizer is not None
    choice = Choice(engine.tokenizer)
    shown = []
    for token in tokens:
        zeros = np.zeros((1, 20), np.float32)
        row = np.array([token], np.int32)
        sampled = Sampled(
            tokens=row,  # type: ignore[arg-type]
            logprobs=zeros[0, :1],  # type: ignore[arg-type]
            top_tokens=zeros.astype(np.int32),  # type: ignore[arg-type]
            top_logprobs=zeros,  # type: ignore[arg-type]
        )
        event = generation.push(sampled)
        assert isinstance(event, TokenEvent)
        shown.append(choice.push(event))
        if generation.reason is not None:
            break
    return [*shown, choice.end(generation.end())]


def byte_tokens(engine: Engine, text: str) -> list[int]:
    assert engine.tokenizer is not None
    by_bytes = {
        engine.tokenizer.piece_bytes(token): token
        for token in range(engine.tokenizer.vocab_size)
        if engine.tokenizer._processor.is_byte(token)
    }
    return [by_bytes[bytes([byte])] for byte in text.encode()]


@pytest.mark.parametrize("text", ["é", "日本", "a🙂b", "e\u0301"])
def test_a_character_comes_whole(engine: Engine, text: str) -> None:
    shown = pieces(engine, byte_tokens(engine, text))
    assert "".join(piece.text for piece in shown) == text
    assert all("\ufffd" not in piece.text for piece in shown)
    tokens = [token for piece in shown for token in piece.tokens]
    assert b"".join(token.raw for token in tokens) == text.encode()
    assert [token.offset for token in tokens] == sorted(token.offset for token in tokens)
    assert shown[-1].finish_reason == "length"


def test_tokens_of_a_stop_string_are_never_shown(engine: Engine) -> None:
    shown = pieces(engine, byte_tokens(engine, "abcXYZd"), stop=("XYZ",))
    assert "".join(piece.text for piece in shown) == "abc"
    assert [token.text for piece in shown for token in piece.tokens] == ["a", "b", "c"]
    assert shown[-1].finish_reason == "stop"


def test_what_only_looked_like_a_stop_string_comes_with_its_tokens(engine: Engine) -> None:
    shown = pieces(engine, byte_tokens(engine, "aXYb"), stop=("XYZ",))
    assert [piece.text for piece in shown] == ["a", "", "", "XYb", ""]
    assert [len(piece.tokens) for piece in shown] == [1, 0, 0, 3, 0]


def test_a_part_of_a_character_is_named_by_its_bytes() -> None:
    assert token_text(b"\xe2\x80") == "bytes:\\xe2\\x80"
    assert token_text("é".encode()) == "é"
