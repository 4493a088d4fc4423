"""No secret is said or written: tokens, keys, passwords, and those that stand in addresses.

Commands that end well and commands that fail, all with ``-v``; then everything that was said and
every file that is left is searched. (``tests/transfer/http/test_secrets.py`` has the Hub's token on
its way over the network.)
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Ended
from tests.servers.hub_server import HubServer
from tests.trust.oms.makers import model

TOKEN = "hf_neverToBeToldToAnyone123"
PASSWORD = "correct-horse-battery"
SHARE_KEY = "sixteen-letters-or-more"
PROXY = "proxy-pass-word"
MIRROR = "mirror-pass-word"
SECRETS = (TOKEN, PASSWORD, SHARE_KEY, PROXY, MIRROR)


@pytest.fixture
def told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run a command and note what it said; ``GROKDIST_KEY_PASSWORD`` and the like are set."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("GROKDIST_KEY_PASSWORD", PASSWORD)
    monkeypatch.setenv("GROKDIST_FETCH_SHARE_KEY", SHARE_KEY)

    def run(*argv: str | Path, code: int = 0) -> Ended:
        ended = cli(*argv)
        assert ended.code == code, ended
        _search(argv, ended.out.encode(), ended.err.encode())
        return ended

    return run


def _search(where: object, *texts: bytes) -> None:
    for secret in SECRETS:
        for spelt in (
            secret.encode(),
            base64.b64encode(secret.encode()),
            secret.encode().hex().encode(),
        ):
            for text in texts:
                assert spelt not in text, (secret, where)


def _search_files(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        _search(path, path.read_bytes())
    return len(files)


def test_of_keys_that_sign(
    told: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = model(tmp_path / "model")
    told("keys", "new", "mine", "--type", "p256", "-v")
    key = next((tmp_path / "grokdist-home/keys").glob("mine*"))
    private = key.with_name("mine.pem")
    assert b"ENCRYPTED" in private.read_bytes()
    told("keys", "list", "-v")
    told("sign", weights, "--key", private, "-v")
    told("sign", weights, "--key", private, "--json", "-v")
    monkeypatch.setenv("GROKDIST_KEY_PASSWORD", f"not {PASSWORD}")
    refused = told("sign", weights, "--key", private, "-v", code=2)
    assert "password" in refused.err
    assert _search_files(tmp_path) > 5


def test_of_addresses_and_shares(
    told: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer({"LICENSE": b"x" * 100}) as server:
        mirror = server.mirror.replace("http://", f"http://user:{MIRROR}@")
        argv = (
            "fetch",
            "grok-mini",
            "--dir",
            tmp_path / "d",
            "-v",
            "--events",
            tmp_path / "e.jsonl",
        )
        told(*argv, "--source", "https", "--source", mirror, code=2)
        query = f"{server.mirror}?key={MIRROR}/"
        told(*argv, "--source", "https", "--source", query, code=2)
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        told(*argv, "--source", "hub:acme/grok-mini", "--share", "--share-bind", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{PROXY}@127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    told(*argv, "--source", "hub:acme/grok-mini", "--repair")
    for flag in ("-v", "--json"):
        told("doctor", flag, code=1)  # neither that proxy nor that Hub is there
    assert _search_files(tmp_path) > 0
