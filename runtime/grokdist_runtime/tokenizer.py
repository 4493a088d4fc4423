"""Text to token ids and back: SentencePiece, and a decoder that streams whole characters only.

No token is added before or after a text: the published reference adds none.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from grokdist_runtime.errors import PromptError, TokenizerError

TOKENIZER_FILE = "tokenizer.model"
"""Name of the tokenizer in a model directory."""

MAX_TOKENIZER_BYTES = 64 << 20
"""A larger file is refused before it is parsed; the release's has 2.2 MB."""

_SPACE = "\u2581"  # stands for a space in SentencePiece's pieces
_UNKNOWN = " \u2047 "  # what SentencePiece decodes an unknown token to


class Tokenizer:
    """One SentencePiece model."""

    def __init__(self, model: bytes, *, name: str = TOKENIZER_FILE) -> None:
        """Parses a serialised model.

        Args:
            model: The bytes of a ``tokenizer.model``.
            name: What to call it in errors.

        Raises:
            TokenizerError: The bytes are no SentencePiece model, or too many.
        """
        if len(model) > MAX_TOKENIZER_BYTES:
            raise TokenizerError(f"{name} is larger than {MAX_TOKENIZER_BYTES} bytes")
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            parsed = bool(model) and self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError) as error:
            raise TokenizerError(f"{name} is not a SentencePiece model: {error}") from error
        if not parsed or self._processor.get_piece_size() == 0:
            raise TokenizerError(f"{name} is not a SentencePiece model; expected pieces, got none")

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Reads a ``tokenizer.model``.

        Raises:
            TokenizerError: The file is missing, unreadable, too large or no SentencePiece model.
        """
        try:
            with path.open("rb") as file:
                model = file.read(MAX_TOKENIZER_BYTES + 1)
        except OSError as error:
            raise TokenizerError(f"cannot read tokenizer {path}: {error.strerror}") from error
        return cls(model, name=str(path))

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with nothing added.

        Raises:
            PromptError: The text holds half a surrogate pair, as undecodable input does.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"the text is not valid Unicode at character {error.start}; expected UTF-8"
            ) from error
        return [int(token) for token in self._processor.encode(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a continuation: a leading space is kept, half a character dropped.

        Raises:
            TokenizerError: An id is outside the vocabulary.
        """
        stream = self.stream()
        return "".join([stream.push(token) for token in tokens])

    def stream(self) -> TextStream:
        """A new decoder for one continuation."""
        return TextStream(self)

    def piece_bytes(self, token: int) -> bytes:
        """What one token stands for: UTF-8, or one byte of a character spelled in bytes.

        Raises:
            TokenizerError: The id is outside the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise TokenizerError(
                f"token id {token} is outside the vocabulary; expected 0 to {self.vocab_size - 1}"
            )
        if self._processor.is_control(token) or self._processor.is_unused(token):
            return b""
        if self._processor.is_unknown(token):
            return _UNKNOWN.encode()
        piece = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes([int(piece[3:5], 16)])  # "<0xE2>"
        return str(piece).replace(_SPACE, " ").encode()


class TextStream:
    """Decodes tokens as they come, holding back the bytes of an unfinished character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that the token completes; bytes that are no UTF-8 become U+FFFD.

        Raises:
            TokenizerError: The id is outside the vocabulary.
        """
        return self._decoder.decode(self._tokenizer.piece_bytes(token))
