"""Making a key: both halves or a beginning that the next attempt goes on from, never over one."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as pem

from grokdist.errors import UsageError
from grokdist.trust.key_files import KeyKind, list_keys, load_private, load_public, make_key

PASSWORD = b"correct horse"
CUT_OFF = """
import os, sys
from pathlib import Path
from grokdist.trust.key_files import KeyKind, make_key
real, left = os.rename, int(sys.argv[1])
def rename(*args, **options):
    global left
    left -= 1
    if not left:
        os._exit(9)
    real(*args, **options)
os.rename = rename
make_key("k", KeyKind.P256, password=None, out=Path(sys.argv[2]))
"""


def same_key(private: Path, public: Path, password: bytes = b"") -> bool:
    def raw(key: object) -> bytes:
        return key.public_bytes(pem.Encoding.DER, pem.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]

    return raw(load_private(private, lambda _: password).public_key()) == raw(load_public(public))


@pytest.mark.parametrize("step", [1, 2])
def test_a_making_that_was_cut_off_is_gone_on_from(
    step: int, tmp_path: Path, repository: Path
) -> None:
    private = tmp_path / "keys" / "k.pem"
    ended = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(step), private], cwd=repository, check=False
    )
    assert ended.returncode == 9
    before = private.read_bytes() if step == 2 else None
    pair = make_key("k", KeyKind.P256, password=None, out=private)
    assert same_key(private, pair.public)
    assert before in (None, private.read_bytes())
    assert {each.name for each in private.parent.iterdir()} == {"k.pem", "k.pub.pem"}
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_private_half_alone_gets_its_public_one_if_it_is_what_was_asked_for(
    tmp_path: Path,
) -> None:
    private = tmp_path / "k.pem"
    pair = make_key("k", KeyKind.ED25519, password=PASSWORD, out=private)
    pair.public.unlink()
    kept = private.read_bytes()
    for kind, password, sentence in (
        (KeyKind.ED25519, None, "encrypted, which is not as asked"),
        (KeyKind.ED25519, b"another", "the password is wrong"),
        (KeyKind.P384, PASSWORD, "of kind ed25519; expected p384"),
    ):
        with pytest.raises(UsageError, match=sentence):
            make_key("k", kind, password=password, out=private)
        assert not pair.public.exists()
    assert make_key("k", KeyKind.ED25519, password=PASSWORD, out=private) == pair
    assert private.read_bytes() == kept
    assert same_key(private, pair.public, PASSWORD)


def test_a_public_half_alone_is_never_given_another_private_one(tmp_path: Path) -> None:
    pair = make_key("k", KeyKind.ED25519, password=None, out=tmp_path / "k.pem")
    (tmp_path / "k.pem").unlink()
    kept = pair.public.read_bytes()
    with pytest.raises(UsageError, match=r"k\.pub\.pem exists; expected a new name"):
        make_key("k", KeyKind.ED25519, password=None, out=tmp_path / "k.pem")
    assert [each.name for each in tmp_path.glob("*.pem")] == ["k.pub.pem"]
    assert pair.public.read_bytes() == kept


def test_of_several_that_make_one_key_one_does(tmp_path: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            make_key("k", KeyKind.P256, password=None, out=tmp_path / "k.pem")
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(attempt, range(8)))
    assert same_key(tmp_path / "k.pem", tmp_path / "k.pub.pem")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pair_in_the_store_is_listed() -> None:
    made = make_key("k", KeyKind.P521, password=None, out=None)
    assert list_keys() == ([made], [])
