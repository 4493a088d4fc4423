"""Fetch, verify and run the bundled model: the main job, and every way it must refuse."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli, finish, spawn

RUN_KEYS = {"model", "prompt_tokens", "tokens", "token_ids", "text", "stop_reason", "timings"}
TIMING_KEYS = {
    "load_s",
    "compile_s",
    "first_token_s",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
}


@pytest.fixture
def mini(cli: Cli, tmp_path: Path) -> Path:
    """grok-mini, fetched from the package."""
    target = tmp_path / "mini"
    ended = cli("fetch", "grok-mini", "--source", "local", "--dir", target, "--json")
    assert ended.code == 0, ended
    return target


def test_fetch_reports_and_leaves_a_receipt(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "mini"
    document = cli("fetch", "grok-mini", "--dir", target, "--json").json
    assert {
        "model",
        "revision",
        "dir",
        "files",
        "bytes",
        "fetched_bytes",
        "seconds",
        "sources",
        "verified",
    } == document.keys()
    assert document["verified"] is True
    assert document["fetched_bytes"] == document["bytes"] == sum(document["sources"].values())
    receipt = json.loads((target / ".grokdist/receipt.json").read_bytes())
    assert receipt["license"]["expression"] == "Apache-2.0"
    assert "Class I" in receipt["openness"]
    assert len(receipt["signed_by"]["keyids"]) >= receipt["signed_by"]["threshold"] == 2
    assert len(receipt["files"]) == document["files"]
    again = cli("fetch", "grok-mini", "--dir", target, "--json").json
    assert again["fetched_bytes"] == 0


def test_verify_finds_nothing_wrong(cli: Cli, mini: Path) -> None:
    for extra in ((), ("--quick",), ("--jobs", "1"), ("--include", "ckpt-0/*")):
        document = cli("verify", mini, "--json", *extra).json
        assert document["ok"] is True
        assert (document["missing"], document["mismatched"], document["extra"]) == ([], [], [])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(bytes(data))


SHARD = "ckpt-0/tensor00002_000"


@pytest.mark.parametrize(
    ("tamper", "kind", "path"),
    [
        (lambda d: _flip(d / SHARD), "mismatched", SHARD),
        (lambda d: _flip(d / "config.json"), "mismatched", "config.json"),
        (lambda d: (d / SHARD).unlink(), "missing", SHARD),
        (
            lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-1]),
            "mismatched",
            SHARD,
        ),
        (
            lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes() + b"\0"),
            "mismatched",
            SHARD,
        ),
        (lambda d: (d / "ckpt-0/tensor99999_000").write_bytes(b"x"), "extra",
         "ckpt-0/tensor99999_000"),
    ],
    ids=["flipped", "flipped-config", "missing", "truncated", "longer", "extra"],
)  # fmt: skip
def test_every_fault_is_found_named_and_refused(
    cli: Cli, mini: Path, tamper: object, kind: str, path: str
) -> None:
    assert callable(tamper)
    tamper(mini)
    report = cli("verify", mini, "--json")
    assert report.code == 11
    assert report.json["ok"] is False
    named = [row["path"] if kind == "mismatched" else row for row in report.json[kind]]
    assert named == [path]
    refused = cli("run", "--model", mini, "Once")
    assert refused.code == 11
    assert path in refused.err
    assert refused.out == ""


def test_repair_gets_only_what_is_bad(cli: Cli, mini: Path) -> None:
    _flip(mini / SHARD)
    document = cli("fetch", "grok-mini", "--dir", mini, "--repair", "--json").json
    # The one block of 16 KiB that the byte lies in, or the file's last and shorter one.
    assert 0 < document["fetched_bytes"] <= 16_384
    assert cli("verify", mini).code == 0


def test_a_receipt_that_was_tampered_with_vouches_for_nothing(cli: Cli, mini: Path) -> None:
    receipt = mini / ".grokdist/receipt.json"
    receipt.write_bytes(receipt.read_bytes()[:-9])
    ended = cli("run", "--model", mini, "Once")
    assert ended.code == 10
    receipt.unlink()
    ended = cli("run", "--model", mini, "Once")
    assert ended.code == 10
    assert "--unsafe-unverified" in ended.err


def test_run_streams_text_and_shows_licence_and_openness(cli: Cli) -> None:
    ended = cli("run", "To be, or not to be", "--max-tokens", "8", "--seed", "1", "--stats")
    assert ended.code == 0
    assert ended.out.strip()
    assert "Apache-2.0 · " in ended.err
    assert "decode" in ended.err


def test_run_json_has_the_contract_keys_and_a_seed_repeats(cli: Cli) -> None:
    argv = ("run", "My lord,", "--max-tokens", "12", "--seed", "7", "--json", "-q")
    first, second = cli(*argv), cli(*argv)
    assert first.json.keys() >= RUN_KEYS
    assert first.json["timings"].keys() >= TIMING_KEYS
    assert first.json["token_ids"] == second.json["token_ids"]
    assert first.json["tokens"] == len(first.json["token_ids"]) <= 12
    assert first.json["text"] is not None


def test_run_reads_stdin_and_tokens(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = ("--max-tokens", "4", "--temperature", "0", "--json", "-q")
    given = cli("run", "My lord", *greedy).json
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"My lord\n"), "utf-8"))
    assert cli("run", *greedy).json["token_ids"] == given["token_ids"]
    ids = np.array([cli("score", "My lord", "--json").json["tokens"]], np.int32)
    np.save(tmp_path / "ids.npy", ids)
    by_ids = cli("run", "--tokens", tmp_path / "ids.npy", *greedy).json
    assert by_ids["token_ids"] == given["token_ids"]


def test_an_unsigned_manifest_vouches_only_where_it_was_fetched_by(
    cli: Cli, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = repository / "manifests/models/grok-mini.json"
    target = tmp_path / "by-file"
    assert cli("fetch", "grok-mini", "--manifest", manifest, "--dir", target).code == 0
    ended = cli("run", "--model", target, "Once", "--max-tokens", "1")
    assert ended.code == 0
    assert "not signed" in ended.err
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "another-machine"))
    ended = cli("run", "--model", target, "Once", "--max-tokens", "1")
    assert ended.code == 10
    assert ended.out == ""


def test_unsafe_says_so_loudly(cli: Cli, mini: Path) -> None:
    shutil.rmtree(mini / ".grokdist")
    ended = cli("run", "--model", mini, "Once", "--max-tokens", "2", "--unsafe-unverified", "-q")
    assert ended.code == 0
    assert "UNVERIFIED" in ended.err


def test_run_refuses_what_makes_no_sense(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("hello", "utf-8")
    np.save(tmp_path / "float.npy", np.zeros(3))
    for argv in (
        ("run", ""),
        ("run", "x", "--tokens", tmp_path / "float.npy"),
        ("run", "--tokens", tmp_path / "text.npy"),
        ("run", "--tokens", tmp_path / "float.npy"),
        ("run", "x", "--temperature", "-1"),
        ("run", "x", "--max-tokens", "0"),
        ("run", "x" * 20_000),
    ):
        ended = cli(*argv)
        assert ended.code == 2, (argv, ended)
        assert "Traceback" not in ended.err
    assert cli("run", "x", "--mesh", "3by4").code == 15


def test_run_of_a_known_model_that_is_not_here(cli: Cli) -> None:
    ended = cli("run", "x", "--model", "grok-1")
    assert ended.code == 1
    assert "grokdist fetch grok-1" in ended.err


def test_score_gives_logits_and_logprobs(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "logits.npy"
    document = cli("score", "To be, or not to be", "--logits", out, "--json").json
    logits = np.load(out, allow_pickle=False)
    assert logits.dtype == np.float32
    assert logits.shape[0] == len(document["tokens"])
    shifted = logits - logits.max(-1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    expected = [logprobs[i, t] for i, t in enumerate(document["tokens"][1:])]
    assert document["logprobs"][0] is None
    np.testing.assert_allclose(document["logprobs"][1:], expected, atol=1e-4)
    assert document["perplexity"] == pytest.approx(np.exp(-np.mean(expected)), rel=1e-3)


def test_a_cpu_says_that_it_computes_finer_than_asked(cli: Cli) -> None:
    asked = cli("score", "To be", "--dtype", "bfloat16", "--json")
    assert (asked.code, "the CPU computes in float32" in asked.err) == (0, True)
    plain = cli("score", "To be", "--dtype", "float32", "--json")
    assert "the CPU computes" not in plain.err
    assert plain.json != asked.json  # the embedding is rounded
    assert plain.json["perplexity"] == pytest.approx(asked.json["perplexity"], rel=0.01)


def test_inspect_lists_the_tensors(cli: Cli, mini: Path) -> None:
    tensors = cli("inspect", mini, "--json").json["tensors"]
    assert len(tensors) == len(list((mini / "ckpt-0").iterdir()))
    assert tensors[0]["name"] == "language_model/in_out_embed/embeddings"


def test_inspect_refuses_a_hostile_shard(cli: Cli, tmp_path: Path) -> None:
    shard = tmp_path / "tensor00000_000"
    shard.write_bytes(b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93.")
    ended = cli("inspect", shard)
    assert ended.code == 11
    assert ended.out == ""


def test_the_demo_tells_the_whole_story_and_cleans_up(repository: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # Started where a folder of the same name lies, which is none of its business.
    stranger = tmp_path / "stranger/grokdist"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger ran')", "utf-8")
    child = spawn("demo", "--json", cwd=repository, elsewhere=stranger.parent, TMPDIR=str(scratch))
    ended = finish(child, timeout=240)
    assert ended.code == 0, ended.err
    codes = [step["exit_code"] for step in json.loads(ended.out)["steps"]]
    assert codes == [0, 0, 0, 11, 11, 0, 0]
    assert list(scratch.glob("grokdist-*")) == []
