"""The shipped tokenizer gives back every text, and has Grok-1's control ids."""

from functools import cache
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from tools.grok_mini import tokenizer as grok_mini_tokenizer
from tools.grok_mini.model import GROK_MINI
from tools.grok_mini.tokenizer import BOS, EOS, PAD, UNK, encode_plays, load_tokenizer

SHIPPED = Path(__file__).parents[2] / "grokdist/bundled/grok-mini/tokenizer.model"
SPACE_MARK = "\u2581"


@cache
def shipped() -> sentencepiece.SentencePieceProcessor:
    return load_tokenizer(SHIPPED)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters=SPACE_MARK)))
def test_any_text_comes_back(text: str) -> None:
    ids = shipped().encode(text)
    assert UNK not in ids
    assert shipped().decode(ids) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces  ",
        "\n",
        "a\n\n\nb\r\n",
        "\t\0\x7f",
        "</s><s><pad><0x41>",
        "\U0001f3ad",
    ],
)
def test_awkward_text_comes_back_without_control_ids(text: str) -> None:
    ids = shipped().encode(text)
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert shipped().decode(ids) == text


def test_vocabulary_and_control_ids() -> None:
    assert shipped().get_piece_size() == GROK_MINI.vocab_size
    ids = [shipped().pad_id(), shipped().bos_id(), shipped().eos_id(), shipped().unk_id()]
    assert ids == [PAD, BOS, EOS, UNK] == [0, 1, 2, 3]


def test_a_prompt_is_cut_like_the_start_of_a_line() -> None:
    assert shipped().encode("\nTo be", out_type=str) == ["\n", "To", "\u2581be"]
    assert shipped().encode("To be", out_type=str) == ["To", "\u2581be"]


def test_each_play_ends_with_eos() -> None:
    tokens = encode_plays("To be\n\n\n\nor not\n", shipped())
    assert [i for i, token in enumerate(tokens) if token == EOS][-1] == len(tokens) - 1
    assert list(tokens).count(EOS) == 2


def test_training_is_deterministic() -> None:
    text = "\n".join(f"{first}and {second}ord" for first in "abcdefgh" for second in "rstuvwxyz")
    first = grok_mini_tokenizer.train_tokenizer(text, 288)
    assert first == grok_mini_tokenizer.train_tokenizer(text, 288)
    small = sentencepiece.SentencePieceProcessor(model_proto=first)
    assert small.decode(small.encode("to sea\nor not")) == "to sea\nor not"
