"""SHA-256 that can be saved, against hashlib."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokdist.trust import resumable_sha256
from grokdist.trust.digest import Algorithm, StreamHasher
from grokdist.trust.resumable_sha256 import ResumableSha256, Sha256State, resumable

pytestmark = pytest.mark.skipif(
    not resumable(), reason="this Python's OpenSSL hides the state of SHA-256"
)


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_any_split_with_a_save_and_a_load_gives_the_digest(
    pieces: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(pieces)
    whole = ResumableSha256()
    for piece in pieces:
        whole.update(piece)
    assert whole.digest() == hashlib.sha256(content).digest()
    assert whole.hexdigest() == hashlib.sha256(content).hexdigest()
    upto = data.draw(st.integers(0, len(content)))
    first = ResumableSha256()
    first.update(memoryview(content)[:upto])
    state = first.state()
    assert upto - 64 < state.offset <= upto
    second = ResumableSha256(Sha256State(offset=state.offset, value=state.value))
    second.update(bytearray(content[state.offset :]))
    assert second.digest() == hashlib.sha256(content).digest()


def test_a_digest_or_a_copy_does_not_disturb_what_goes_on() -> None:
    hasher = ResumableSha256()
    hasher.update(b"x" * 100)
    other = hasher.copy()
    assert hasher.digest() == hasher.digest() == hashlib.sha256(b"x" * 100).digest()
    other.update(b"y")
    hasher.update(b"z")
    assert other.digest() == hashlib.sha256(b"x" * 100 + b"y").digest()
    assert hasher.digest() == hashlib.sha256(b"x" * 100 + b"z").digest()


@pytest.mark.parametrize("offset", [(1 << 29) - 64, 1 << 29, (1 << 32) + 128, 318_239_886_080])
def test_counts_beyond_32_bits_are_kept(offset: int) -> None:
    """The length that the last block holds is in bits: it passes 32 bits at 512 MiB."""
    value = random.Random(offset).randbytes(32)
    hasher = ResumableSha256(Sha256State(offset=offset, value=value))
    tail = random.Random(1).randbytes(200)
    hasher.update(tail[:100])
    state = hasher.state()
    assert state.offset == offset + 64
    again = ResumableSha256(state)
    again.update(tail[64:])
    assert again.state().offset == offset + 192
    assert again.digest() == _by_hand(value, offset, tail)


def _by_hand(value: bytes, offset: int, tail: bytes) -> bytes:
    """FIPS 180-4 written out: the padding with its length, and the compression."""
    message = tail + b"\x80"
    message += bytes(-(len(message) + 8) % 64) + ((offset + len(tail)) * 8).to_bytes(8, "big")
    words = [int.from_bytes(value[place : place + 4], "big") for place in range(0, 32, 4)]
    for place in range(0, len(message), 64):
        words = _compress(words, message[place : place + 64])
    return b"".join(word.to_bytes(4, "big") for word in words)


def _compress(state: list[int], block: bytes) -> list[int]:
    mask = 0xFFFFFFFF

    def turn(word: int, by: int) -> int:
        return (word >> by | word << (32 - by)) & mask

    w = [int.from_bytes(block[place : place + 4], "big") for place in range(0, 64, 4)]
    for t in range(16, 64):
        low = turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ w[t - 15] >> 3
        high = turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ w[t - 2] >> 10
        w.append((w[t - 16] + low + w[t - 7] + high) & mask)
    a, b, c, d, e, f, g, h = state
    for t in range(64):
        mixed = (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & mask & g)
        one = (h + mixed + _ROUND[t] + w[t]) & mask
        two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (one + two) & mask, a, b, c, (d + one) & mask, e, f, g
    return [(x + y) & mask for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _cube_root(number: int) -> int:
    """The first 32 bits of the fraction of a cube root."""
    low, high = 0, number << 32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number << 96 else (low, middle - 1)
    return low & 0xFFFFFFFF


_ROUND = [_cube_root(prime) for prime in _primes(64)]


def test_the_written_out_sha256_is_one() -> None:
    start = resumable_sha256.ResumableSha256().state().value
    for size in (0, 55, 56, 64, 1000):
        assert _by_hand(start, 0, b"q" * size) == hashlib.sha256(b"q" * size).digest()


@pytest.mark.parametrize(
    ("offset", "value"), [(-64, bytes(32)), (1, bytes(32)), (64, bytes(31)), (64, b"")]
)
def test_what_is_no_state_is_refused(offset: int, value: bytes) -> None:
    with pytest.raises(ValueError, match="not a state"):
        Sha256State(offset=offset, value=value)


class TestWithoutAccess:
    """A Python whose OpenSSL is linked in and hidden."""

    def test_hashing_starts_at_the_first_byte(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resumable_sha256, "_library", lambda: None)
        assert not resumable()
        assert not StreamHasher.goes_on_from(Algorithm.SHA256)
        hasher = StreamHasher(Algorithm.SHA256, 3, keeps_state=True)
        hasher.update(b"abc")
        assert hasher.state() is None
        assert hasher.digest().hex == hashlib.sha256(b"abc").hexdigest()
        with pytest.raises(RuntimeError):
            ResumableSha256()

    def test_a_library_that_computes_something_else_is_not_used(self) -> None:
        class Liar:
            """Has the names, does nothing."""

            def __getattr__(self, name: str) -> object:
                return lambda *_: 1

        assert not resumable_sha256._proves_right(Liar())  # type: ignore[arg-type]


def test_a_git_blob_has_no_state_to_go_on_from() -> None:
    hasher = StreamHasher(Algorithm.GIT_BLOB, 6, keeps_state=True)
    hasher.update(b"hello\n")
    assert hasher.digest().hex == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hasher.sha256 == hashlib.sha256(b"hello\n").hexdigest()
    assert hasher.state() is None
    assert not StreamHasher.goes_on_from(Algorithm.GIT_BLOB)


def test_another_process_goes_on(repository: Path) -> None:
    first = ResumableSha256()
    first.update(b"a" * 1000)
    state = first.state()
    code = (
        "import sys; from grokdist.trust.resumable_sha256 import *\n"
        "h = ResumableSha256(Sha256State(offset=int(sys.argv[1]),"
        " value=bytes.fromhex(sys.argv[2])))\n"
        "h.update(b'a' * (1000 - int(sys.argv[1])) + b'b'); print(h.hexdigest())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(state.offset), state.value.hex()],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == hashlib.sha256(b"a" * 1000 + b"b").hexdigest()
