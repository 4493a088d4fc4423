"""Key files: pairs of PEM files that people make, keep and sign with.

Ed25519 or ECDSA keys by ``cryptography``: PKCS #8 for the private half, encrypted where there is a
password, readable by its owner alone; SubjectPublicKeyInfo for the public half. A registry takes
all four kinds; bundles take the three curves (``grokdist.trust.keys``). Asking people for
passwords is left to ``grokdist.cli``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokdist.document import shorten
from grokdist.errors import StoreError, TrustError, UsageError
from grokdist.private_folder import make_private
from grokdist.settings import home
from grokdist.trust.keys import read_pem
from grokdist.whole_file import write_new

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
    PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

Password = Callable[[Path], bytes]
"""Asked for the password of an encrypted key file."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PUBLIC = ".pub.pem"
_PRIVATE = ".pem"


class KeyKind(StrEnum):
    """The kinds of key that can be made."""

    ED25519 = "ed25519"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"


_BY_CURVE = {"secp256r1": KeyKind.P256, "secp384r1": KeyKind.P384, "secp521r1": KeyKind.P521}


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A pair of key files.

    Attributes:
        name: what people call it.
        kind: of which kind it is.
        public: the public half's file.
        private: the private half's file; None where it is not here.
        encrypted: True where the private half needs a password.
    """

    name: str
    kind: KeyKind
    public: Path
    private: Path | None
    encrypted: bool


def keys_folder() -> Path:
    """Where keys are kept that were given no other place."""
    return home() / "keys"


def make_key(name: str, kind: KeyKind, *, password: bytes | None, out: Path | None) -> KeyPair:
    """Make a key pair and write it; nothing that exists is written over.

    A private half that lies there without its public one, as when the making was cut off between
    the two, is kept, and gets its public half.

    Args:
        name: what to call it.
        kind: of which kind it shall be.
        password: encrypts the private half, or opens one that is there; None leaves it plain.
        out: the private half's file; None for ``<name>.pem`` in ``keys_folder()``. The public
            half is ``<same>.pub.pem`` beside it.

    Raises:
        UsageError: the name is none, the public half is there already, or a private one is that
            this password does not open or that is of another kind.
        StoreError: the files cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as pem

    if not NAME.fullmatch(name):
        raise UsageError(f"{shorten(name)} is no key's name; expected letters, digits, '.-_'")
    private = keys_folder() / f"{name}{_PRIVATE}" if out is None else out
    public = _public_beside(private)
    try:
        if public.exists():
            raise _taken(public)
        if private.exists():
            key = _begun(private, kind, password)
        else:
            key = _generated(kind)
            lock = pem.NoEncryption() if password is None else pem.BestAvailableEncryption(password)
            secret = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock)
            make_private(private.parent)
            write_new(private, secret, mode=0o600)
        shown = key.public_key().public_bytes(
            pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo
        )
        write_new(public, shown, mode=0o644)
    except FileExistsError as error:
        raise _taken(error.filename) from None
    except OSError as error:
        raise StoreError(f"cannot write the key {private}: {error.strerror}") from error
    return KeyPair(
        name=name, kind=kind, public=public, private=private, encrypted=password is not None
    )


def _taken(path: Path | str) -> UsageError:
    return UsageError(f"{path} exists; expected a new name, since a key is never written over")


def _generated(kind: KeyKind) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if kind is KeyKind.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[KeyKind, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]] = {
        KeyKind.P256: ec.SECP256R1,
        KeyKind.P384: ec.SECP384R1,
        KeyKind.P521: ec.SECP521R1,
    }
    return ec.generate_private_key(curves[kind]())


def _begun(private: Path, kind: KeyKind, password: bytes | None) -> PrivateKey:
    """The private half that is there already, if it is what was asked for."""
    alone = f"{private} is there without its public half"
    encrypted = _is_encrypted(private)
    if encrypted != (password is not None):
        how = "encrypted" if encrypted else "not encrypted"
        raise UsageError(f"{alone}, {how}, which is not as asked; expected another name")
    key: PrivateKey = load_private(private, lambda _: password or b"")
    if (found := kind_of(key.public_key())) is not kind:
        raise UsageError(f"{alone}, of kind {found}; expected {kind}, or another name")
    return key


def list_keys() -> tuple[list[KeyPair], list[str]]:
    """The key pairs in ``keys_folder()``, by name, and what is wrong with the rest."""
    pairs, faults = [], []
    for public in sorted(keys_folder().glob(f"*{_PUBLIC}")):
        name = public.name.removesuffix(_PUBLIC)
        private = public.with_name(name + _PRIVATE)
        try:
            kind = kind_of(load_public(public))
            there = private.exists()
            encrypted = there and _is_encrypted(private)
        except (UsageError, TrustError) as error:
            faults.append(str(error))
            continue
        pairs.append(
            KeyPair(
                name=name,
                kind=kind,
                public=public,
                private=private if there else None,
                encrypted=encrypted,
            )
        )
    return pairs, faults


def private_file(key: str) -> Path:
    """The private key file that a person means: a path, or the name of a kept key."""
    kept = keys_folder() / f"{key}{_PRIVATE}"
    return kept if NAME.fullmatch(key) and not Path(key).exists() and kept.exists() else Path(key)


def public_file(key: str) -> Path:
    """The public key file that a person means; of a private key, the one beside it."""
    path = private_file(key)
    if not path.name.endswith(_PUBLIC) and not path.exists():
        kept = keys_folder() / f"{key}{_PUBLIC}"
        return kept if NAME.fullmatch(key) and kept.exists() else path
    return path


def load_private(path: Path, password: Password) -> Any:
    """Read a private key, plain or encrypted.

    Args:
        path: a PEM file, PKCS #8 or SEC 1.
        password: asked only where the key is encrypted.

    Raises:
        UsageError: the file cannot be read, holds no private key, or the password is wrong.
        TrustError: the key is of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_pem(path)
    if b"PRIVATE KEY" not in data:
        raise UsageError(f"{path} holds no private key; expected one in PEM form")
    given = None
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            given = password(path)
            key = load_pem_private_key(data, given)
    except (ValueError, UnsupportedAlgorithm):
        wrong = "" if given is None else ": the password is wrong, or the file is damaged"
        raise UsageError(f"{path} cannot be read as a PEM private key{wrong}") from None
    kind_of(key.public_key(), where=str(path))
    return key


def load_public(path: Path, password: Password | None = None) -> PublicKey:
    """Read a public key, or the public half of a private one.

    Args:
        path: a PEM file.
        password: asked where the file is an encrypted private key; None refuses private keys.

    Raises:
        UsageError: the file cannot be read, or holds no key.
        TrustError: the key is of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = read_pem(path)
    if b"PRIVATE KEY" in data:
        beside = _public_beside(path)
        if beside != path and beside.exists():
            return load_public(beside)
        if password is None:
            raise UsageError(f"{path} holds a private key; expected the public one")
        key: Any = load_private(path, password).public_key()
    else:
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise UsageError(f"{path} holds no public key; expected one in PEM form") from None
    kind_of(key, where=str(path))
    result: PublicKey = key
    return result


def kind_of(key: Any, *, where: str = "the key") -> KeyKind:
    """The kind of a public key of ``cryptography``.

    Raises:
        TrustError: it is none of the four.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyKind.ED25519
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _BY_CURVE:
        return _BY_CURVE[key.curve.name]
    name = type(key).__name__.removesuffix("PublicKey")
    raise TrustError(f"{where} is a key of kind {name}; expected one of {', '.join(KeyKind)}")


def _is_encrypted(private: Path) -> bool:
    return b"ENCRYPTED" in read_pem(private)


def _public_beside(private: Path) -> Path:
    name = private.name.removesuffix(_PUBLIC).removesuffix(_PRIVATE)
    return private.with_name(name + _PUBLIC)
