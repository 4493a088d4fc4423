"""Which digest a file is checked by, and that streaming gives it."""

from __future__ import annotations

import hashlib

import pytest

from grokdist.errors import ManifestError
from grokdist.trust.digest import Algorithm, ContentDigest, StreamHasher


def test_sha256_is_preferred_to_git_blob() -> None:
    chosen = ContentDigest.choose(path="f", sha256="a" * 64, git_blob="b" * 40, lfs=False)
    assert str(chosen) == "sha256:" + "a" * 64


def test_git_blob_of_a_plain_file_serves_without_sha256() -> None:
    chosen = ContentDigest.choose(path="f", sha256=None, git_blob="b" * 40, lfs=False)
    assert (chosen.algorithm, chosen.hex) == (Algorithm.GIT_BLOB, "b" * 40)


@pytest.mark.parametrize(("git_blob", "lfs"), [("b" * 40, True), (None, False), (None, True)])
def test_a_pointer_or_nothing_is_no_digest_of_content(git_blob: str | None, lfs: bool) -> None:
    with pytest.raises(ManifestError, match="f has no digest"):
        ContentDigest.choose(path="f", sha256=None, git_blob=git_blob, lfs=lfs)


def test_streaming_in_pieces_gives_the_digest_of_the_whole() -> None:
    hasher = StreamHasher(Algorithm.SHA256, 6)
    hasher.update(b"abc")
    hasher.update(memoryview(b"def"))
    assert hasher.digest().hex == hashlib.sha256(b"abcdef").hexdigest() == hasher.sha256


def test_git_blob_is_what_git_computes() -> None:
    # `printf 'hello\n' | git hash-object --stdin`
    hasher = StreamHasher(Algorithm.GIT_BLOB, 6)
    hasher.update(b"hello\n")
    assert hasher.digest().hex == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hasher.sha256 == hashlib.sha256(b"hello\n").hexdigest()
