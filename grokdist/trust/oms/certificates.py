"""Certificate chains of model signatures: from the signer's certificate to a root of the user's.

Path validation (signatures, names, validity at a moment, basic constraints, key usage and path
lengths of every authority) is that of ``cryptography``; which certificate may sign a model is
decided here. Revocation is not checked: nothing in a bundle tells of it. Which of the many holders
of certificates under one root may sign is for the user, who is shown the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from grokdist.document import shorten
from grokdist.errors import TrustError, UsageError
from grokdist.trust.keys import VerifyingKey, read_pem

if TYPE_CHECKING:
    from cryptography.x509 import (
        BasicConstraints,
        Certificate,
        ExtendedKeyUsage,
        Extensions,
        KeyUsage,
    )
    from cryptography.x509.extensions import ExtensionType
    from cryptography.x509.verification import ClientVerifier, Policy

_MAX_DEPTH = 8
_Extension = TypeVar("_Extension", bound="ExtensionType")


@dataclass(frozen=True, kw_only=True, slots=True)
class CertifiedKey:
    """A key, and whom a verified certificate names as its holder.

    Attributes:
        key: the public key.
        subject: the holder, an RFC 4514 name.
        fingerprint: SHA-256 of the certificate, 64 hex digits.
    """

    key: VerifyingKey
    subject: str
    fingerprint: str


def load_certificates(path: Path) -> tuple[Certificate, ...]:
    """Read the certificates of a PEM file, in their order.

    Raises:
        UsageError: it cannot be read or holds none.
    """
    from cryptography.x509 import load_pem_x509_certificates

    data = read_pem(path)
    try:
        return tuple(load_pem_x509_certificates(data))
    except _unreadable():
        raise UsageError(f"{path} holds no certificate; expected one in PEM form") from None


def verify_chain(
    chain: tuple[bytes, ...], roots: tuple[Certificate, ...], *, now: datetime
) -> CertifiedKey:
    """Verify a bundle's chain against roots that the user trusts.

    Checks: a path leads from the first certificate through the others to a root, every certificate
    on it is valid now, every authority on it is one, and the first may sign and issues no others.

    Args:
        chain: DER certificates, the signer's first.
        roots: trust anchors; certificates of the bundle are never taken as such.
        now: the moment at which all must be valid, with its time zone.

    Raises:
        TrustError: any of these does not hold.
    """
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.verification import VerificationError

    try:
        leaf, *others = [load_der_x509_certificate(each) for each in chain]
    except _unreadable() as error:
        raise TrustError(f"a certificate of the bundle is malformed: {error}") from error
    certified = certified_key(leaf)
    check_may_sign(leaf, now=now)
    for each in others:
        _check_validity(each, "a certificate of the bundle's chain", now)
    try:
        _verifier(roots, now).verify(leaf, others)
    except VerificationError as error:
        raise TrustError(
            f"the certificate of {certified.subject} does not lead to the root given:"
            f" {_reason(error)}; expected a chain that ends there",
            hint="--certificate-root FILE: the root certificate that you trust, in PEM form",
        ) from error
    except _unreadable() as error:
        raise TrustError(f"the bundle's certificate chain cannot be judged: {error}") from error
    return certified


def certified_key(leaf: Certificate) -> CertifiedKey:
    """The key of a signer's certificate, of which nothing is verified.

    Raises:
        TrustError: it is of a kind that model signatures do not use.
    """
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        subject = shorten(leaf.subject.rfc4514_string() or "(no subject)", 200)[1:-1]
        key = VerifyingKey.of(leaf.public_key(), where=f"the key in the certificate of {subject}")
    except _unreadable() as error:
        raise TrustError(f"the signer's certificate cannot be read: {error}") from error
    return CertifiedKey(key=key, subject=subject, fingerprint=leaf.fingerprint(SHA256()).hex())


def check_may_sign(leaf: Certificate, *, now: datetime) -> None:
    """Check by itself that a certificate may sign a model.

    It is valid now; its key usage, where it has one, is for digital signatures; its extended key
    usage, where it has one, is for signing code; it has one of both; and it is none that issues
    others. (An authority without the right to sign certificates is none: the specification's own
    vectors are signed by such a one.)

    Raises:
        TrustError: it may not.
    """
    from cryptography.x509 import BasicConstraints, ExtendedKeyUsage, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    _check_validity(leaf, "the signer's certificate", now)
    try:
        extensions = leaf.extensions
    except _unreadable() as error:
        raise TrustError(f"the signer's certificate cannot be read: {error}") from error
    usage = _extension(extensions, KeyUsage)
    extended = _extension(extensions, ExtendedKeyUsage)
    constraints = _extension(extensions, BasicConstraints)
    issues = usage.key_cert_sign if usage is not None else bool(constraints and constraints.ca)
    if issues:
        raise TrustError(
            "the signer's certificate is that of a certificate authority;"
            " expected one that signs, and issues no others"
        )
    if usage is None and extended is None:
        raise TrustError(
            "the signer's certificate names no usage;"
            " expected digital signatures, or the signing of code"
        )
    if usage is not None and not usage.digital_signature:
        raise TrustError("the signer's certificate is not for digital signatures; expected so")
    if extended is not None and ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise TrustError("the signer's certificate is not for the signing of code; expected so")


def _unreadable() -> tuple[type[Exception], ...]:
    """What ``cryptography`` raises of a certificate that it cannot read, or parts of one."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

    return (
        ValueError,
        UnsupportedAlgorithm,
        DuplicateExtension,
        InvalidVersion,
        UnsupportedGeneralNameType,
    )


def _check_validity(certificate: Certificate, what: str, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise TrustError(
            f"{what} has expired; expected one valid at {_date(now)},"
            f" got one until {_date(certificate.not_valid_after_utc)}"
        )
    if now < certificate.not_valid_before_utc:
        raise TrustError(
            f"{what} is not valid yet; expected one valid at {_date(now)},"
            f" got one from {_date(certificate.not_valid_before_utc)}"
        )


def _extension(extensions: Extensions, kind: type[_Extension]) -> _Extension | None:
    from cryptography.x509 import ExtensionNotFound

    try:
        return extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _verifier(roots: tuple[Certificate, ...], now: datetime) -> ClientVerifier:
    from cryptography.x509 import BasicConstraints, ExtendedKeyUsage, KeyUsage
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

    # The library's own policies are those of the web, which private authorities seldom meet (a
    # root that openssl makes has no key usage). What makes an authority one is asked for here.
    any_way = Criticality.AGNOSTIC
    authorities = (
        ExtensionPolicy.permit_all()
        .require_present(BasicConstraints, any_way, _is_authority)
        .may_be_present(KeyUsage, any_way, _may_certify)
        .may_be_present(ExtendedKeyUsage, any_way, _may_certify_for_code)
    )
    return (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(now)
        .max_chain_depth(_MAX_DEPTH)
        .extension_policies(ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )


def _is_authority(_policy: Policy, _of: Certificate, constraints: BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("a certificate that issues another is no authority's")


def _may_certify(_policy: Policy, _of: Certificate, usage: KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's certificate is not for signing certificates")


def _may_certify_for_code(
    _policy: Policy, _of: Certificate, usage: ExtendedKeyUsage | None
) -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage is not None and not any(each in usage for each in allowed):
        raise ValueError("an authority's certificate is not for certificates that sign code")


def _reason(error: Exception) -> str:
    """The library's words, without its preamble and lists of what it tried."""
    text = str(error).splitlines()[0].removeprefix("validation failed: ")
    text = text.split(" (encountered processing", 1)[0]
    while text.startswith("candidates exhausted: "):
        text = text.removeprefix("candidates exhausted: ")
    if text.startswith("all candidates exhausted"):
        text = "none of its certificates was issued by that root"
    return shorten(text, 200)[1:-1]
