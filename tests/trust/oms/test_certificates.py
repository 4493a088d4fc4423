"""Certificate chains: which lead to a root, and which do not."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from grokdist.errors import TrustError, UsageError
from grokdist.trust.oms.certificates import load_certificates, verify_chain
from tests.trust.oms.makers import CURVES, Issued, authority, issue

NOW = datetime.now(UTC)
SIGNING = [ExtendedKeyUsageOID.CODE_SIGNING]
SERVER = [ExtendedKeyUsageOID.SERVER_AUTH]


def _verify(chain: list[Issued], root: Issued, now: datetime = NOW) -> str:
    der = tuple(each.der for each in chain)
    return verify_chain(der, (root.certificate,), now=now).subject


def _leaf(by: Issued, curve: str = "P-256") -> Issued:
    return issue("signer", by, usage=["digital_signature"], extended=SIGNING, curve=curve)


@pytest.mark.parametrize("curve", list(CURVES))
def test_a_chain_of_three(curve: str) -> None:
    root = issue("root", ca=True, curve=curve)
    between = issue("intermediate", root, ca=True, usage=["key_cert_sign"], curve=curve)
    leaf = _leaf(between, curve)
    assert _verify([leaf, between], root) == "CN=signer"
    assert _verify([leaf, between, root], root) == "CN=signer", "the root may come along"
    with pytest.raises(TrustError, match="none of its certificates was issued by that root"):
        _verify([leaf], root)
    with pytest.raises(TrustError, match="does not lead"):
        _verify([leaf, between, root], issue("root", ca=True))


def test_a_root_of_the_bundle_is_no_anchor() -> None:
    forged = authority()
    with pytest.raises(TrustError, match="does not lead"):
        _verify([forged.leaf, forged.intermediate, forged.root], authority().root)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """By whatever exception ``cryptography`` says so: not all of them are ``ValueError``."""
    root = issue("root", ca=True)
    leaf = _leaf(root).der
    version = bytes.fromhex("a003020102")  # an INTEGER of 2, which is version 3
    usage = bytes.fromhex("0603551d25")  # the extended key usage's identifier, made the other's
    for what, wrong in (
        ("version", leaf.replace(version, bytes.fromhex("a00302010d"))),
        ("Duplicate", leaf.replace(usage, bytes.fromhex("0603551d0f"))),
        ("malformed", leaf[:-1]),
    ):
        assert wrong != leaf
        with pytest.raises(TrustError, match=what):
            verify_chain((wrong,), (root.certificate,), now=NOW)
        pem = tmp_path / "one.pem"
        text = base64.encodebytes(wrong).decode()
        pem.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
        if what != "Duplicate":  # its extensions are read when it is used
            with pytest.raises(UsageError, match="holds no certificate"):
                load_certificates(pem)


def test_path_lengths_hold() -> None:
    root = issue("root", ca=True, path_length=0)
    assert _verify([_leaf(root)], root) == "CN=signer"
    between = issue("intermediate", root, ca=True)
    with pytest.raises(TrustError, match="path length"):
        _verify([_leaf(between), between], root)


def test_an_authoritys_usage_holds() -> None:
    root = issue("root", ca=True)
    for usage in (["crl_sign"], ["digital_signature"]):
        between = issue("intermediate", root, ca=True, usage=usage)
        with pytest.raises(TrustError, match="not for signing certificates"):
            _verify([_leaf(between), between], root)
    between = issue("intermediate", root, ca=True, extended=SERVER)
    with pytest.raises(TrustError, match="sign code"):
        _verify([_leaf(between), between], root)
    between = issue("intermediate", root, ca=True, extended=SIGNING)
    assert _verify([_leaf(between), between], root) == "CN=signer"
    between = issue("intermediate", root, ca=False)
    with pytest.raises(TrustError, match="does not lead"):
        _verify([_leaf(between), between], root)


@pytest.mark.parametrize("days", [-30, 30])
def test_all_must_be_valid_at_the_moment(days: int) -> None:
    made = authority()
    with pytest.raises(TrustError, match=r"has expired|not valid yet"):
        _verify([made.leaf, made.intermediate], made.root, NOW + timedelta(days=days))


def test_a_root_that_has_expired() -> None:
    root = issue("root", ca=True, days=(-9, -1))
    with pytest.raises(TrustError, match="not valid at validation time"):
        _verify([_leaf(root)], root)


def test_files_without_certificates(tmp_path: Path) -> None:
    for data in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x"):
        (tmp_path / "root.pem").write_bytes(data)
        with pytest.raises(UsageError, match="holds no certificate"):
            load_certificates(tmp_path / "root.pem")
    with pytest.raises(UsageError, match="cannot be read"):
        load_certificates(tmp_path / "nowhere.pem")
