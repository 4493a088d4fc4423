"""What a Python program imports does what the commands do, prints nothing, raises our errors."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from pathlib import Path

import pytest

import grokdist
import grokdist_runtime
from grokdist.errors import (
    DigestMismatchError,
    GrokdistError,
    NotFetchedError,
    NoWeightsError,
    PolicyError,
    TrustError,
    UnknownModelError,
    UsageError,
)
from grokdist_runtime.sampling import SamplingParams
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

DENIED = '[license]\ndeny = ["Apache-2.0"]\n'


@pytest.fixture
def fetched(tmp_path: Path) -> grokdist.Fetched:
    return grokdist.fetch("grok-mini", directory=tmp_path / "mini", sources=["local"])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_fetch_tells_what_the_command_tells(
    fetched: grokdist.Fetched, tmp_path: Path, cli: Cli
) -> None:
    told = cli("fetch", "grok-mini", "--dir", tmp_path / "by-command", "--json").json
    ours = dataclasses.asdict(fetched)
    assert {"dir" if name == "directory" else name for name in ours} == set(told)
    for name in ("model", "revision", "files", "bytes", "fetched_bytes", "sources", "verified"):
        assert ours[name] == told[name]
    assert fetched.directory == tmp_path / "mini"
    assert (fetched.directory / ".grokdist/receipt.json").is_file()


def test_a_second_fetch_brings_nothing_and_the_model_is_found_by_name(
    fetched: grokdist.Fetched,
) -> None:
    again = grokdist.fetch("grok-mini", directory=str(fetched.directory), sources=["local"])
    assert again.fetched_bytes == 0
    assert grokdist.verify("grok-mini").directory == fetched.directory


def test_verify_reports_damage_and_does_not_raise(fetched: grokdist.Fetched) -> None:
    right = grokdist.verify(fetched.directory)
    assert right.ok
    assert (right.files, right.bytes) == (fetched.files, fetched.bytes)
    _flip(fetched.directory / "config.json")
    (fetched.directory / "tokenizer.model").unlink()
    (fetched.directory / "more").write_bytes(b"x")
    wrong = grokdist.verify(fetched.directory)
    assert not wrong.ok
    assert [each.path for each in wrong.mismatched] == ["config.json"]
    assert wrong.missing == ("tokenizer.model",)
    assert wrong.extra == ("more",)
    mended = grokdist.fetch(
        "grok-mini", directory=fetched.directory, sources=["local"], repair=True
    )
    assert 0 < mended.fetched_bytes < fetched.bytes


def test_an_opened_model_writes_what_the_command_writes(
    fetched: grokdist.Fetched, cli: Cli
) -> None:
    engine = grokdist.open_model(fetched.directory, kernels="plain")
    assert isinstance(engine, grokdist_runtime.Engine)
    sampling = SamplingParams(temperature=0.8, top_p=0.95, seed=7)
    events = engine.generate(engine.encode("To be"), sampling, max_tokens=4)
    written = "".join(event.text for event in events)
    told = cli(
        *("run", "To be", "--model", fetched.directory, "--max-tokens", "4", "--seed", "7"),
        "--json",
    )
    assert told.json["text"] == written


def test_what_must_not_run_is_not_opened(fetched: grokdist.Fetched) -> None:
    _flip(fetched.directory / "tokenizer.model")
    with pytest.raises(DigestMismatchError, match=r"tokenizer\.model") as caught:
        grokdist.open_model(fetched.directory)
    assert caught.value.path == "tokenizer.model"
    (fetched.directory / ".grokdist/receipt.json").unlink()
    with pytest.raises(TrustError, match="nothing vouches"):
        grokdist.open_model(fetched.directory)


def test_policies_bind_here_too(
    fetched: grokdist.Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.toml").write_text(DENIED, "utf-8")
    monkeypatch.setenv("GROKDIST_POLICY", str(tmp_path / "policy.toml"))
    with pytest.raises(PolicyError, match=r"Apache-2\.0"):
        grokdist.fetch("grok-mini", directory=tmp_path / "refused", sources=["local"])
    assert not (tmp_path / "refused").exists()
    for unsafe in (False, True):
        with pytest.raises(PolicyError):
            grokdist.open_model(fetched.directory, unsafe_unverified=unsafe)


def test_nobody_is_asked_for_a_licence(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        grokdist.fetch("grok-2", directory=tmp_path / "grok-2")
    assert caught.value.hint
    with pytest.raises(PolicyError):
        grokdist.fetch("grok-2", directory=tmp_path / "grok-2", accept_license="Apache-2.0")
    assert not (tmp_path / "grok-2").exists()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: grokdist.fetch("nobody-knows"), UnknownModelError),
        (lambda: grokdist.fetch("gpt-4o"), NoWeightsError),
        (lambda: grokdist.fetch("grok-mini", sources=["carrier-pigeon"]), UsageError),
        (lambda: grokdist.verify("nobody-knows"), GrokdistError),
        (lambda: grokdist.verify("grok-1"), NotFetchedError),
        (lambda: grokdist.open_model("grok-1"), NotFetchedError),
        (lambda: grokdist.open_model("gpt-4o"), NoWeightsError),
    ],
)
def test_what_cannot_be_done_raises_our_errors(call: object, error: type[Exception]) -> None:
    assert callable(call)
    with pytest.raises(error):
        call()


def test_it_logs_and_does_not_print(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    repository: Path,
) -> None:
    manifest = repository / "manifests/models/grok-mini.json"
    with caplog.at_level(logging.INFO, "grokdist"):
        grokdist.fetch("grok-mini", manifest=manifest, directory=tmp_path / "mini")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("not signed" in each for each in said)
    assert capfd.readouterr() == ("", "")


def test_every_public_name_is_typed_and_documented() -> None:
    public = [getattr(grokdist, name) for name in grokdist.__all__] + [grokdist_runtime.Engine]
    for each in public:
        assert inspect.getdoc(each), each
        for name, parameter in inspect.signature(each).parameters.items():
            assert parameter.annotation is not inspect.Parameter.empty, (each, name)
    for package in (grokdist, grokdist_runtime):
        assert package.__file__ is not None
        assert (Path(package.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError):
        grokdist.fetch_everything  # noqa: B018
    with pytest.raises(AttributeError):
        grokdist_runtime.Engines  # noqa: B018
