"""Attestations as an adversary would bring them: each is refused, with a sentence and exit 10."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.attestation_files import (
    IN_TOTO,
    SVR,
    Signer,
    envelope,
    root_of,
    statement,
    write,
)
from tests.cli.conftest import Cli, Ended, finish, spawn


class Desk:
    """Somebody who is given an attestation about a model, and knows whose word counts."""

    def __init__(self, cli: Cli, folder: Path, model: Path) -> None:
        self._cli = cli
        self._file = folder / "attestation.json"
        self.folder = folder
        self.model = model
        self.root = root_of(self.model)
        self.signer = Signer(folder / "keys", "signer")
        self.stranger = Signer(folder / "keys", "stranger")

    def judge(self, document: Any, *argv: str | Path) -> Ended:
        """What the command says of a file with this in it."""
        write(self._file, document)
        keys = () if "--key" in argv else ("--key", self.signer.public)
        return self._cli("attest", "verify", self._file, "--model", self.model, *keys, *argv)

    def refuses(self, document: Any, *argv: str | Path, said: str) -> None:
        """It is refused with exit code 10, in a sentence, without a traceback."""
        ended = self.judge(document, *argv)
        assert ended.code == 10, ended
        assert ended.err.startswith("error: "), ended
        assert said in ended.err, ended
        assert ended.out == ""

    def good(self, **predicate: Any) -> dict[str, Any]:
        """An attestation that is accepted as it is."""
        return envelope(statement(self.root, **predicate), self.signer)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """grok-mini without attestations, which no test here may add to."""
    folder = tmp_path_factory.mktemp("fetched")
    argv = ("fetch", "grok-mini", "--source", "local", "--dir", folder / "mini", "--no-attest")
    settings = {"GROKDIST_HOME": str(folder), "GROKDIST_CONFIG": str(folder / "no-config.toml")}
    ended = finish(spawn(*argv, cwd=repository, **settings))
    assert ended.code == 0, ended
    return folder / "mini"


@pytest.fixture
def desk(cli: Cli, tmp_path: Path, mini: Path) -> Desk:
    desk = Desk(cli, tmp_path, mini)
    assert desk.judge(desk.good()).code == 0
    return desk


def _with_signature(document: dict[str, Any], change: Callable[[bytes], bytes]) -> dict[str, Any]:
    row = document["signatures"][0]
    return {
        **document,
        "signatures": [
            {**row, "sig": base64.b64encode(change(base64.b64decode(row["sig"]))).decode()}
        ],
    }


def _in(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_forged_signature(desk: Desk) -> None:
    """Signed by somebody else who names the right key as a hint."""
    document = envelope(statement(desk.root), desk.stranger)
    document["signatures"][0]["keyid"] = desk.signer.keyid
    desk.refuses(document, said="those of 0 of the keys given hold; expected 1 of 1 keys")


def test_changed_payload(desk: Desk) -> None:
    document = desk.good()
    other = json.dumps(statement(desk.root, properties=["EXAMPLE_BETTER"])).encode()
    document["payload"] = base64.b64encode(other).decode()
    desk.refuses(document, said="those of 0 of the keys given hold")


def test_stripped_signatures(desk: Desk) -> None:
    desk.refuses({**desk.good(), "signatures": []}, said="the attestation is not signed")
    document = desk.good()
    del document["signatures"]
    desk.refuses(document, said="envelope field signatures is missing")
    desk.refuses({**desk.good(), "signatures": [{"sig": ""}]}, said="expected base64 of 1 to")


def test_one_signature_of_two_stripped(desk: Desk) -> None:
    both = ("--key", desk.signer.public, "--key", desk.stranger.public, "--threshold", "2")
    document = envelope(statement(desk.root), desk.signer, desk.stranger)
    assert desk.judge(document, *both).code == 0
    document["signatures"].pop()
    desk.refuses(document, *both, said="expected 2 of 2 keys")


def test_swapped_signatures(desk: Desk) -> None:
    """A right signature of the right key, over another statement."""
    other = envelope(statement(desk.root, properties=["EXAMPLE_OTHER"]), desk.signer)
    document = {**desk.good(), "signatures": other["signatures"]}
    desk.refuses(document, said="those of 0 of the keys given hold")


@pytest.mark.parametrize(
    "change",
    [
        lambda sig: sig[:-1],
        lambda sig: sig[:1],
        lambda sig: sig + b"\0",
        lambda sig: b"\0" * len(sig),
        lambda sig: b"0\x06\x02\x01\x00\x02\x01\x00",  # r = s = 0
        lambda sig: b"0\x06\x02\x01\x01\x02\x01\x01",
    ],
)
def test_truncated_and_degenerate_signatures(desk: Desk, change: Callable[[bytes], bytes]) -> None:
    document = _with_signature(desk.good(), change)
    desk.refuses(document, said="those of 0 of the keys given hold")


def test_one_signer_twice_is_one_signer(desk: Desk) -> None:
    document = envelope(statement(desk.root), desk.signer, desk.signer)
    both = ("--key", desk.signer.public, "--key", desk.stranger.public, "--threshold", "2")
    desk.refuses(document, *both, said="those of 1 of the keys given hold; expected 2 of 2 keys")


def test_one_key_given_twice_is_one_key(desk: Desk) -> None:
    twice = ("--key", desk.signer.public, "--key", desk.signer.public, "--threshold", "2")
    desk.refuses(desk.good(), *twice, said="threshold of 2 cannot be met by 1 distinct key")


def test_replayed_from_another_model(desk: Desk) -> None:
    subject = {"name": "grok-1@6e58c1c3", "digest": {"sha256": "6e" * 32}}
    document = envelope(statement(subject), desk.signer)
    desk.refuses(document, said="about 'grok-1@6e58c1c3' (6e6e6e6e6e6e6e6e...), not about grok-mi")


def test_replayed_from_another_revision_under_the_same_name(desk: Desk) -> None:
    good = desk.judge(desk.good(), "--json").json["model"]["name"]
    document = envelope(statement({"name": good, "digest": {"sha256": "0" * 64}}), desk.signer)
    desk.refuses(document, said=f"expected the root digest {desk.root}")


def test_replayed_later_than_allowed(desk: Desk) -> None:
    document = desk.good(timeCreated=_in(days=-10))
    assert desk.judge(document).code == 0
    desk.refuses(document, "--max-age", "9", said="expected at most 9 days ago")


def test_algorithm_confusion(desk: Desk) -> None:
    """What the envelope says of algorithms and keys chooses nothing."""
    document = {**desk.good(), "signatures": [{"sig": "AA==", "alg": "none", "keyid": ""}]}
    desk.refuses(document, said="those of 0 of the keys given hold")
    signer = Signer(desk.folder / "keys", "p384", ec.SECP384R1())
    payload = json.dumps(statement(desk.root)).encode()
    from cryptography.hazmat.primitives import hashes

    weaker = signer.key.sign(
        f"DSSEv1 {len(IN_TOTO)} {IN_TOTO} {len(payload)} ".encode() + payload,
        ec.ECDSA(hashes.SHA256()),  # the curve fixes SHA-384
    )
    document = envelope(payload, signer)
    assert desk.judge(document, "--key", signer.public).code == 0
    document = _with_signature(document, lambda _: weaker)
    desk.refuses(document, "--key", signer.public, said="those of 0 of the keys given hold")


def test_raw_signature_form_is_another_algorithm(desk: Desk) -> None:
    def raw(sig: bytes) -> bytes:
        r, s = decode_dss_signature(sig)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    desk.refuses(_with_signature(desk.good(), raw), said="those of 0 of the keys given hold")


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "secp256k1"])
def test_wrong_key_types(desk: Desk, kind: str) -> None:
    keys: dict[str, Any] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    }
    pem = desk.folder / "other.pub"
    public = keys[kind]().public_key()
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    desk.refuses(desk.good(), "--key", pem, said="expected a P-256, P-384 or P-521 key")


def test_duplicate_keys(desk: Desk) -> None:
    good = json.dumps(desk.good())
    desk.refuses(good[:-1].encode() + b', "payload": ""}', said="'payload' appears twice")
    body = json.dumps(statement(desk.root)).encode()
    doubled = body[:-1] + b', "predicateType": "https://x.example/y"}'
    desk.refuses(envelope(doubled, desk.signer), said="'predicateType' appears twice")


def test_huge_and_deep_json(desk: Desk) -> None:
    desk.refuses(b"[" * 1_000_000, said="nested too deeply")
    desk.refuses(b'{"payload":' * 200 + b"1" + b"}" * 200, said="nested too deeply")
    body = statement(desk.root)
    deep: Any = "end"
    for _ in range(100):
        deep = [deep]
    desk.refuses(
        envelope({**body, "predicate": {**body["predicate"], "x": deep}}, desk.signer),
        said="statement is malformed: nested too deeply",
    )
    desk.refuses({**desk.good(), "signatures": [{"sig": "AAAA"}] * 1000}, said="at most 64 values")
    many = [{"name": "x", "digest": {"sha256": "0" * 64}}] * 10_001
    desk.refuses(envelope(statement(*many), desk.signer), said="at most 10000 values")


def test_a_file_too_large_to_be_an_attestation(desk: Desk) -> None:
    path = desk.folder / "large.json"
    with path.open("wb") as stream:
        stream.truncate((128 << 20) + 1)
    ended = desk._cli("attest", "verify", path, "--key", desk.signer.public)
    assert (ended.code, "is too large" in ended.err) == (10, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "statement field _type"),
        ({"_type": None}, "statement field _type"),
        ({"subject": []}, "expected at least one subject"),
        ({"subject": {}}, "expected an array"),
        ({"predicateType": 3}, "expected a string"),
        ({"predicate": []}, "expected an object"),
    ],
)
def test_unknown_statement_type_and_form(desk: Desk, change: dict[str, Any], said: str) -> None:
    desk.refuses(envelope({**statement(desk.root), **change}, desk.signer), said=said)


def test_a_signature_over_another_predicate(desk: Desk) -> None:
    other = "https://model_signing/signature/v1.0"
    document = envelope(statement(desk.root, predicate_type=other), desk.signer)
    desk.refuses(document, "--type", "verification", said=f"of type '{other}'; expected '{SVR}'")
    desk.refuses(desk.good(), "--type", "openness", said="attestation/openness/v1'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verifier": {"id": "no uri", "policies": []}}, "verifier.id"),
        ({"verifier": {"id": "https://example.org/v"}}, "verifier.policies is missing"),
        ({"verifier": {"id": "https://e.org/v", "policies": [{"name": "x"}]}}, "a uri, a digest"),
        ({"properties": "EXAMPLE_OK"}, "expected an array"),
        ({"properties": ["\x1b[2J"]}, "printable"),
        ({"timeCreated": "yesterday"}, "RFC 3339"),
        ({"timeCreated": "2024-02-30T00:00:00Z"}, "RFC 3339"),
        ({"timeCreated": "0001-01-01T00:00:00+23:59"}, "RFC 3339"),
        ({"timeCreated": "2024-03-17T12:00:00"}, "RFC 3339"),
    ],
)
def test_a_verification_result_that_is_none(desk: Desk, change: dict[str, Any], said: str) -> None:
    desk.refuses(desk.good(**change), said=said)


def test_one_of_several_subjects_matches(desk: Desk) -> None:
    """Subjects are matched purely by digest: one is enough, and a name is none."""
    document = envelope(statement("0" * 64, desk.root, "1" * 64), desk.signer)
    ended = desk.judge(document)
    assert (ended.code, "(and 2 more subjects)" in ended.out) == (0, True)
    document = envelope(statement("0" * 64, "1" * 64), desk.signer)
    desk.refuses(document, said="and 1 more, not about grok-mini")


def test_a_digest_of_another_algorithm_only(desk: Desk) -> None:
    other = {"name": "model", "digest": {"sha512": desk.root * 2}}
    desk.refuses(envelope(statement(other), desk.signer), said="digest.sha256 is missing")
    # The right hex digits under the name of another algorithm are another digest.
    other = {"name": "model", "digest": {"sha3_256": desk.root}}
    document = envelope(statement(other, "0" * 64), desk.signer)
    desk.refuses(document, said="not about grok-mini")
    document = envelope(statement(other, desk.root), desk.signer)
    assert desk.judge(document).code == 0


def test_a_digest_in_another_spelling(desk: Desk) -> None:
    document = envelope(statement(desk.root.upper()), desk.signer)
    desk.refuses(document, said="64 lower-case hexadecimal digits")


def test_from_the_future(desk: Desk) -> None:
    desk.refuses(desk.good(timeCreated=_in(days=1)), said="which is in the future")
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"timestamp": _in(days=1)},
    }
    body = {**statement(desk.root), "predicateType": "https://cyclonedx.org/bom", "predicate": bom}
    desk.refuses(envelope(body, desk.signer), said="which is in the future")


def test_a_clock_may_be_a_little_ahead(desk: Desk) -> None:
    assert desk.judge(desk.good(timeCreated=_in(days=1 / 1440))).code == 0


def test_expired(desk: Desk) -> None:
    assert desk.judge(desk.good(expires=_in(days=1))).code == 0
    desk.refuses(desk.good(expires=_in(days=-1)), said="the attestation expired at")
    desk.refuses(desk.good(expires="never"), said="RFC 3339")
    other = envelope(
        statement(desk.root, predicate_type="https://x.example/y", expires=_in(days=-1)),
        desk.signer,
    )
    desk.refuses(other, said="the attestation expired at")


def test_swapped_payload_type(desk: Desk) -> None:
    desk.refuses({**desk.good(), "payloadType": "text/plain"}, said="the envelope holds 'text/pl")
    # Another type of in-toto's own: the type is signed together with the payload.
    changed = {**desk.good(), "payloadType": "application/vnd.in-toto.svr+json"}
    desk.refuses(changed, said="those of 0 of the keys given hold")
    signed = envelope(
        statement(desk.root), desk.signer, payload_type="application/vnd.in-toto.svr+json"
    )
    assert desk.judge(signed).code == 0
    signed = envelope(statement(desk.root), desk.signer, payload_type="application/json")
    desk.refuses(signed, said="expected 'application/vnd.in-toto+json'")


def test_base64_of_either_alphabet_and_nothing_else(desk: Desk) -> None:
    # "?>" and "?~" bring the characters in which the two alphabets differ.
    document = desk.good(note="?>?~?>?~ÿþ")
    urlsafe = {
        **document,
        "payload": document["payload"].replace("+", "-").replace("/", "_"),
        "signatures": [
            {"sig": each["sig"].replace("+", "-").replace("/", "_")}
            for each in document["signatures"]
        ],
    }
    assert urlsafe["payload"] != document["payload"]
    assert desk.judge(urlsafe).code == 0
    for garbage in ("!!!!", "AAA", "A A=", document["payload"] + "\n", "é", 3, None, []):
        desk.refuses({**document, "payload": garbage}, said="expected base64 of 1 to")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"null", b"[]", b"{}", b'"text"', b"{} {}", b'{"payload": NaN}']
)
def test_what_is_no_envelope(desk: Desk, data: bytes) -> None:
    desk.refuses(data, said="envelope ")


def test_a_predicate_file_that_others_could_read_otherwise(desk: Desk) -> None:
    uri = "https://example.org/review/v1"
    for data, said in (
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"expires": "soon"}', "RFC 3339"),
    ):
        file = write(desk.folder / "p.json", data)
        ended = desk._cli("attest", desk.model, "--predicate", file, "--predicate-type", uri)
        assert (ended.code, said in ended.err) == (10, True), ended
    assert not (desk.model / ".grokdist/attestations").exists()


def test_a_bill_of_materials_that_is_none(desk: Desk) -> None:
    file = write(desk.folder / "p.json", {"name": "x"})
    ended = desk._cli("attest", desk.model, "--predicate", file, "--type", "spdx")
    assert (ended.code, "no bill of materials" in ended.err) == (10, True)
