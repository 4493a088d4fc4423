"""Round trips, streaming by whole characters, and files that are no tokenizer."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from grokdist_runtime.errors import PromptError, TokenizerError
from grokdist_runtime.tokenizer import MAX_TOKENIZER_BYTES, Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tokenizer_model: bytes) -> Tokenizer:
    return Tokenizer(tokenizer_model)


TEXTS = [
    "To be, or not to be",
    "naïve ∞ 𐍈 日本語\n\ttab",
    "  two  spaces  ",
    "👩\u200d👩\u200d👧 family",
    "<s></s><0x41>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    # SentencePiece begins a text with a space of its own.
    assert tokenizer.decode(tokenizer.encode(text)) == " " + text


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\0"), max_size=40)
)
def test_streaming_gives_whole_characters_that_join_to_the_text(
    tokenizer: Tokenizer, text: str
) -> None:
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokenizer.encode("x" + text)]
    assert "".join(pieces) == " x" + text
    for piece in pieces:
        piece.encode()
        assert "\ufffd" not in piece or "\ufffd" in text


def test_a_continuation_decodes_as_sentencepiece_does(
    tokenizer: Tokenizer, tokenizer_model: bytes
) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model)
    ids = tokenizer.encode("the sea of troubles, naïve ∞")
    whole = processor.decode(ids)
    for cut in range(1, len(ids)):
        start = tokenizer.decode(ids[:cut])
        if unicodedata.is_normalized("NFC", start) and whole.startswith(start[1:]):
            stream = tokenizer.stream()
            text = "".join(stream.push(token) for token in ids)
            assert text[1:] == whole


def test_nothing_is_added_and_special_tokens_are_silent(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert not {0, 1, 2} & set(tokenizer.encode("<s> to be </s>"))
    assert tokenizer.decode([0, 1, 2]) == ""


def test_half_a_character_is_held_back_and_bad_bytes_are_marked(tokenizer: Tokenizer) -> None:
    euro = [token for token in tokenizer.encode("€") if tokenizer.piece_bytes(token) > b"\x7f"]
    assert len(euro) == 3
    stream = tokenizer.stream()
    assert [stream.push(token) for token in euro] == ["", "", "€"]
    assert tokenizer.decode(euro[:2]) == ""
    assert tokenizer.decode([euro[0], *tokenizer.encode("to")]) == "\ufffd to"


@pytest.mark.parametrize("token", [-1, 320, 1 << 40])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer: Tokenizer, token: int) -> None:
    with pytest.raises(TokenizerError, match=str(token)):
        tokenizer.decode([token])


def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match="character 3"):
        tokenizer.encode("abc\udcff")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a tokenizer", b"\x0a\xff\xff\xff\x7f"])
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
        Tokenizer.from_file(path)


def test_a_truncated_model_is_refused_or_smaller(tokenizer_model: bytes) -> None:
    for length in range(0, len(tokenizer_model), 97):
        try:
            assert Tokenizer(tokenizer_model[:length]).vocab_size <= 320
        except TokenizerError:
            continue


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot read tokenizer"):
        Tokenizer.from_file(tmp_path / "absent")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)
    with pytest.raises(TokenizerError, match="larger than"):
        Tokenizer.from_file(tmp_path / "huge")
