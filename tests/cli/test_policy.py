"""Policies at work: fetch and run obey them, and the check says why."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Cli

NO_PICKLE = "[format]\npickle = false\n"
EXCEPTED = (
    NO_PICKLE
    + """
[[exception]]
model = "grok-mini"
rules = ["format.pickle"]
reason = "read without executing anything"
expires = 9999-12-31
"""
)
SCHEMA = Path(__file__).parents[1] / "policy" / "data" / "sarif-schema-2.1.0.json"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, with the working directory below it."""
    below = tmp_path / "project" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below.parent


def write(folder: Path, text: str, name: str = "grokdist-policy.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def receipt(directory: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((directory / ".grokdist/receipt.json").read_bytes())
    return loaded


def test_fetch_refuses_and_leaves_nothing(cli: Cli, project: Path) -> None:
    policy = write(project, NO_PICKLE)
    ended = cli("fetch", "grok-mini", "--dir", project / "m")
    assert ended.code == 12
    assert f"the policy {policy} refuses to fetch grok-mini" in ended.err
    assert "hint: grokdist policy check grok-mini" in ended.err
    assert not (project / "m").exists()


def test_the_decision_stands_in_the_receipt(cli: Cli, project: Path) -> None:
    write(project, EXCEPTED)
    ended = cli("fetch", "grok-mini", "--dir", project / "m")
    assert ended.code == 0
    assert "excepted until 9999-12-31: read without executing anything" in ended.err
    decided = receipt(project / "m")["policy"]
    assert isinstance(decided, dict)
    assert decided["outcome"] == "excepted"
    assert decided["findings"][0].startswith("format.pickle: grok-mini comes as Python pickles")
    assert cli("verify", project / "m").code == 0


def test_without_a_policy_the_receipt_says_none(cli: Cli, project: Path) -> None:
    assert cli("fetch", "grok-mini", "--dir", project / "m").code == 0
    assert receipt(project / "m")["policy"] is None


def test_audit_says_and_records(cli: Cli, project: Path) -> None:
    write(project, "mode = 'audit'\n" + NO_PICKLE)
    ended = cli("fetch", "grok-mini", "--dir", project / "m")
    assert ended.code == 0
    assert "warning: policy" in ended.err
    decided = receipt(project / "m")["policy"]
    assert isinstance(decided, dict)
    assert decided["outcome"] == "audited"


def test_run_refuses_what_was_fetched_before_the_policy(cli: Cli, project: Path) -> None:
    assert cli("fetch", "grok-mini", "--dir", project / "m").code == 0
    write(project, NO_PICKLE)
    ended = cli("run", "Once", "--model", project / "m")
    assert ended.code == 12
    assert "refuses to run grok-mini" in ended.err


def test_run_refuses_a_directory_of_which_nothing_is_known(cli: Cli, project: Path) -> None:
    (project / "stranger").mkdir()
    write(project, "[license]\nallow = ['MIT']")
    ended = cli("run", "Once", "--model", project / "stranger", "--unsafe-unverified")
    assert ended.code == 12
    assert "nothing is known of it" in ended.err


def test_run_refuses_bytes_from_a_source_that_is_denied(cli: Cli, project: Path) -> None:
    assert cli("fetch", "grok-mini", "--dir", project / "m").code == 0
    write(project, "[sources]\ndeny = ['local']")
    ended = cli("run", "Once", "--model", project / "m")
    assert ended.code == 12
    assert "bytes may not come from local:grok-mini [source.not-allowed]" in ended.err


def test_a_source_asked_for_must_be_allowed(cli: Cli, project: Path) -> None:
    write(project, "[sources]\nallow = ['hub', 'local:grok-mini']")
    ended = cli("fetch", "grok-mini", "--source", f"local:{project}", "--dry-run")
    assert ended.code == 12
    assert f"bytes may not come from local:{project}" in ended.err
    assert cli("fetch", "grok-mini", "--dry-run").code == 0


def test_sources_of_the_manifest_that_are_not_allowed_stay_unused(cli: Cli, project: Path) -> None:
    def used() -> set[str]:
        plan = cli("fetch", "grok-1", "--dry-run", "--json", "--dir", project / "m").json
        return {source["name"].partition(":")[0] for source in plan["sources"]}

    assert used() >= {"hub", "torrent"}
    write(project, "[sources]\ndeny = ['torrent']")
    assert "hub" in used()
    assert "torrent" not in used()


def test_all_policies_count(
    cli: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, EXCEPTED)
    monkeypatch.setenv("GROKDIST_POLICY", str(write(tmp_path, NO_PICKLE, "user.toml")))
    ended = cli("fetch", "grok-mini", "--dry-run")
    assert ended.code == 12
    assert f"{tmp_path / 'user.toml'} refuses" in ended.err
    shown = cli("policy", "show", "--json").json
    assert [Path(each["path"]).name for each in shown["policies"]] == [
        "user.toml",
        "grokdist-policy.toml",
    ]


@pytest.mark.parametrize("command", [("fetch", "grok-mini"), ("policy", "check", "grok-mini")])
def test_a_policy_that_cannot_be_read_allows_nothing(
    cli: Cli, project: Path, command: tuple[str, ...]
) -> None:
    write(project, "[license]\nallows = ['MIT']")
    ended = cli(*command)
    assert ended.code == 2
    assert "field license.allows is not known" in ended.err


def test_check_without_a_policy_is_no_pass(cli: Cli, project: Path) -> None:
    ended = cli("policy", "check", "grok-1")
    assert ended.code == 2
    assert "no policy binds here" in ended.err


def test_check_as_json(cli: Cli, project: Path) -> None:
    write(project, "[license]\nallow = ['open-source']")
    ended = cli("policy", "check", "grok-1", "grok-2", "--json")
    assert ended.code == 12
    first, second = ended.json["models"]
    assert (first["model"], first["allowed"]) == ("grok-1", True)
    assert (second["model"], second["allowed"]) == ("grok-2", False)
    assert second["decisions"][0]["findings"][0]["rule"] == "license.unknown"


@pytest.mark.parametrize("mode", ["audit", "enforce"])
def test_sarif_is_valid(cli: Cli, project: Path, mode: str) -> None:
    policy = write(project, f"mode = '{mode}'\n{EXCEPTED}")
    log = project / "out.sarif"
    ended = cli("policy", "check", "grok-1", "grok-mini", "--sarif", log, "--policy", policy)
    assert ended.code == (12 if mode == "enforce" else 0)
    document = json.loads(log.read_bytes())
    jsonschema.validate(document, json.loads(SCHEMA.read_bytes()))
    results = document["runs"][0]["results"]
    levels = {
        result["locations"][0]["logicalLocations"][0]["name"]: result["level"] for result in results
    }
    assert levels == {"grok-1": "error" if mode == "enforce" else "warning", "grok-mini": "note"}
    (suppressed,) = [result for result in results if "suppressions" in result]
    assert suppressed["suppressions"][0]["justification"] == "read without executing anything"
    uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == policy.as_uri()  # not in the working directory


def test_sarif_on_stdout_names_files_from_here(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    write(project, NO_PICKLE)
    document = cli("policy", "check", "grok-1", "--sarif", "-").json
    location = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "grokdist-policy.toml"


def test_sarif_that_cannot_be_written_is_no_refusal(cli: Cli, project: Path) -> None:
    policy = write(project, NO_PICKLE)
    ended = cli("policy", "check", "grok-1", "--sarif", "absent/log.sarif", "--policy", policy)
    assert ended.code == 1
    assert "absent/log.sarif cannot be written: No such file or directory" in ended.err


MODEL_KEY = "[signature]\nmodel_keys = ['alice.pub.pem']\n"


@pytest.fixture
def signed(cli: Cli, project: Path) -> Path:
    """A fetched model, signed by alice, whose public key lies in the project."""
    model = project / "m"
    assert cli("fetch", "grok-mini", "--dir", model, "-q").code == 0
    key = project / "alice.pem"
    assert cli("keys", "new", "alice", "--type", "p256", "--out", key, "--no-password").code == 0
    assert cli("sign", model, "--key", key).code == 0
    return model


def model_findings(cli: Cli, model: Path) -> list[str]:
    (checked,) = cli("policy", "check", model, "--json").json["models"]
    return [finding["message"] for finding in checked["decisions"][0]["findings"]]


def test_a_model_signed_by_whom_the_policy_names(cli: Cli, project: Path, signed: Path) -> None:
    write(project, MODEL_KEY)
    assert model_findings(cli, signed) == []
    assert cli("run", "Once", "--model", signed, "--max-tokens", "1").code == 0


def test_a_model_that_nobody_signed(cli: Cli, project: Path, signed: Path) -> None:
    write(project, MODEL_KEY)
    (signed / ".grokdist/model.sig").unlink()
    (message,) = model_findings(cli, signed)
    assert "signed by 0 of the listed model keys; expected 1" in message
    assert cli("run", "Once", "--model", signed).code == 12


def test_a_model_signed_by_somebody_else(cli: Cli, project: Path, signed: Path) -> None:
    argv = ("keys", "new", "eve", "--type", "p256", "--out", project / "eve.pem", "--no-password")
    assert cli(*argv).code == 0
    write(project, MODEL_KEY.replace("alice", "eve"))
    (message,) = model_findings(cli, signed)
    assert "of 1 signature in the bundle, none is by whom you trust" in message


def test_two_signers_are_two_people(cli: Cli, project: Path, signed: Path) -> None:
    twice = MODEL_KEY.replace("'alice.pub.pem'", "'alice.pub.pem', 'alice.pub.pem'")
    write(project, f"{twice}model_threshold = 2\n")
    (message,) = model_findings(cli, signed)
    assert "signed by 1 of the listed model keys; expected 2" in message


def test_a_signature_over_other_files_does_not_count(cli: Cli, project: Path, signed: Path) -> None:
    other = project / "other"
    other.mkdir()
    (other / "weights").write_bytes(b"1")
    signature = signed / ".grokdist" / "model.sig"
    argv = ("sign", other, "--key", project / "alice.pem", "--output", signature)
    assert cli(*argv).code == 0
    write(project, MODEL_KEY)
    (message,) = model_findings(cli, signed)
    assert "the model's signature is not over" in message


def test_a_signature_over_more_or_in_shards_does_not_count(
    cli: Cli, project: Path, signed: Path
) -> None:
    write(project, MODEL_KEY)
    (signed / "more").write_bytes(b"1")
    key = project / "alice.pem"
    assert cli("sign", signed, "--key", key).code == 0
    (message,) = model_findings(cli, signed)
    assert "over more, which the manifest lacks" in message
    (signed / "more").unlink()
    assert cli("sign", signed, "--key", key, "--shard-size", "100000").code == 0
    (message,) = model_findings(cli, signed)
    assert "over sha256 of shards; expected one over the SHA-256 of whole files" in message


def test_before_the_fetch_no_model_signature_is_asked_for(cli: Cli, project: Path) -> None:
    assert cli("keys", "new", "alice", "--type", "p256", "--out", project / "alice.pem").code == 0
    write(project, MODEL_KEY)
    assert cli("policy", "check", "grok-1").code == 0


def test_a_key_that_cannot_be_read_is_the_policys_fault(
    cli: Cli, project: Path, signed: Path
) -> None:
    write(project, MODEL_KEY.replace("alice", "nobody"))
    ended = cli("policy", "check", signed)
    assert ended.code == 2
    assert "nobody.pub.pem' cannot be read" in ended.err
