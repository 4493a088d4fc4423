"""``fetch --share``: flags, who may share without a key, and two machines as processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

import grokdist
from grokdist.catalog.registry import Registry
from grokdist.cli.share import _peer, _private
from grokdist.errors import UsageError
from tests.cli.conftest import Cli, finish, spawn
from tests.servers.hub_server import HubServer

BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"
PATHS = [entry.path for entry in Registry.embedded().load("grok-mini").manifest.files]
FILES = {path: (BUNDLED / path).read_bytes() for path in PATHS}
SIZE = sum(map(len, FILES.values()))
QUIET = ("--share-bind", "127.0.0.1", "--no-share-multicast")


def test_two_machines_share(repository: Path, tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        source = ("--source", "https", "--source", server.mirror)
        shared = ("fetch", "grok-mini", "--share", *QUIET, "--json")
        first = spawn(
            *(*shared, *source, "--share-listen", "0", "--share-linger", "60"),
            *("--dir", tmp_path / "1"),
            cwd=repository,
        )
        try:
            assert first.stderr is not None
            port = _port(first.stderr)
            other = spawn(
                *(*shared, "--offline", "--source", "hub", "--share-peer", f"127.0.0.1:{port}"),
                *("--dir", tmp_path / "2", "--share-listen", "0"),
                cwd=repository,
            )
            ended = finish(other)
            first.send_signal(signal.SIGINT)
            served = finish(first)
        finally:
            first.kill()
            first.wait()
    assert ended.code == 0, ended
    assert ended.json["sources"] == {"share": SIZE}
    # An interrupt ends the serving of the others, not the fetch, which is done.
    assert served.code == 0, served
    assert served.json["verified"] is True
    assert "gave 10.7 MB to 1 machine" in served.err
    assert sum(each.sent for each in server.log) == SIZE


def test_a_model_that_is_not_public_needs_a_key(cli: Cli, tmp_path: Path) -> None:
    manifest = tmp_path / "mine.json"
    manifest.write_bytes(Registry.embedded().load("grok-mini").raw)
    argv = ("fetch", "grok-mini", "--manifest", manifest, "--share", *QUIET, "--dry-run")
    refused = cli(*argv, "--dir", tmp_path / "d")
    assert refused.code == 12
    assert "GROKDIST_FETCH_SHARE_KEY" in refused.err
    assert cli(*argv, "--dir", tmp_path / "d", "--share-key", "sixteen letters!").code == 0


def test_which_models_are_shared_without_a_key() -> None:
    registry = Registry.embedded()
    assert _private(registry.load("grok-1")) is None
    assert _private(registry.load("grok-mini")) is None


@pytest.mark.parametrize(
    "argv",
    [
        ("--share-key", "short"),
        ("--share-bind", "localhost"),
        ("--share-peer", "http://host/"),
        ("--share-peer", "host:99999"),
        ("--share-linger", "soon"),
    ],
)
def test_flags_that_make_no_sense(cli: Cli, tmp_path: Path, argv: tuple[str, ...]) -> None:
    ended = cli("fetch", "grok-mini", "--share", *argv, "--dry-run", "--dir", tmp_path / "d")
    assert ended.code == 2, ended


def test_a_peer_may_come_without_its_port() -> None:
    assert _peer("node01") == ("node01", 17182)
    assert _peer("node01:80") == ("node01", 80)
    assert _peer("10.0.0.1:80") == ("10.0.0.1", 80)
    assert _peer("fe80::1") == ("fe80::1", 17182)
    assert _peer("[fe80::1]:80") == ("fe80::1", 80)
    assert _peer("[fe80::1]") == ("fe80::1", 17182)
    for wrong in ("", ":80", "node01:", "node01:x", "a/b"):
        with pytest.raises(UsageError):
            _peer(wrong)


def _port(lines: Iterable[str]) -> int:
    """The port in the note that a machine shares."""
    for line in lines:
        if "answers on port" in line:
            return int(line.rsplit(maxsplit=1)[1])
    raise AssertionError("the machine does not say where it answers")
