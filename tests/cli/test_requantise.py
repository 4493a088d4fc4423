"""Smaller and altered, and said to be: at run, in the converted model, and in all about it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from grokdist.trust.dsse import Envelope
from grokdist.trust.receipt import parse_receipt
from grokdist.trust.statement import parse_statement
from tests.cli.conftest import Cli

HOW = "experts requantised from int8 to int4 in groups of at most 128 rows"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(5, 25, dtype=np.int32))
    return path


@pytest.fixture
def converted(cli: Cli, tmp_path: Path) -> Path:
    assert cli("fetch", "grok-mini", "-q").code == 0
    out = tmp_path / "int4"
    ended = cli("convert", "grok-mini", "--out", out, "--requantise", "int4", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["altered"].startswith(HOW)
    assert f"warning: altered: {HOW}" in ended.err
    return out


def test_rounding_at_load_and_at_conversion_gives_the_same_model(
    cli: Cli, converted: Path, tokens: Path, tmp_path: Path
) -> None:
    argv = ("score", "--tokens", tokens, "--kv-cache", "int8", "--json", "--logits")
    loaded = cli(*argv, tmp_path / "loaded.npy", "--model", "grok-mini", "--requantise", "int4")
    kept = cli(*argv, tmp_path / "kept.npy", "--model", converted)
    for ended in (loaded, kept):
        assert ended.code == 0, ended.err
        assert ended.json["altered"].startswith(HOW)
        assert ended.json["kv_cache"] == "int8"
        assert f"warning: altered: {HOW}" in ended.err
    assert loaded.json["logprobs"] == kept.json["logprobs"]
    assert np.array_equal(np.load(tmp_path / "loaded.npy"), np.load(tmp_path / "kept.npy"))


def test_everything_about_the_converted_model_says_altered(cli: Cli, converted: Path) -> None:
    kept = converted / ".grokdist"
    manifest = json.loads((kept / "manifest.json").read_bytes())
    assert manifest["name"] == "grok-mini-int4"
    assert manifest["format"] == "grok-1-safetensors-int4"
    assert manifest["config"]["expert_int4_group"] == 128
    assert manifest["altered"].startswith(HOW)
    assert f"ALTERED: {HOW}" in manifest["statement"]
    assert json.loads((converted / "config.json").read_bytes())["expert_int4_group"] == 128
    assert HOW in (converted / "CHANGES.txt").read_text("utf-8")
    assert HOW.encode() in next(converted.glob("*.safetensors")).read_bytes()[:20_000]

    receipt = parse_receipt((kept / "receipt.json").read_bytes())
    assert str(receipt.altered).startswith(HOW)
    (path,) = (kept / "attestations").glob("conversion.*")
    statement = parse_statement(Envelope.parse(path.read_bytes()).payload)
    parameters = statement.predicate["buildDefinition"]["externalParameters"]
    assert (parameters["requantise"], parameters["group"]) == ("int4", 128)
    assert parameters["altered"].startswith(HOW)

    shown = cli("show", "grok-mini-int4", "--manifest", kept / "manifest.json")
    assert f"ALTERED    {HOW}" in shown.out
    assert shown.out.splitlines()[0].startswith("Apache-2.0 · ALTERED: experts rounded to int4")
    assert "(altered)" in cli("list").out
    assert cli("report", converted, "--json").json["altered"].startswith(HOW)
    notes = cli("bom", converted, "--json").json["metadata"]["component"]["pedigree"]["notes"]
    assert notes.startswith(f"ALTERED: {HOW}")
    assert cli("verify", converted).code == 0


def test_nothing_is_said_of_a_model_as_it_was_released(cli: Cli) -> None:
    assert cli("fetch", "grok-mini", "-q").code == 0
    assert cli("show", "grok-mini", "--json").json["altered"] is None
    assert "ALTERED" not in cli("show", "grok-mini").out
    assert "altered" not in cli("list").out


def test_what_cannot_be_rounded_is_refused(cli: Cli, converted: Path, tmp_path: Path) -> None:
    again = ("--requantise", "int4")
    for argv in (
        ("run", "x", "--model", converted, *again),
        ("score", "x", "--model", converted, *again),
        ("plan", converted, *again),
        ("convert", converted, "--out", tmp_path / "b", *again),
    ):
        ended = cli(*argv)
        assert ended.code == 2, argv
        assert "int4 already" in ended.err
    for argv, message in (
        ((*again, "--group", "15"), "a group of 15 rows; expected at least 16"),
        ((*again, "--group", "99999"), "expected an integer from 0 to 65536"),
        (("--group", "64"), "--group was given alone"),
        (("--requantise", "int2"), "is not one of 'int4'"),
    ):
        ended = cli("convert", "grok-mini", "--out", tmp_path / "b", *argv)
        assert ended.code == 2, argv
        assert message in " ".join(ended.err.split())
    assert not (tmp_path / "b").exists()
    assert cli("score", "x", "--kv-cache", "int4").code == 2


def test_a_plan_counts_the_smaller_model(cli: Cli, converted: Path) -> None:
    argv = ("plan", "--devices", "4xH100", "--json")
    plain, smaller = cli(*argv, "grok-1").json, cli(*argv, "grok-1", "--requantise", "int4").json
    assert (plain["fits"], smaller["fits"]) == (False, True)
    assert plain["altered"] is None
    assert smaller["altered"].startswith(HOW)
    assert round(smaller["weights_bytes"] / 1e9, 1) == 166.7
    argv = (*argv, "--batch", "2")
    rounded = cli(*argv, "grok-mini", "--requantise", "int4").json
    assert cli(*argv, converted).json == {**rounded, "model": "int4"}
