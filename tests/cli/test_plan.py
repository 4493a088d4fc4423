"""``grokdist plan``: what it says of real models, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grokdist.api.memory import host_memory
from grokdist.cli.output import Output
from grokdist.cli.verified import open_verified
from grokdist.errors import ResourceError
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.device_table import parse_devices
from grokdist_runtime.plan import make_plan

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_grok_1_on_eight_gpus_in_a_screen(cli: Cli) -> None:
    ended = cli("plan", "grok-1", "--devices", "8xH100")
    assert (ended.code, ended.err) == (0, "")
    assert "of 316.8 GB over 8 devices" in ended.out
    assert "36.9 GiB" in ended.out
    assert "fits         yes" in ended.out
    assert "317 tokens/s at batch 1 (309 once the context is full)" in ended.out
    assert len(ended.out.splitlines()) <= 14
    assert max(map(len, ended.out.splitlines())) <= 100


def test_four_gpus_are_too_few_and_what_would_do(cli: Cli) -> None:
    ended = cli("plan", "grok-1", "--devices", "4xH100")
    assert ended.code == 0
    assert "fits         NO, 8." in ended.out
    assert "--devices 8xH100, --devices 8xA100" in ended.out
    assert "--requantise int4 (lossy)" in ended.out


def test_where_no_one_change_would_do(cli: Cli) -> None:
    argv = ("plan", "grok-1", "--devices", "4xH100", "--batch", "9999")
    assert "would fit    no one change: try fewer sequences" in cli(*argv).out
    assert cli(*argv, "--json").json["would_fit"] == []


def test_json_has_every_figure(cli: Cli) -> None:
    ended = cli("plan", "grok-1", "--devices", "8xH100", "--batch", "4", "--json")
    found = ended.json
    config = ModelConfig.from_mapping(cli("show", "grok-1", "--json").json["config"])
    made = make_plan(config, parse_devices("8xH100"), batch=4)
    assert found["bytes_per_device"] == {
        "weights": made.per_device.weights,
        "kv_cache": made.per_device.kv_cache,
        "activations_estimate": made.per_device.activations,
        "total": made.per_device.total,
    }
    assert found["fits"] is True
    assert found["spare_bytes"] == 72 * 10**9 - made.per_device.total
    assert found["would_fit"] == []
    assert [row["batch"] for row in found["roofline"]] == [1, 4]
    assert found["roofline"][1]["tokens_per_s"] == made.tokens_per_s(batch=4)
    assert found["devices"]["bandwidth_bytes_per_s"] == 3350 * 10**9
    assert found["devices"]["evidence"]


def test_this_machine_is_the_default_and_its_bandwidth_unknown(cli: Cli) -> None:
    found = cli("plan", "grok-mini", "--json").json
    assert found["fits"] is True
    assert found["devices"]["name"] == "this machine"
    assert 0.5 < found["devices"]["usable_bytes"] / host_memory() < 2
    assert found["roofline"][0]["tokens_per_s"] is None
    assert found["roofline"][0]["bytes_read_per_step"] > 0
    assert "bandwidth is unknown" in cli("plan", "grok-mini").out


def test_a_directory_is_planned_by_its_config(cli: Cli, tmp_path: Path, repository: Path) -> None:
    manifest = json.loads((repository / "manifests/models/grok-mini.json").read_text("utf-8"))
    config = ModelConfig.from_mapping(manifest["config"])
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    found = cli("plan", tmp_path, "--devices", "cpu:1GB", "--json").json
    assert found["model"] == tmp_path.name
    named = cli("plan", "grok-mini", "--devices", "cpu:1GB", "--json").json
    assert found["bytes_per_device"] == named["bytes_per_device"]
    (tmp_path / "config.json").write_text('{"vocab_size": -1}')
    ended = cli("plan", tmp_path)
    assert ended.code == 1
    assert ended.err.startswith("error: config")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["gpt-4o"], 12, "no weights of GPT-4o were released"),
        (["grok-2"], 2, "grok-2 is no model of Grok-1's architecture"),
        (["mixtral-8x7b"], 2, "mixtral-8x7b is no model of Grok-1's architecture"),
        (["nothing"], 13, "unknown model 'nothing'"),
        (["--devices", "8xZ80"], 2, "devices '8xZ80' are unknown; expected a count and one of"),
        (["--devices", "0xH100"], 2, "expected from 1 to 4096"),
        (["--devices", "3xH200", "--mesh", "1x3"], 2, "do not divide over 3 model devices"),
        (["--devices", "8xH100", "--mesh", "1x16"], 2, "needs 16 devices; 8xH100 has 8"),
        (["--mesh", "x"], 2, "expected DxM"),
        (["--context", "8193"], 2, "expected from 1 to 8192"),
        (["--batch", "0"], 2, "a batch of 0"),
        (["--dtype", "int4"], 2, "expected one of float32, bfloat16"),
    ],
)
def test_refusals(cli: Cli, argv: list[str], code: int, said: str) -> None:
    ended = cli("plan", *argv)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.startswith("error: ")
    assert ended.out == ""


def test_run_refuses_what_the_plan_says_is_too_much(cli: Cli) -> None:
    config = ModelConfig.from_mapping(cli("show", "grok-mini", "--json").json["config"])
    needed = {
        tokens: make_plan(config, parse_devices("cpu:1GB"), context=tokens).needed
        for tokens in (1, config.sequence_len)
    }
    assert needed[1] < needed[config.sequence_len]
    out = Output(quiet=True)

    def opened(memory: int, tokens: int) -> str:
        return open_verified(
            "grok-mini", memory=memory, unsafe_unverified=False, out=out, tokens=tokens
        ).name

    assert opened(needed[1], 1) == "grok-mini"
    # A cache for the longest context needs more, and no more tokens than that are ever kept.
    assert opened(needed[config.sequence_len], 10**9) == "grok-mini"
    for tokens, too_little in ((1, needed[1] - 1), (10**9, needed[config.sequence_len] - 1)):
        with pytest.raises(ResourceError, match=f"got {too_little:,}") as caught:
            opened(too_little, tokens)
        assert caught.value.hint is not None
        assert "grokdist plan grok-mini" in caught.value.hint


def test_run_refuses_what_no_machine_holds(cli: Cli, tmp_path: Path, repository: Path) -> None:
    manifest = json.loads((repository / "manifests/models/grok-mini.json").read_text("utf-8"))
    manifest["config"] |= {"num_layers": 4096, "ffn_size": 1 << 22}
    file = tmp_path / "large.json"
    file.write_text(json.dumps(manifest))
    assert cli("fetch", "grok-mini", "--manifest", file, "--dir", tmp_path / "here").code == 0
    ended = cli("run", "--model", tmp_path / "here", "--json", "hello")
    assert ended.code == 15
    assert "bytes of memory for weights, cache and activations; got" in ended.err
    assert ended.json["error"]["exit_code"] == 15
