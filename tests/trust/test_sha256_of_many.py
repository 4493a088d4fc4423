"""Many messages hashed at once have the digests that hashlib gives, or are hashed by hashlib."""

from __future__ import annotations

import hashlib
import random
import stat
import subprocess
from pathlib import Path

import pytest

from grokdist.trust import sha256_build
from grokdist.trust.sha256_of_many import Sha256OfMany, in_use, use
from tests.trust.many import sha256_of_many

_LIAR = """
#include <cstddef>
#include <cstdint>
extern "C" int sha256_of_many_works() { return 1; }
extern "C" void sha256_of_many(const uint8_t*, size_t, size_t, uint8_t*) {}
"""


def _one_by_one(data: bytes, length: int) -> bytes:
    return b"".join(
        hashlib.sha256(data[at : at + length]).digest() for at in range(0, len(data), length)
    )


@pytest.mark.parametrize("length", [64, 128, 4032, 16384])
@pytest.mark.parametrize("number", [0, 1, 2, 15, 16, 17, 40])
def test_digests_are_those_of_hashlib(number: int, length: int) -> None:
    data = random.Random(number * length).randbytes(number * length)
    library = sha256_of_many()
    expected = _one_by_one(data, length)
    assert library.digests(data, length) == expected
    # From memory that begins anywhere.
    assert library.digests(memoryview(b"x" + data)[1:], length) == expected


@pytest.mark.parametrize(("size", "length"), [(100, 64), (130, 65), (64, 0), (64, -64)])
def test_other_lengths_are_refused(size: int, length: int) -> None:
    with pytest.raises(ValueError, match="a multiple of 64"):
        sha256_of_many().digests(bytes(size), length)


def test_a_build_is_kept_privately_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256_of_many()
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "home"))
    try:
        use(None)
        sha256_build.prepare(sha256_build.WORTH_BUILDING - 1)
        assert in_use() is None
        assert not (tmp_path / "home").exists()
        assert sha256_build.build() == ""
        path = sha256_build.library_path()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        made = path.stat().st_mtime_ns
        use(None)
        sha256_build.prepare(1)
        found = in_use()
        assert found is not None
        assert found.path == path
        assert sha256_build.build() == ""
        assert path.stat().st_mtime_ns == made
    finally:
        use(None)


def test_what_others_may_have_written_or_what_lies_is_not_used(tmp_path: Path) -> None:
    real = sha256_of_many().path.read_bytes()
    folder = tmp_path / "f"
    folder.mkdir(mode=0o700)
    library = folder / "l.so"
    library.write_bytes(real)
    Sha256OfMany(library)
    folder.chmod(0o755)
    with pytest.raises(ValueError, match="by others"):
        Sha256OfMany(library)
    folder.chmod(0o700)
    source = tmp_path / "liar.cc"
    source.write_text(_LIAR)
    liar = folder / "liar.so"
    subprocess.run(["c++", "-shared", "-fPIC", str(source), "-o", str(liar)], check=True)
    with pytest.raises(ValueError, match="other digests than hashlib"):
        Sha256OfMany(liar)
    nonsense = folder / "nonsense.so"
    nonsense.write_bytes(b"nonsense")
    with pytest.raises(OSError, match="nonsense"):
        Sha256OfMany(nonsense)


def test_without_a_compiler_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    use(None)
    assert "no C++ compiler" in sha256_build.build()
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    assert "s390x" in sha256_build.build()
    assert in_use() is None
