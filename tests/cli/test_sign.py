"""``grokdist sign`` and ``grokdist verify --signature`` as people use them."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from grokdist.trust.oms.names import ALWAYS_IGNORED
from tests.cli.conftest import Cli, Ended
from tests.trust.oms.makers import (
    CURVES,
    VECTORS,
    KeyPair,
    authority,
    key_pair,
    model,
    payload_of,
    write_pair,
)

FILES = ["Z.txt", "a-b.bin", "a/b.bin", "config.json", "empty", "weights/\u00e9.bin"]
"""The model's files in the specification's order, which is not that of paths."""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return model(tmp_path / "model")


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return key_pair(tmp_path / "keys")


def _verify(cli: Cli, weights: Path, pair: KeyPair, *argv: str | Path) -> Ended:
    signature = weights / "model.sig"
    return cli("verify", weights, "--signature", signature, "--key", pair.public, "--json", *argv)


def _predicate(signature: Path) -> dict[str, Any]:
    predicate: dict[str, Any] = payload_of(signature.read_bytes())["predicate"]
    return predicate


@pytest.mark.parametrize("curve", list(CURVES))
def test_sign_and_verify(cli: Cli, weights: Path, tmp_path: Path, curve: str) -> None:
    pair = key_pair(tmp_path / "keys", curve=curve)
    ended = cli("sign", weights, "--key", pair.private, "--json")
    assert ended.code == 0, ended
    assert ended.json["files"] == ended.json["resources"] == len(FILES)
    assert ended.json["signature"] == str(weights / "model.sig")
    predicate = _predicate(weights / "model.sig")
    assert [each["name"] for each in predicate["resources"]] == FILES
    assert predicate["serialization"]["ignore_paths"] == sorted([*ALWAYS_IGNORED, "model.sig"])
    checked = _verify(cli, weights, pair)
    assert checked.code == 0, checked
    result = checked.json
    assert {**result, "seconds": 0} == {
        "ok": True,
        "files": len(FILES),
        "bytes": 5503,
        "seconds": 0,
        "missing": [],
        "mismatched": [],
        "extra": [],
        "ignored": ["model.sig"],
        "signers": [{"kind": "key", "id": pair.key.public.keyid, "name": curve}],
        "signatures": [pair.key.public.keyid],
        "threshold": 1,
        "root": ended.json["root"],
        "method": "files",
        "hash": "sha256",
        "signed_files": len(FILES),
        "attestation": None,
    }
    assert pair.key.public.keyid in (weights / "model.sig").read_text()


def test_a_person_reads_who_signed_what(cli: Cli, weights: Path, pair: KeyPair) -> None:
    ended = cli("sign", weights, "--key", pair.private, "--shard-size", "1000")
    assert "model signed: 5 files in 8 shards, 5.5 kB" in ended.out
    signature = weights / "model.sig"
    ended = cli("verify", weights, "--signature", signature, "--key", pair.public)
    assert "model is what was signed: 5 files, 5.5 kB" in ended.out
    assert f"signed by key {pair.key.public.keyid[:16]} (P-256)" in ended.out


def test_what_changed_is_told_apart(cli: Cli, weights: Path, pair: KeyPair) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    (weights / "config.json").write_bytes(b"[]")
    (weights / "Z.txt").unlink()
    (weights / "new.bin").write_bytes(b"new")
    ended = _verify(cli, weights, pair)
    assert ended.code == 11
    assert ended.json["ok"] is False
    assert ended.json["missing"] == ["Z.txt"]
    assert [each["path"] for each in ended.json["mismatched"]] == ["config.json"]
    assert ended.json["extra"] == ["new.bin"]
    assert ended.json["files"] == 4


def test_missing_and_unsigned_files_need_not_be_fatal(
    cli: Cli, weights: Path, pair: KeyPair
) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    (weights / "Z.txt").unlink()
    (weights / "new.bin").write_bytes(b"new")
    assert _verify(cli, weights, pair, "--ignore-missing").code == 11
    assert _verify(cli, weights, pair, "--ignore-unsigned-files").code == 11
    ended = _verify(cli, weights, pair, "--ignore-missing", "--ignore-unsigned-files")
    assert ended.code == 0, ended
    assert (ended.json["missing"], ended.json["extra"]) == (["Z.txt"], ["new.bin"])
    assert _verify(cli, weights, pair, "--ignore-missing", "--ignore", "new.bin").code == 0
    # What is there must still be right, and nothing at all is no success.
    (weights / "config.json").write_bytes(b"[]")
    assert _verify(cli, weights, pair, "--ignore-missing", "--ignore", "new.bin").code == 11
    for path in FILES:
        (weights / path).unlink(missing_ok=True)
    ended = _verify(cli, weights, pair, "--ignore-missing", "--ignore-unsigned-files")
    assert ended.code == 11


def test_some_files_of_a_full_signature(cli: Cli, weights: Path, pair: KeyPair) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    shutil.rmtree(weights / "a")
    (weights / "config.json").write_bytes(b"[]")
    ended = _verify(cli, weights, pair, "--include", "weights/*", "--include", "*.txt")
    assert ended.code == 0, ended
    assert (ended.json["files"], ended.json["bytes"]) == (2, 2001)
    assert ended.json["signed_files"] == 6
    assert _verify(cli, weights, pair, "--include", "*.json").code == 11
    ended = _verify(cli, weights, pair, "--include", "*.gguf")
    assert ended.code == 2
    assert "matches none of the 6 files that were signed" in ended.err


def test_a_range_reads_the_shards_that_it_touches(cli: Cli, weights: Path, pair: KeyPair) -> None:
    assert cli("sign", weights, "--key", pair.private, "--shard-size", "1000").code == 0
    data = bytearray((weights / "a-b.bin").read_bytes())
    data[2200] ^= 1
    (weights / "a-b.bin").write_bytes(data)
    for text, shards, read in (
        ("a-b.bin:0-1", 1, [0, 1000]),
        ("a-b.bin:999-1001", 2, [0, 2000]),
        ("a-b.bin:1000-2000", 1, [1000, 2000]),
    ):
        ended = _verify(cli, weights, pair, "--range", text)
        assert ended.code == 0, ended
        assert (ended.json["range"]["shards"], ended.json["range"]["read"]) == (shards, read)
        assert ended.json["bytes"] == read[1] - read[0]
    ended = _verify(cli, weights, pair, "--range", "a-b.bin:1999-")
    assert ended.code == 11
    (wrong,) = ended.json["mismatched"]
    assert wrong["ranges"] == [[2000, 2500]]
    # A file that is not all here yet: what was asked for is.
    (weights / "a-b.bin").write_bytes(bytes(data[:1500]))
    assert _verify(cli, weights, pair, "--range", "a-b.bin:0-1000").code == 0
    assert _verify(cli, weights, pair, "--range", "a-b.bin:0-1001").code == 11
    for text in ("a-b.bin:5-5", "a-b.bin:0-2501", "no.bin:0-1", "a-b.bin:x-y", "0-1"):
        assert _verify(cli, weights, pair, "--range", text).code == 2, text


def test_a_range_of_a_file_signed_whole_says_that_all_was_read(
    cli: Cli, weights: Path, pair: KeyPair
) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    argv = ("verify", weights, "--signature", weights / "model.sig", "--key", pair.public)
    ended = cli(*argv, "--range", "a-b.bin:5-9")
    assert "bytes 5 to 9 of a-b.bin are what was signed" in ended.out
    assert "only the whole file was signed, so all of it was read" in ended.out
    ended = cli(*argv, "--range", "a-b.bin:5-9", "--json")
    assert (ended.json["range"]["shards"], ended.json["bytes"]) == (0, 2500)


def test_shards_make_no_fault_of_empty_files(cli: Cli, weights: Path, pair: KeyPair) -> None:
    assert cli("sign", weights, "--key", pair.private, "--shard-size", "1000").code == 0
    names = [each["name"] for each in _predicate(weights / "model.sig")["resources"]]
    assert names == sorted(names)
    assert not any("empty" in name for name in names)
    (weights / "empty as well").touch()
    assert _verify(cli, weights, pair).code == 0
    (weights / "empty").write_bytes(b"no more")
    assert _verify(cli, weights, pair).json["extra"] == ["empty"]


def test_a_shard_name_may_hold_colons(cli: Cli, weights: Path, pair: KeyPair) -> None:
    (weights / "a:1:2").write_bytes(b"x" * 1500)
    assert cli("sign", weights, "--key", pair.private, "--shard-size", "1000").code == 0
    assert _verify(cli, weights, pair).code == 0
    ended = _verify(cli, weights, pair, "--range", "a:1:2:1000-1200")
    assert ended.json["range"]["path"] == "a:1:2"


def test_every_signature_is_judged_and_a_threshold_required(
    cli: Cli, weights: Path, tmp_path: Path
) -> None:
    one, two, three = (
        key_pair(tmp_path, name, curve=curve) for name, curve in zip("123", CURVES, strict=True)
    )
    assert cli("sign", weights, "--key", one.private, "--key", two.private).code == 0
    both = _verify(cli, weights, one, "--key", two.public, "--threshold", "2")
    assert both.code == 0, both
    assert [each["name"] for each in both.json["signers"]] == ["P-256", "P-384"]
    # The second alone is enough where one is, and the first signature is then a stranger's.
    ended = _verify(cli, weights, two)
    assert ended.code == 0, ended
    assert ended.json["signatures"] == [None, two.key.public.keyid]
    plain = cli("verify", weights, "--signature", weights / "model.sig", "--key", two.public)
    assert "1 signature more, by nobody whom you trust" in plain.out
    assert _verify(cli, weights, one, "--key", three.public, "--threshold", "2").code == 10
    assert _verify(cli, weights, three).code == 10


def test_a_certificate_and_a_key_are_two_signers(cli: Cli, weights: Path, tmp_path: Path) -> None:
    made = authority()
    certified = write_pair(tmp_path, "certified", made.leaf.key)
    other = key_pair(tmp_path, "other")
    leaf, root = made.leaf.write(tmp_path / "leaf.pem"), made.root.write(tmp_path / "root.pem")
    between = made.intermediate.write(tmp_path / "between.pem")
    argv = ("--certificate", leaf, "--chain", between, "--key", certified.private)
    assert cli("sign", weights, *argv, "--key", other.private).code == 0
    ended = _verify(cli, weights, other, "--certificate-root", root, "--threshold", "2")
    assert ended.code == 0, ended
    assert [each["kind"] for each in ended.json["signers"]] == ["certificate", "key"]
    # The key in the certificate, given as a key too, is still one signer.
    ended = _verify(cli, weights, certified, "--certificate-root", root, "--threshold", "2")
    assert ended.code == 10
    ended = cli("sign", weights, "--certificate", leaf, "--key", other.private)
    assert ended.code == 2
    assert "certificate of another key" in ended.err


def test_passwords(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = key_pair(tmp_path, "locked", password=b"secret")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ended = cli("sign", weights, "--key", pair.private)
    assert ended.code == 2
    assert "GROKDIST_KEY_PASSWORD" in ended.err
    assert not (weights / "model.sig").exists()
    monkeypatch.setenv("GROKDIST_KEY_PASSWORD", "wrong")
    assert cli("sign", weights, "--key", pair.private).code == 2
    monkeypatch.setenv("GROKDIST_KEY_PASSWORD", "secret")
    assert cli("sign", weights, "--key", pair.private).code == 0
    assert _verify(cli, weights, pair).code == 0


def test_links_are_refused_unless_they_are_signed(
    cli: Cli, weights: Path, pair: KeyPair, tmp_path: Path
) -> None:
    outside = tmp_path / "blobs"
    outside.mkdir()
    (outside / "blob").write_bytes(b"elsewhere")
    (weights / "linked.bin").symlink_to(outside / "blob")
    (weights / "linked").symlink_to(weights / "a")
    (weights / "a/round").symlink_to(weights)
    ended = cli("sign", weights, "--key", pair.private)
    assert ended.code == 1
    assert "is a link; expected a regular file" in ended.err
    ended = cli("sign", weights, "--key", pair.private, "--allow-symlinks")
    assert ended.code == 0, ended
    assert "linked.bin is a link that leads out of the model" in ended.err
    assert "a/round is a link to a folder it is in" in ended.err
    names = {each["name"] for each in _predicate(weights / "model.sig")["resources"]}
    assert names == {*FILES, "linked.bin", "linked/b.bin"}
    assert _verify(cli, weights, pair).code == 0
    (outside / "blob").write_bytes(b"changed")
    assert _verify(cli, weights, pair).code == 11


def test_a_link_in_place_of_a_signed_file_is_a_fault(
    cli: Cli, weights: Path, pair: KeyPair, tmp_path: Path
) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    (weights / "config.json").rename(tmp_path / "config.json")
    (weights / "config.json").symlink_to(tmp_path / "config.json")
    os.mkfifo(weights / "pipe")
    ended = _verify(cli, weights, pair)
    assert ended.code == 11
    (wrong,) = ended.json["mismatched"]
    assert (wrong["path"], wrong["got"]) == ("config.json", "a link")
    assert ended.json["extra"] == ["pipe"]


def test_names_that_cannot_be_signed(cli: Cli, weights: Path, pair: KeyPair) -> None:
    for name in (b"not-utf8-\xff", b"line\nbreak", b"back\\slash"):
        path = os.fsencode(weights) + b"/" + name
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        ended = cli("sign", weights, "--key", pair.private)
        assert ended.code == 10, name
        assert ended.err.isascii()
        Path(os.fsdecode(path)).unlink()
    os.mkfifo(weights / "pipe")
    assert "a special file" in cli("sign", weights, "--key", pair.private).err


def test_a_model_without_anything_to_sign(cli: Cli, tmp_path: Path, pair: KeyPair) -> None:
    empty = tmp_path / "none"
    empty.mkdir()
    assert cli("sign", empty, "--key", pair.private).code == 2
    (empty / "file").touch()
    assert cli("sign", empty, "--key", pair.private, "--shard-size", "9").code == 2
    assert cli("sign", empty, "--key", pair.private, "--ignore", "file").code == 2
    assert cli("sign", tmp_path / "nowhere", "--key", pair.private).code == 1


def test_more_shards_than_a_signature_can_list(cli: Cli, tmp_path: Path, pair: KeyPair) -> None:
    with (tmp_path / "hole.bin").open("wb") as file:
        file.truncate(10**12)
    ended = cli("sign", tmp_path / "hole.bin", "--key", pair.private, "--shard-size", "1")
    assert ended.code == 2
    assert "expected at most 1000000" in ended.err


def test_links_that_lead_deeper_than_anyone_looks(
    cli: Cli, weights: Path, pair: KeyPair, tmp_path: Path
) -> None:
    deep = tmp_path / "deep"
    deep.joinpath(*["d"] * 200).mkdir(parents=True)
    (weights / "deep").symlink_to(deep)
    ended = cli("sign", weights, "--key", pair.private, "--allow-symlinks")
    assert ended.code == 1
    assert "nested too deeply" in ended.err


@pytest.mark.parametrize("path", ["*.bin", "/abs", "../up", ".", ""])
def test_ignored_paths_are_exact_and_inside(
    cli: Cli, weights: Path, pair: KeyPair, path: str
) -> None:
    assert cli("sign", weights, "--key", pair.private, "--ignore", path).code == 10


def test_only_signatures_are_replaced(cli: Cli, weights: Path, pair: KeyPair) -> None:
    ended = cli("sign", weights, "--key", pair.private, "--output", weights / "config.json")
    assert ended.code == 2
    assert (weights / "config.json").read_bytes() == b"{}"
    assert cli("sign", weights, "--key", pair.private).code == 0
    assert cli("sign", weights, "--key", pair.private).code == 0
    assert not list(weights.glob("*.new"))
    assert _verify(cli, weights, pair).code == 0


def test_a_signature_elsewhere_is_not_recorded(
    cli: Cli, weights: Path, pair: KeyPair, tmp_path: Path
) -> None:
    output = tmp_path / "signatures/model.sig"
    assert cli("sign", weights, "--key", pair.private, "--output", output).code == 0
    assert _predicate(output)["serialization"]["ignore_paths"] == sorted(ALWAYS_IGNORED)
    argv = ("verify", weights, "--signature", output, "--key", pair.public)
    assert cli(*argv).code == 0
    # Whatever its name, the signature that is verified by may lie in the model.
    shutil.move(output, weights / "by-me.sig")
    argv = ("verify", weights, "--signature", weights / "by-me.sig", "--key", pair.public)
    assert cli(*argv).code == 0


def test_a_fetched_model_keeps_what_is_its_own(cli: Cli, tmp_path: Path, pair: KeyPair) -> None:
    target = tmp_path / "mini"
    assert cli("fetch", "grok-mini", "--source", "local", "--dir", target).code == 0
    assert cli("sign", target, "--key", pair.private, "--json").code == 0
    signature = target / ".grokdist/model.sig"
    names = [each["name"] for each in _predicate(signature)["resources"]]
    assert not any(name.startswith(".grokdist") for name in names)
    # By its manifest too it is what it was: nothing was added to it.
    assert cli("verify", target).code == 0
    (target / ".grokdist/receipt.json").write_text("{}")
    argv = ("verify", target, "--signature", signature, "--key", pair.public, "--json")
    ended = cli(*argv)
    assert ended.code == 0, ended
    assert ended.json["ignored"] == [".grokdist"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--key", "k.pub"),
        ("--threshold", "0"),
        ("--ignore-missing",),
        ("--identity", "me"),
        ("--certificate-root", "r.pem"),
    ],
)
def test_flags_of_signatures_need_one(cli: Cli, weights: Path, argv: tuple[str, ...]) -> None:
    ended = cli("verify", weights, *argv)
    assert ended.code == 2
    assert "expected --signature FILE" in ended.err


def test_nobody_trusted_is_an_error(cli: Cli, weights: Path, pair: KeyPair) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    ended = cli("verify", weights, "--signature", weights / "model.sig")
    assert ended.code == 2
    assert "nobody is trusted" in ended.err
    for flag in ("--quick", "--trees"):
        assert _verify(cli, weights, pair, flag).code == 2


def test_blake3_without_its_package(
    cli: Cli, weights: Path, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("sign", weights, "--key", pair.private, "--hash", "blake3").code == 0
    monkeypatch.setitem(sys.modules, "blake3", None)
    for ended in (
        cli("sign", weights, "--key", pair.private, "--hash", "blake3"),
        _verify(cli, weights, pair),
    ):
        assert ended.code == 10
        assert "blake3 is not supported" in ended.err
    assert cli("sign", weights, "--key", pair.private, "--hash", "md5").code == 2


# --- Sigstore, by a bundle that was really signed with it.

REFERENCE = VECTORS / "reference"
SIGSTORE = (
    "--signature",
    REFERENCE / "v1.1.0-sigstore/model.sig",
    "--trusted-root",
    REFERENCE / "trusted_root.json",
)
WHO = (
    "--identity",
    "stefanb@us.ibm.com",
    "--identity-provider",
    "https://sigstore.verify.ibm.com/oauth2",
)


def test_a_sigstore_signature_offline(cli: Cli, tmp_path: Path) -> None:
    weights = shutil.copytree(REFERENCE / "v1.1.0-sigstore", tmp_path / "signed")
    ended = cli("verify", weights, *SIGSTORE, *WHO, "--json")
    assert ended.code == 0, ended
    assert ended.json["signers"] == [
        {
            "kind": "sigstore",
            "id": "stefanb@us.ibm.com",
            "name": "https://sigstore.verify.ibm.com/oauth2",
        }
    ]
    (weights / "signme-1").write_bytes(b"changed")
    assert cli("verify", weights, *SIGSTORE, *WHO).code == 11


def test_a_sigstore_signature_needs_an_identity_and_its_provider(cli: Cli) -> None:
    weights = REFERENCE / "v1.1.0-sigstore"
    assert cli("verify", weights, *SIGSTORE).code == 2
    assert cli("verify", weights, *SIGSTORE, *WHO[:2]).code == 2
    assert cli("verify", weights, *SIGSTORE[:2], *WHO).code == 2
    other = ("--identity", "someone@else.example", *WHO[2:])
    assert cli("verify", weights, *SIGSTORE, *other).code == 10


@pytest.mark.parametrize("root", [b"", b"{}", b"[]", b"no json", b'{"mediaType": 1}'])
def test_a_malformed_trusted_root(cli: Cli, tmp_path: Path, root: bytes) -> None:
    (tmp_path / "root.json").write_bytes(root)
    argv = (*SIGSTORE[:2], "--trusted-root", tmp_path / "root.json", *WHO)
    ended = cli("verify", REFERENCE / "v1.1.0-sigstore", *argv)
    assert ended.code in (2, 10)
    assert "Traceback" not in ended.err


def test_tampered_sigstore_bundles(cli: Cli, tmp_path: Path) -> None:
    """Each part that sigstore-python must hold against another, changed by itself."""
    weights = shutil.copytree(REFERENCE / "v1.1.0-sigstore", tmp_path / "signed")
    original = (weights / "model.sig").read_text()
    signature = weights / "model.sig"

    def entry(document: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = document["verificationMaterial"]["tlogEntries"][0]
        return found

    changes = {
        "root hash": lambda d: entry(d)["inclusionProof"].update(rootHash="A" * 43 + "="),
        "index": lambda d: entry(d)["inclusionProof"].update(logIndex="1"),
        "body": lambda d: entry(d).update(canonicalizedBody="e30="),
        "no proof": lambda d: entry(d).pop("inclusionProof"),
        "log": lambda d: entry(d)["logId"].update(keyId="A" * 43 + "="),
        "entry": lambda d: d["verificationMaterial"]["tlogEntries"].__setitem__(0, {}),
        "certificate": lambda d: d["verificationMaterial"]["certificate"].update(rawBytes="MAA="),
        "signature": lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="MAYCAQECAQE="),
        "twice": lambda d: d["dsseEnvelope"]["signatures"].append(
            d["dsseEnvelope"]["signatures"][0]
        ),
    }
    for name, change in changes.items():
        document = json.loads(original)
        change(document)
        signature.write_text(json.dumps(document))
        argv = ("--signature", signature, *SIGSTORE[2:], *WHO)
        ended = cli("verify", weights, *argv)
        assert ended.code == 10, (name, ended)
        assert ended.err.startswith("error: "), name


def test_without_sigstore_python_a_hint_says_how_to_get_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    ended = cli("verify", REFERENCE / "v1.1.0-sigstore", *SIGSTORE, *WHO)
    assert ended.code == 10
    assert "hint: pip install 'grokdist[sigstore]'" in ended.err


def test_what_a_killed_signing_left_is_no_part_of_the_model(
    cli: Cli, weights: Path, pair: KeyPair
) -> None:
    assert cli("sign", weights, "--key", pair.private).code == 0
    left = weights / "model.sig.new"
    left.write_bytes(b'{"half":')
    # The old signature holds as before...
    checked = _verify(cli, weights, pair)
    assert checked.code == 0, checked
    assert checked.json["ignored"] == ["model.sig", "model.sig.new"]
    # ...and the next one is over the model alone.
    assert cli("sign", weights, "--key", pair.private).code == 0
    assert not left.exists()
    names = [each["name"] for each in _predicate(weights / "model.sig")["resources"]]
    assert names == FILES
