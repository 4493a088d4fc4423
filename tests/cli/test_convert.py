"""``grokdist convert``: the same model, with its licence and provenance, that runs the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from grokdist.trust.oms.root import root_of_files
from grokdist.trust.statement import parse_statement
from tests.cli.conftest import Cli, spawn


@pytest.fixture
def converted(cli: Cli, tmp_path: Path) -> Path:
    """The bundled model, fetched and converted."""
    assert cli("fetch", "grok-mini", "-q").code == 0
    out = tmp_path / "converted"
    ended = cli("convert", "grok-mini", "--out", out, "--file-size", "4M", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["license_files"] == ["CHANGES.txt", "LICENSE"]
    assert ended.json["license_missing"] == []
    return out


def test_it_says_the_same_as_the_original(cli: Cli, converted: Path) -> None:
    argv = ("run", "To be, or", "--max-tokens", "8", "--seed", "3", "--json", "--model")
    original = cli(*argv, "grok-mini").json
    again = cli(*argv, converted).json
    assert again["token_ids"] == original["token_ids"]
    assert again["model"] == "grok-mini-safetensors"


def test_licence_and_change_notice_travel_along(converted: Path) -> None:
    text = (converted / "LICENSE").read_bytes()
    manifest = json.loads((converted / ".grokdist/manifest.json").read_bytes())
    assert manifest["license"]["text_sha256"] == hashlib.sha256(text).hexdigest()
    assert "changed by grokdist" in (converted / "CHANGES.txt").read_text("utf-8")
    assert {"LICENSE", "CHANGES.txt"} <= {entry["path"] for entry in manifest["files"]}


def test_the_statement_names_both_digests(cli: Cli, converted: Path) -> None:
    from grokdist.trust.dsse import Envelope

    (path,) = (converted / ".grokdist/attestations").glob("conversion.*")
    statement = parse_statement(Envelope.parse(path.read_bytes()).payload)
    manifest = json.loads((converted / ".grokdist/manifest.json").read_bytes())
    root = root_of_files({entry["path"]: entry["sha256"] for entry in manifest["files"]})
    assert statement.subjects[0].sha256 == root == manifest["revision"]
    source = statement.predicate["buildDefinition"]["resolvedDependencies"][0]
    assert source["digest"]["sha256"] == manifest["converted_from"]["root_sha256"]
    assert source["name"].startswith("grok-mini@")


def test_it_verifies_and_damage_is_found(cli: Cli, converted: Path) -> None:
    assert cli("verify", converted).code == 0
    file = next(converted.glob("model-00002*"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert cli("verify", converted).code == 11
    assert cli("run", "Once", "--model", converted).code == 11


def test_a_rerun_continues(cli: Cli, converted: Path) -> None:
    next(converted.glob("model-00003*")).unlink()
    ended = cli("convert", "grok-mini", "--out", converted, "--file-size", "4M")
    assert ended.code == 0
    assert cli("verify", converted).code == 0


def test_what_is_converted_already_is_refused(cli: Cli, converted: Path, tmp_path: Path) -> None:
    ended = cli("convert", converted, "--out", tmp_path / "again")
    assert ended.code == 2
    assert "has format grok-1-safetensors; expected grok-1-pickle" in ended.err
    assert not (tmp_path / "again").exists()


def test_altered_shards_are_not_converted(cli: Cli, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert cli("fetch", "grok-mini", "--dir", model, "-q").code == 0
    shard = model / "ckpt-0" / "tensor00003_000"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x00")
    ended = cli("convert", model, "--out", tmp_path / "out")
    assert ended.code == 11
    assert not (tmp_path / "out").exists()


def test_onto_itself_and_onto_a_file(cli: Cli, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert cli("fetch", "grok-mini", "--dir", model, "-q").code == 0
    assert cli("convert", model, "--out", model).code == 2
    (tmp_path / "file").write_bytes(b"")
    ended = cli("convert", model, "--out", tmp_path / "file")
    assert ended.code == 1
    assert "cannot make" in ended.err


def test_policy_is_obeyed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("fetch", "grok-mini", "-q").code == 0
    (tmp_path / "policy.toml").write_text("[license]\nallow = ['MIT']")
    monkeypatch.setenv("GROKDIST_POLICY", str(tmp_path / "policy.toml"))
    ended = cli("convert", "grok-mini", "--out", tmp_path / "out")
    assert ended.code == 12
    assert "refuses to convert grok-mini" in ended.err


def test_cut_for_a_mesh_it_says_the_same_on_that_and_on_another(
    cli: Cli, tmp_path: Path, repository: Path
) -> None:
    assert cli("fetch", "grok-mini", "-q").code == 0
    out = tmp_path / "parts"
    assert cli("convert", "grok-mini", "--out", out, "--mesh", "1x2").code == 0
    assert cli("verify", out).code == 0
    assert len(list(out.glob("*.part-1-of-2.safetensors"))) == 1
    manifest = json.loads((out / ".grokdist/manifest.json").read_bytes())
    assert manifest["mesh"] == "1x2"
    argv = ("run", "To be, or", "--max-tokens", "8", "--temperature", "0", "--json", "--model")
    expected = cli(*argv, "grok-mini").json["token_ids"]
    assert cli(*argv, out, "--mesh", "1x1").json["token_ids"] == expected
    process = spawn(*argv, out, "--mesh", "1x2", cwd=repository)  # JAX has one device here
    found, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(found)["token_ids"] == expected


def test_a_mesh_that_cannot_be_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("fetch", "grok-mini", "-q").code == 0
    for mesh, words in (("2", "mesh is '2'; expected DxM"), ("1x7", "do not divide over 7")):
        ended = cli("convert", "grok-mini", "--out", tmp_path / "out", "--mesh", mesh)
        assert ended.code == 15
        assert words in ended.err
        assert not (tmp_path / "out").exists()
