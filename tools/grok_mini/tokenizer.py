"""Trains grok-mini's SentencePiece tokenizer on the training split, and encodes the corpus with it.

Byte-pair encoding with byte fallback and no normalisation, so every text without the character
U+2581 (SentencePiece's own mark for a space) decodes to itself. Control ids follow Grok-1: pad 0,
bos 1, eos 2, unk 3. No space is put before the text, so a prompt is cut into the same pieces as the
same words at the start of a line of a play.

    python -m tools.grok_mini.tokenizer --out FILE
"""

import argparse
import io
from pathlib import Path

import numpy as np
import sentencepiece

from tools.grok_mini.prepare import PLAY_SEPARATOR, read_split

VOCAB_SIZE = 3072
PAD, BOS, EOS, UNK = 0, 1, 2, 3
NEWLINE_PIECES = ("\n\n", "\n")
"""Pieces of their own: SentencePiece reads lines, so it would never learn what ends them."""


def train_tokenizer(text: str, vocab_size: int = VOCAB_SIZE) -> bytes:
    """Trains on the lines of ``text`` and returns the serialised SentencePiece model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in text.split("\n") if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=list(NEWLINE_PIECES),
        pad_id=PAD,
        bos_id=BOS,
        eos_id=EOS,
        unk_id=UNK,
        num_threads=1,
        minloglevel=1,
    )
    return model.getvalue()


def load_tokenizer(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Opens a trained tokenizer."""
    return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())


def encode_plays(text: str, tokenizer: sentencepiece.SentencePieceProcessor) -> np.ndarray:
    """Encodes a split: each play's tokens, each ended by EOS; int32 ``[tokens]``."""
    ids: list[int] = []
    for play in text.split(PLAY_SEPARATOR):
        ids += [*tokenizer.encode(play), EOS]
    return np.asarray(ids, np.int32)


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the tokenizer.model to write")
    options = parser.parse_args()
    options.out.write_bytes(train_tokenizer(read_split("train")))


if __name__ == "__main__":
    main()
