"""Every command at every level, with every secret set: none comes back, in words, logs or files.

What libraries log is kept down to its least detail, whether a user would see it or not. Commands
that would take long are refused here; those that end well with their secrets in use are in
``test_secrets.py``, and a server's whole life in ``test_serve.py``.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import typer

from grokdist.cli.main import app
from tests.cli.conftest import Cli
from tests.servers.hub_server import HubServer
from tests.trust.oms.makers import model

SECRETS = {
    "HF_TOKEN": "hf_neverToBeToldToAnyone123",
    "HUGGING_FACE_HUB_TOKEN": "hf_norThisOneOfOldTimes456",
    "GROKDIST_KEY_PASSWORD": "correct-horse/battery",
    "GROKDIST_FETCH_SHARE_KEY": "sixteen-letters-or-more",
    "GROKDIST_API_KEY": "what-clients-of-the-server-know",
}
PROXY = "proxy-pass-word"
LEVELS = ((), ("-q",), ("-v",), ("-v", "--json"))
NOBODY = "http://127.0.0.1:9/"

PLAIN = {
    "fetch": ("grok-mini", "--source", "local"),
    "verify": ("grok-mini",),
    "show": ("grok-1",),
    "list": (),
    "path": ("grok-mini",),
    "gc": (),
    "openness": ("grok-1",),
    "plan": ("grok-1", "--devices", "8xH100"),
    "report": ("grok-mini", "--html", "{tmp}/report.html"),
    "bom": ("grok-mini", "--format", "cyclonedx"),
    "inspect": ("{mini}/ckpt-0/tensor00000_000",),
    "convert": ("grok-mini", "--out", "{tmp}/converted{n}"),
    "torrent create": ("grok-mini", "--output", "{tmp}/{n}.torrent"),
    "keys new": ("key{n}", "--type", "p256"),
    "keys list": (),
    "sign": ("{weights}", "--key", "{home}/keys/key0.pem", "--output", "{tmp}/{n}.sig"),
    "attest make": (
        *("grok-mini", "--type", "licence", "--key", "{home}/keys/key0.pem"),
        *("--output", "{tmp}/licence.json"),
    ),
    "attest list": ("grok-mini",),
    "attest verify": ("{tmp}/licence.json", "--key", "{home}/keys/key0.pub.pem"),
    "license show": ("grok-1",),
    "license accept": ("grok-2",),
    "license list": (),
    "license withdraw": ("grok-2",),
    "license identify": ("{mini}/LICENSE",),
    "manifest new": ("hub:acme/grok-mini", "--output", "{tmp}/manifest{n}.json"),
    "manifest pin": ("grok-1", "--url", NOBODY),
    "manifest check": ("grok-1", "grok-1"),
    "policy check": ("grok-1",),
    "policy show": (),
    "registry init": (
        *("{tmp}/registry{n}", "--root-key", "{home}/keys/key0.pub.pem"),
        *("--online-key", "{home}/keys/key0.pub.pem", "--targets-key", "{home}/keys/key0.pub.pem"),
        *("--root-threshold", "1", "--targets-threshold", "1"),
    ),
    "registry add": ("team{n}", NOBODY, "--root", "{weights}/config.json"),
    "registry remove": ("team",),
    "registry sign": ("{tmp}/registry0", "--key", "{home}/keys/key0.pem"),
    "registry publish": ("{tmp}/registry0", "--online-key", "{home}/keys/key0.pem"),
    "registry rotate": ("{tmp}/registry0", "--role", "root", "--add", "{home}/keys/key{n}.pub.pem"),
    "registry list": (),
    "registry update": (),
    # These would run on, and are refused.
    "seed": ("nowhere",),
    "run": ("To be", "--model", "nowhere"),
    "score": ("To be", "--model", "nowhere"),
    "serve": ("--model", "nowhere", "--port", "0"),
    "demo": ("--no-such-flag",),
    "doctor": ("--no-such-flag",),
    # Last, and of what this process itself uses: a conversion lets go of it when it ends.
    "rm": ("grok-mini", "--yes"),
}
REFUSED = {
    *("seed", "run", "score", "serve", "demo", "doctor", "rm"),
    *("manifest new", "manifest pin", "policy check", "registry add", "registry remove"),
}
"""Nobody answers, or there is nothing to do it to; what they say then is searched like the rest."""


def _commands(group: Any, above: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}"


def test_no_command_was_forgotten() -> None:
    assert set(_commands(typer.main.get_command(app))) == PLAIN.keys()


def _spellings() -> list[str]:
    found = []
    for secret in (*SECRETS.values(), PROXY):
        data = secret.encode()
        found += [secret, quote(secret, ""), data.hex(), base64.b64encode(data).decode()]
    return found


def test_no_command_says_a_secret(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    weights = model(tmp_path / "weights")
    home = tmp_path / "grokdist-home"
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://user:{PROXY}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    spellings = _spellings()
    ended_well = set()
    with HubServer({"LICENSE": b"x" * 100}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        for command, argv in PLAIN.items():
            for number, level in enumerate(LEVELS):
                mini = next(home.glob("models/grok-mini/*"), home)
                places = {"tmp": tmp_path, "home": home, "weights": weights, "mini": mini}
                filled = [each.format(**places, n=number) for each in argv]
                ended = cli(*command.split(), *filled, *level)
                said = f"{ended.out}\n{ended.err}\n{caplog.text}"
                caplog.clear()
                assert "Traceback" not in said, (command, level, said)
                assert not [each for each in spellings if each in said], (command, level, said)
                if ended.code == 0:
                    ended_well.add(command)
    assert PLAIN.keys() - ended_well == REFUSED
    for path in tmp_path.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert not [each for each in spellings if each.encode() in held], path
